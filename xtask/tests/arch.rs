//! The architecture check: this repository passes it, and each of its rules can fail, on a made-up workspace.

use std::{fs, path::Path};

use assert_cmd::Command;
use tempfile::TempDir;

/// A workspace of two small packages that breaks no rule.
fn workspace() -> TempDir {
    let root = TempDir::new().unwrap();
    write(
        root.path(),
        "crates/tensor/Cargo.toml",
        "[package]\nname = \"byhand-tensor\"\n[dependencies]\nndarray = \"1\"\n",
    );
    write(root.path(), "crates/tensor/src/lib.rs", &format!("//! Lanes.\n{HELD}\nunsafe fn f() {{}}\n"));
    let manifest = "[package]\nname = \"byhand-layers\"\n[dependencies]\nbyhand-tensor.workspace = true\n";
    write(root.path(), "crates/layers/Cargo.toml", manifest);
    write(root.path(), "crates/layers/src/lib.rs", &format!("//! Layers.\n{HELD}\npub fn f() {{}}\n"));
    root
}

/// What the root of a library has clippy deny.
const HELD: &str = "#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]";

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Exit code and what was found.
fn check(root: &Path) -> (i32, String) {
    let output = Command::cargo_bin("xtask").unwrap().arg("arch").arg("--root").arg(root).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[track_caller]
fn rejects(file: &str, text: &str, place: &str, rule: &str) {
    let root = workspace();
    write(root.path(), file, text);
    let (code, found) = check(root.path());
    assert_eq!(code, 1, "{found}");
    assert_eq!(found.lines().count(), 1, "one finding expected:\n{found}");
    assert!(found.starts_with(&format!("{place}: ")) && found.contains(rule), "{found}");
}

#[track_caller]
fn accepts(file: &str, text: &str) {
    let root = workspace();
    write(root.path(), file, text);
    let (code, found) = check(root.path());
    assert_eq!(code, 0, "{found}");
}

#[test]
fn this_repository_keeps_its_architecture() {
    let (code, found) = check(repository());
    assert_eq!(code, 0, "{found}");
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn the_made_up_workspace_is_accepted() {
    assert_eq!(check(workspace().path()).0, 0);
}

#[test]
fn a_folder_that_is_no_workspace_is_an_error() {
    assert_eq!(check(TempDir::new().unwrap().path()).0, 1);
}

#[test]
fn an_arrow_against_the_design_is_found() {
    let manifest = "[package]\nname = \"byhand-tensor\"\n[dependencies]\nbyhand-layers.workspace = true\n";
    rejects("crates/tensor/Cargo.toml", manifest, "crates/tensor/Cargo.toml:4", "run one way");
    let target =
        "[package]\nname = \"byhand-tensor\"\n[target.'cfg(unix)'.dependencies]\nbyhand-layers = \"1\"\n";
    rejects("crates/tensor/Cargo.toml", target, "crates/tensor/Cargo.toml:4", "run one way");
}

#[test]
fn dev_dependencies_are_free() {
    let manifest =
        "[package]\nname = \"byhand-tensor\"\n[dev-dependencies]\nbyhand-layers.workspace = true\n";
    accepts("crates/tensor/Cargo.toml", manifest);
}

#[test]
fn a_package_the_table_does_not_know_is_found() {
    let root = workspace();
    write(root.path(), "crates/extra/Cargo.toml", "[package]\nname = \"byhand-extra\"\n");
    write(root.path(), "crates/extra/src/lib.rs", "//! Extra.\n");
    let (code, found) = check(root.path());
    assert!(code == 1 && found.contains("crates/extra"), "{found}");
}

#[test]
fn rayon_is_for_the_trainer_and_optional_there() {
    let with = |line: &str| format!("[package]\nname = \"p\"\n[dependencies]\n{line}\n");
    rejects(
        "crates/layers/Cargo.toml",
        &with("rayon = \"1\""),
        "crates/layers/Cargo.toml:4",
        "crates/trainer",
    );
    let root = workspace();
    write(root.path(), "crates/trainer/src/lib.rs", &format!("//! Trainer.\n{HELD}\n"));
    write(root.path(), "crates/trainer/Cargo.toml", &with("rayon = { version = \"1\", optional = true }"));
    assert_eq!(check(root.path()).0, 0);
    write(root.path(), "crates/trainer/Cargo.toml", &with("rayon = \"1\""));
    assert_eq!(check(root.path()).0, 1);
}

#[test]
fn the_network_and_the_command_line_stay_in_their_crates() {
    let with = |line: &str| format!("[package]\nname = \"p\"\n[dependencies]\n{line}\n");
    rejects(
        "crates/layers/Cargo.toml",
        &with("ureq = \"3\""),
        "crates/layers/Cargo.toml:4",
        "crates/datasets",
    );
    rejects(
        "crates/layers/Cargo.toml",
        &with("clap = \"4\""),
        "crates/layers/Cargo.toml:4",
        "xtask and benches",
    );
}

#[test]
fn a_library_that_does_not_have_clippy_hold_it_is_found() {
    rejects("crates/layers/src/lib.rs", "//! Layers.\n", "crates/layers/src/lib.rs:1", "clippy.toml");
    accepts("crates/cli/src/lib.rs", "//! The program.\n");
}

/// On a library of its own, beside packages that are named as libraries are which ours do not all depend on.
#[test]
fn what_clippy_toml_lists_is_found() {
    let root = TempDir::new().unwrap();
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
    let dependencies =
        "[dependencies]\nrayon = { path = \"rayon\" }\nrand = { path = \"rand\" }\n[workspace]\n";
    write(root.path(), "Cargo.toml", &(package("held") + dependencies));
    write(root.path(), "rayon/Cargo.toml", &package("rayon"));
    let sum =
        "pub mod iter { pub trait ParallelIterator { fn sum(&self) {} } impl ParallelIterator for () {} }\n";
    write(root.path(), "rayon/src/lib.rs", sum);
    write(root.path(), "rand/Cargo.toml", &package("rand"));
    write(root.path(), "rand/src/lib.rs", "pub mod rngs { pub struct StdRng; }\n");
    let calls = [
        "std::fs::read(\"x\")",
        "std::fs::File::open(\"x\")",
        "std::fs::OpenOptions::new()",
        "std::path::Path::new(\"x\").exists()",
        "std::io::stdout()",
        "std::io::stderr()",
        "std::net::TcpStream::connect(\"x:1\")",
        "std::thread::spawn(|| ())",
        "std::thread::scope(|_| ())",
        "std::thread::Builder::new()",
        "std::process::Command::new(\"x\")",
        "std::time::Instant::now()",
        "std::time::SystemTime::now()",
        "rayon::iter::ParallelIterator::sum(&())",
        "None::<rand::rngs::StdRng>",
    ];
    let calls: Vec<String> = calls.iter().map(|call| format!("    _ = {call};\n")).collect();
    // The first call is on line 4, and what clippy must not find behind them.
    let library = format!("//! Held.\n{HELD}\npub fn f() {{\n{}    _ = 1 + 1;\n}}\n", calls.concat());
    write(root.path(), "src/lib.rs", &library);
    let mut cargo = Command::new("cargo");
    cargo.args(["clippy", "--offline", "--quiet", "--message-format", "short"]).current_dir(root.path());
    cargo.env("CLIPPY_CONF_DIR", repository()).env("CARGO_TARGET_DIR", root.path().join("target"));
    let output = cargo.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let found = |line: usize| {
        said.lines().any(|it| it.starts_with(&format!("src/lib.rs:{line}:")) && it.contains("disallowed"))
    };
    for (line, call) in (4..).zip(&calls) {
        assert!(found(line), "clippy does not find line {line}, {call}{said}");
    }
    assert!(!found(4 + calls.len()) && !output.status.success(), "{said}");
}

#[test]
fn a_file_without_an_opening_line_is_found() {
    rejects(
        "crates/layers/src/relu.rs",
        "pub fn f() {}\n",
        "crates/layers/src/relu.rs:1",
        "opens with a `//!` line",
    );
    rejects(
        "crates/layers/tests/relu.rs",
        "fn f() {}\n",
        "crates/layers/tests/relu.rs:1",
        "opens with a `//!` line",
    );
}

/// Adds modules to the kernels' crate, whose modules stand in layers, or to another; the finding is expected at `place`.
#[track_caller]
fn modules(package: &str, files: &[(&str, &str)], place: Option<&str>, rule: &str) {
    let root = workspace();
    write(root.path(), &format!("{package}/Cargo.toml"), "[package]\nname = \"p\"\n");
    for (file, code) in files {
        write(root.path(), &format!("{package}/src/{file}"), &format!("//! A module.\n{code}\n"));
    }
    let (code, found) = check(root.path());
    let Some(place) = place else { return assert_eq!(code, 0, "{found}") };
    assert_eq!((code, found.lines().count()), (1, 1), "{found}");
    assert!(found.starts_with(&format!("{package}/src/{place}: ")) && found.contains(rule), "{found}");
}

#[test]
fn a_kernel_that_knows_who_calls_it_is_found() {
    let upwards = "own layer and from those below";
    let below = ("simd/mod.rs", "mod vector;\npub use vector::Vector;");
    let vector = ("simd/vector.rs", "use crate::number::Number;\npub trait Vector {}");
    let number = ("number.rs", "pub trait Number {}");
    let api = ("api/mod.rs", "mod conv;\nuse crate::simd::Vector;");
    let kernel = |code: &'static str| ("kernels/conv.rs", code);
    let all = |kernel| [below, vector, number, api, ("api/conv.rs", "pub fn h() {}"), kernel];
    let right =
        all(kernel("use crate::{number::Number, simd::Vector};\nfn f() { crate::simd::Vector::g() }"));
    modules("crates/tensor", &right, None, "");
    for (code, line) in [
        ("use crate::api::conv;", 2),
        ("use crate::{\n    number::Number,\n    api::conv as c,\n};", 2),
        ("use super::super::api;", 2),
        ("fn f() {}\n\nfn g() { crate::api::conv::h() }", 4),
        ("macro_rules! m { () => { $crate::api::conv::h() } }", 2),
        ("mod inner { use super::super::super::api; }", 2),
        // What the root exports stands above all.
        ("use crate::Conv2d;", 2),
    ] {
        modules("crates/tensor", &all(kernel(code)), Some(&format!("kernels/conv.rs:{line}")), upwards);
    }
    let tests = "#[cfg(test)]\nmod tests { use crate::api::conv; }\n// use crate::api;";
    modules("crates/tensor", &all(kernel(tests)), None, "");
    let inner = "mod sealed { use super::*; }\nuse self::sealed::A;";
    modules("crates/tensor", &all(kernel(inner)), None, "");
    modules("crates/tensor", &[("extra.rs", "")], Some("extra.rs:1"), "every module stands in a layer");
}

#[test]
fn modules_that_import_each_other_are_found() {
    let circle = "never import each other in a circle";
    let (a, b) = (("a.rs", "use crate::b::B;"), ("b.rs", "mod x;\nuse crate::a::A;"));
    modules("crates/models", &[a, b], Some("b.rs:3"), circle);
    modules(
        "crates/models",
        &[a, ("b.rs", "use crate::c;"), ("c.rs", "use super::a;")],
        Some("c.rs:2"),
        circle,
    );
    modules("crates/models", &[a, ("b.rs", "use crate::c;"), ("c.rs", "pub struct A;")], None, "");
    // A name that a parent exports stands for the module it comes from, which is another one here, and the same one there.
    let parent = ("p/mod.rs", "mod one;\nmod two;\npub use one::One;\npub use two::run as go;");
    let (one, two) = (("p/one.rs", "pub struct One;"), ("p/two.rs", "use crate::p::One;"));
    modules("crates/models", &[parent, one, two], None, "");
    let one = ("p/one.rs", "use crate::p::{self, go};");
    modules("crates/models", &[parent, one, two], Some("p/two.rs:2"), circle);
    // A folder's trait and the files that implement it: but not where modules stand in layers.
    let files = [("simd/mod.rs", "mod x86;\nuse x86::f;\ntrait V {}"), ("simd/x86.rs", "use super::V;")];
    modules("crates/models", &files, None, "");
    modules("crates/tensor", &files, Some("simd/x86.rs:2"), circle);
}

#[test]
fn unsafe_code_outside_of_the_kernels_is_found_but_not_in_comments_strings_and_tests() {
    let text = "//! unsafe\n\n/* unsafe /* nested */ unsafe */\n\
                const A: &str = \"unsafe \\\" unsafe\";\nconst B: &str = r#\"unsafe \" \"#;\n\
                const C: char = '\"';\nfn f<'a>(x: &'a str) -> &'a str { x }\nfn unsafe_looking_name() {}\n\
                #[cfg(test)]\nmod tests {\n    fn t() { unsafe { f() } }\n}\n";
    accepts("crates/layers/src/relu.rs", text);
    accepts("crates/layers/tests/relu.rs", "//! Tests.\nfn f() { unsafe { g() } }\n");
    let after = format!("{text}fn g() {{ unsafe {{ f() }} }}\n");
    rejects("crates/layers/src/relu.rs", &after, "crates/layers/src/relu.rs:1", "only in crates/tensor");
}

#[test]
fn a_source_that_is_not_rust_is_an_error() {
    let root = workspace();
    write(root.path(), "crates/layers/src/relu.rs", "//! ReLU.\nfn f() { (\n");
    let output =
        Command::cargo_bin("xtask").unwrap().arg("arch").arg("--root").arg(root.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("relu.rs") && said.contains("line"), "{said}");
}

#[test]
fn unsafe_code_does_not_grow() {
    let with = |allowed: usize| {
        let root = workspace();
        write(root.path(), "Cargo.toml", &format!("[workspace.metadata]\nunsafe = {allowed}\n"));
        // A comment and a test do not count.
        let text =
            "unsafe fn f() {}\nfn g() { unsafe { f() } }\n#[cfg(test)]\nmod tests { unsafe fn h() {} }\n";
        write(root.path(), "crates/tensor/src/lib.rs", &format!("//! unsafe\n{HELD}\n{text}"));
        check(root.path())
    };
    assert_eq!(with(2).0, 0);
    let (code, found) = with(1);
    assert!(code == 1 && found.contains("2, expected at most 1"), "{found}");
}
