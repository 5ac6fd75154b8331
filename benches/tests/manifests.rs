//! `cargo bench --workspace -- --save-baseline x` reaches every benchmark target of every package; libtest, which answers
//! for libraries and programs unless they opt out, does not know such flags and would end the run.

use std::fs;
use std::path::Path;

#[test]
fn no_library_and_no_program_hears_the_flags_of_cargo_bench() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let folders = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = 0;
    for folder in folders.chain([root.join("xtask"), root.join("benches")]) {
        let path = folder.join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let manifest: toml::Table = text.parse().unwrap();
        let opts_out = |target: Option<&toml::Value>| target?.get("bench")?.as_bool().map(|bench| !bench);
        if folder.join("src/lib.rs").is_file() {
            libraries += 1;
            let lib = opts_out(manifest.get("lib"));
            assert_eq!(lib, Some(true), "{}: expected `bench = false` under [lib]", path.display());
        }
        if folder.join("src/main.rs").is_file() {
            let bin = manifest.get("bin").and_then(|bins| bins.as_array()?.first());
            assert_eq!(
                opts_out(bin),
                Some(true),
                "{}: expected `bench = false` under [[bin]]",
                path.display()
            );
        }
    }
    assert!(libraries >= 6, "only {libraries} libraries found");
}
