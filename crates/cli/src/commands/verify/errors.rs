//! Check of what a person is told when something is wrong: each command line of `errors.txt` is wrong in one way, and is told what
//! stands there.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
    process::Output,
};

use anyhow::{Context, Result, ensure};
use byhand_datasets::idx;

use super::{Outcome, program::program};
use crate::program::{name, words};

/// Entries with a blank line between them: a command line, what it is told, its exit code. `[..]` stands for anything.
const CATALOGUE: &str = include_str!("errors.txt");
const ANYTHING: &str = "[..]";
const BEGINS: &str = "$ byhand ";

pub fn error_catalogue(_: usize) -> Result<Outcome> {
    if !cfg!(target_os = "linux") {
        return Ok(Outcome::skipped("the catalogue has the words of Linux"));
    }
    let folder = tempfile::tempdir()?;
    let root = folder.path().canonicalize()?;
    lay_out(&root)?;
    let (mut failures, mut entries, mut catalogue) = (Vec::new(), 0, String::new());
    for entry in CATALOGUE.trim_end().trim_start_matches(BEGINS).split(&format!("\n\n{BEGINS}")) {
        let line = entry.lines().next().unwrap_or_default();
        let told = if is_built(line) { found(line, &root)? } else { entry.to_string() };
        entries += usize::from(is_built(line));
        let kept = if fits(entry, &told) { entry } else { &told };
        catalogue += &format!("{BEGINS}{kept}\n\n");
        if kept != entry {
            failures.push(format!("expected {entry:?}, found {told:?}"));
        }
    }
    if let Some(first) = failures.first_mut() {
        let (_, path) = tempfile::Builder::new().prefix("errors-").suffix(".txt").tempfile()?.keep()?;
        fs::write(&path, format!("{}\n", catalogue.trim_end()))?;
        *first += &format!("; the catalogue as it was found is {}", path.display());
    }
    Ok(Outcome::of(format!("{entries} wrong command lines: {} told otherwise", failures.len()), &failures))
}

/// Whether this build has the command.
fn is_built(line: &str) -> bool {
    let is = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
    (cfg!(feature = "proofs") || !is(&["exercise", "gradcheck", "museum", "notebooks"]))
        && (cfg!(feature = "shell") || !is(&["completions", "man"]))
        && (cfg!(feature = "live") || !(is(&["watch"]) || line.contains("--tui")))
}

/// The entry of a command line, as it is found.
fn found(line: &str, root: &Path) -> Result<String> {
    let output = run(line, root)?;
    let told = String::from_utf8(output.stderr)?.replace(&root.display().to_string(), ".");
    let code = output.status.code().context("it was ended by a signal")?;
    Ok(format!("{line}\n{}\nexit code {code}", told.replace(name(), "byhand").trim_end()))
}

/// Runs a command line without data or network. Variables stand before it.
fn run(line: &str, root: &Path) -> Result<Output> {
    let words = words(line);
    let is_variable = |word: &&String| word.split_once('=').is_some_and(|(name, _)| !name.contains('-'));
    let (variables, arguments) = words.split_at(words.iter().take_while(is_variable).count());
    let mut command = program(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    command.current_dir(root).envs([("HOME", root), ("XDG_CACHE_HOME", &root.join("cache"))]);
    command.env("ALL_PROXY", "http://127.0.0.1:1");
    command.envs(variables.iter().filter_map(|word| word.split_once('=')));
    command.output().with_context(|| format!("cannot run {line}"))
}

fn fits(expected: &str, found: &str) -> bool {
    let mut parts = expected.split(ANYTHING);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = found.strip_prefix(first) else { return false };
    for part in parts {
        match rest.find(part) {
            // The last part is followed by nothing; an entry ends in its exit code, so it stands there once.
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// The files that the command lines are wrong about.
fn lay_out(root: &Path) -> Result<()> {
    let write = |file: &str, bytes: &[u8]| -> Result<()> {
        let path = root.join(file);
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        Ok(fs::write(path, bytes)?)
    };
    let train = "train-mlp --data digits --train-limit 100 --test-limit 50 --validation 20 --epochs 2";
    for (line, code) in [
        (format!("{train} --out run"), 0),
        (format!("{train} --out wild --optimizer sgd --schedule constant --lr 1e20"), 3),
        ("parity export bundle --data digits --train-limit 64 --steps 2 --batch-size 8".to_string(), 0),
    ] {
        let output = run(&line, root)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{line}: {}: {told}", output.status);
    }
    fs::create_dir(root.join("empty"))?;

    let config = fs::read_to_string(root.join("run/config.toml"))?;
    write("wrong.toml", b"preset = \"mlp\"\nepochs = \"many\"\n")?;
    write("cut.toml", b"preset = \"mlp\n")?;
    write("latin.toml", b"preset = \"\xe9\"\n")?;
    write("unknown.toml", b"preset = \"mlp\"\nepoch = 3\n")?;
    write("notebook.toml", b"[notebook]\nsystem = 3\n")?;
    write("speedrun.toml", b"preset = \"mlp\"\n[speedrun]\nshares = [2.0]\n")?;
    write("page.html", b"<html><body>Please log in</body></html>")?;

    let model = fs::read(root.join("run/model.safetensors"))?;
    let flipped = |at: usize| {
        let mut bytes = model.clone();
        bytes[at] ^= 1;
        bytes
    };
    write("short.safetensors", &model[..4000])?;
    write("header.safetensors", &flipped(100))?;
    write("huge.safetensors", &[&(1_u64 << 40).to_le_bytes()[..], b"{}"].concat())?;
    let alone = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    write("alone.safetensors", &[&(alone.len() as u64).to_le_bytes()[..], alone, &[0; 4]].concat())?;
    write("damaged/model.safetensors", &flipped(model.len() - 100))?;
    write("damaged/config.toml", config.as_bytes())?;
    write("damaged/checkpoints/step-4.safetensors", b"rubbish")?;
    let checkpoint = fs::read(root.join("run/checkpoints/step-4.safetensors"))?;
    write("without-config/checkpoints/step-4.safetensors", &checkpoint)?;
    write("without-checkpoint/config.toml", config.as_bytes())?;
    write("other/config.toml", config.replace("batch-size = 64", "batch-size = 32").as_bytes())?;
    write("other/checkpoints/step-4.safetensors", &checkpoint)?;
    for (failure, text) in [("failure", "{}"), ("failure-cut", "{")] {
        write(&format!("{failure}/config.toml"), config.as_bytes())?;
        write(&format!("{failure}/failure.json"), text.as_bytes())?;
    }

    let file = |dims: &[usize]| -> Result<Vec<u8>> {
        let data: Vec<u8> = (0..dims.iter().product()).map(|n: usize| (n % 10) as u8).collect();
        let mut bytes = Vec::new();
        idx::write(&mut bytes, dims, &data)?;
        Ok(bytes)
    };
    let (images, labels) = (file(&[20, 8, 8])?, file(&[20])?);
    let floats = [&[0, 0, 13, 3][..], &images[4..16], &[0; 4 * 20 * 64]].concat();
    let overflow = [&[0, 0, 8, 3][..], &[255; 12], &[0; 5]].concat();
    for (folder, images, labels) in [
        ("own", &images[..], &labels[..]),
        ("cut", &images[..700], &labels),
        ("swapped", &labels, &images),
        ("few", &images, &file(&[19])?),
        ("floats", &floats, &labels),
        ("long", &[&images[..], b"more"].concat(), &labels),
        ("overflow", &overflow, &labels),
        ("html", b"<html>", &labels),
        ("sizes", &images, &labels),
        ("names", &images, &labels),
        ("names-twice", &images, &labels),
    ] {
        for part in ["train", "t10k"] {
            write(&format!("{folder}/{part}-images-idx3-ubyte"), images)?;
            write(&format!("{folder}/{part}-labels-idx1-ubyte"), labels)?;
        }
    }
    write("sizes/t10k-images-idx3-ubyte", &file(&[20, 9, 9])?)?;
    write("names/classes.txt", b"a\nb\n")?;
    write("names-twice/classes.txt", &b"a\n".repeat(10))?;
    write("partial/train-images-idx3-ubyte", &images)?;

    let picture = |file: &str, side: u32, level: fn(u32, u32) -> u8| -> Result<()> {
        let mut encoder = png::Encoder::new(BufWriter::new(File::create(root.join(file))?), side, side);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header()?;
        // One that is too large to be made has a header alone.
        if side > 100 {
            return Ok(());
        }
        let levels: Vec<u8> = (0..side * side).map(|at| level(at % side, at / side)).collect();
        Ok(writer.write_image_data(&levels)?)
    };
    picture("good.png", 28, |x, _| if x == 14 { 255 } else { 0 })?;
    picture("small.png", 5, |x, _| if x == 2 { 255 } else { 0 })?;
    picture("blank.png", 28, |_, _| 255)?;
    picture("pale.png", 28, |x, _| if x == 14 { 250 } else { 255 })?;
    picture("vast.png", 100_000, |_, _| 0)?;
    let mut good = fs::read(root.join("good.png"))?;
    write("cut.png", &good[..60])?;
    good[45] ^= 4;
    write("flipped.png", &good)?;
    write("bitmap.png", b"BM\x8a\0")?;
    write("note.png", b"hello")?;
    write("none.png", b"")
}
