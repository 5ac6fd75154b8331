//! The fuzz targets on their committed corpus, and on changes of it: no reader panics, accepts what it should not, or takes memory that the
//! size of a file does not explain.

// The targets take bytes as a fuzzer gives them; the file is that of the package for fuzzers.
#[allow(unreachable_pub, reason = "public for fuzzers")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::{collections::BTreeMap, fs, path::Path};

use allocation_counter::measure;
use byhand::{
    datasets::digits::{self, Part},
    files::{memory::MemoryDisk, replace},
    layers::init::{Init, init_network},
    models::Spec,
    trainer::{Checkpoint, Fit, FitConfig, Silent},
};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Takes any bytes.
type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 10] = [
    ("idx", targets::idx),
    ("cifar", targets::cifar),
    ("csv", targets::csv),
    ("model", targets::model),
    ("checkpoint", targets::checkpoint),
    ("spec", targets::spec),
    ("settings", targets::settings),
    ("config", targets::config),
    ("picture", targets::picture),
    ("onnx", targets::onnx),
];

/// Changes of each file: the bits of its first bytes, where headers are, and cuts.
const FLIPPED: usize = 48;
/// The most bytes that a reader may hold besides a few copies of the file: a decoder's buffers, the layers that a short spec may name.
const MOST_BESIDES: u64 = 8 << 20;

/// Runs a target, and holds what it takes.
#[track_caller]
fn try_on(name: &str, target: Target, bytes: &[u8]) {
    let held = measure(|| target(bytes)).bytes_max;
    assert!(
        held <= 16 * bytes.len() as u64 + MOST_BESIDES,
        "{name}: {held} bytes for a file of {}",
        bytes.len()
    );
}

#[test]
fn the_corpus_is_read_without_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let files = fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .map(|entry| entry.unwrap().path());
        let files: Vec<Vec<u8>> = files.map(|path| fs::read(path).unwrap()).collect();
        assert!(files.len() >= 5, "{name} has a corpus");
        for bytes in files {
            try_on(name, target, &bytes);
            for at in 0..bytes.len().min(FLIPPED) {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    try_on(name, target, &changed);
                }
            }
            for cut in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                try_on(name, target, &bytes[..cut]);
            }
        }
    }
}

/// Files whose digests are right, and which say something else than they should: other shapes, numbers, names, lengths.
#[test]
fn sealed_files_that_say_other_things() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let read = |file: &str| fs::read(corpus.join(file)).unwrap();
    let mut chance = ChaCha8Rng::seed_from_u64(7);
    for file in ["model/model-0", "model/model-1"] {
        let bytes = read(file);
        targets::model(&sealed_model(&bytes, &mut |_| ()));
        for _ in 0..2_000 {
            let changed = sealed_model(&bytes, &mut |value| change(value, &mut chance));
            try_on(file, targets::model, &shaken(changed, &mut chance));
        }
    }

    // A checkpoint that is taken is also gone on with.
    let data = digits::generate(Part::Train, 30, 1).halve().unwrap().halve().unwrap();
    let network =
        "dense(4) relu dense(10)".parse::<Spec>().unwrap().build::<f32>("1x7x7".parse().unwrap()).unwrap();
    let config = || FitConfig { epochs: 3, batch_size: 8, threads: 1, ..FitConfig::default() };
    let mut fit =
        Fit::new(&network, init_network(&network, Init::HeNormal, 1), &data, Some(&data), config()).unwrap();
    fit.run_until(5, &mut Silent).unwrap();
    let (disk, path) = (MemoryDisk::with_folder(Path::new("run")), Path::new("run/checkpoint"));
    let load = |bytes: &[u8]| {
        replace(&disk, path, bytes).unwrap();
        Checkpoint::load_from(&disk, path)
    };
    fit.checkpoint().save_on(&disk, path).unwrap();
    let bytes = disk.files().remove(path).unwrap();
    let (mut taken, mut gone_on) = (0, 0);
    assert_eq!(load(&sealed_checkpoint(&bytes, &mut |_| ())).unwrap(), fit.checkpoint());
    for _ in 0..2_000 {
        let changed = sealed_checkpoint(&bytes, &mut |value| change(value, &mut chance));
        let changed = shaken(changed, &mut chance);
        try_on("checkpoint", targets::checkpoint, &changed);
        let Ok(checkpoint) = load(&changed) else { continue };
        taken += 1;
        if let Ok(mut fit) = Fit::resume(&network, checkpoint, &data, Some(&data), config()) {
            let _ = fit.run_until(fit.step().saturating_add(1), &mut Silent);
            gone_on += 1;
        }
    }
    assert!(
        taken > 20 && gone_on > 10,
        "{taken} were taken, {gone_on} gone on with: the seal is not that of checkpoints"
    );
}

/// The header of a safetensors file as JSON, and the numbers behind it.
fn parts(bytes: &[u8]) -> (Value, &[u8]) {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..end]).unwrap(), &bytes[end..])
}

fn whole(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn digest(text: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(text))
}

/// A model file whose description, or whose header, was changed, with the digest that it should then have.
fn sealed_model(bytes: &[u8], change: &mut dyn FnMut(&mut Value)) -> Vec<u8> {
    let (mut header, data) = parts(bytes);
    let text = header["__metadata__"]["byhand"].as_str().unwrap().to_string();
    let mut description = serde_json::from_str::<Value>(&text).unwrap()["model"].take();
    change(&mut description);
    let model = description.to_string();
    header["__metadata__"]["byhand"] =
        format!("{{\"sha256\":\"{}\",\"model\":{model}}}", digest(model.as_bytes())).into();
    change(&mut header);
    whole(&header, data)
}

/// The same of a checkpoint.
fn sealed_checkpoint(bytes: &[u8], change: &mut dyn FnMut(&mut Value)) -> Vec<u8> {
    let (mut header, data) = parts(bytes);
    change(&mut header["__metadata__"]);
    let Some(metadata) = header["__metadata__"].as_object().cloned() else { return whole(&header, data) };
    let texts = metadata.into_iter().filter(|(key, _)| key != "sha256");
    let metadata: BTreeMap<String, String> =
        texts.map(|(key, value)| (key, value.as_str().map_or(value.to_string(), String::from))).collect();
    let mut sealed = serde_json::to_string(&metadata).unwrap().into_bytes();
    let file = SafeTensors::deserialize(bytes).unwrap();
    for name in ["theta", "optimizer", "best"] {
        if let (Ok(tensor), true) = (file.tensor(name), name != "best" || metadata.contains_key("best")) {
            sealed.extend((tensor.data().len() as u64).to_le_bytes());
            sealed.extend(tensor.data());
        }
    }
    header["__metadata__"] = metadata.into_iter().chain([("sha256".to_string(), digest(&sealed))]).collect();
    whole(&header, data)
}

/// In one of three cases changes a place of the JSON.
fn change(value: &mut Value, chance: &mut ChaCha8Rng) {
    if chance.next_u64().is_multiple_of(3) {
        change_within(value, chance);
    }
}

/// Walks to a place at random, and makes it something else.
fn change_within(value: &mut Value, chance: &mut ChaCha8Rng) {
    const TEXTS: [&str; 12] = [
        "",
        "-1",
        "0",
        "0 0",
        "18446744073709551615",
        "18446744073709551615 18446744073709551615",
        "nan",
        "1x1x1",
        "65535x65535x65535",
        "dense(65536) dense(65536)",
        "dropout(0.999999) dense(10)",
        "\u{0}\u{feff}",
    ];
    let (pick, stops) = (chance.next_u64() as usize, chance.next_u64().is_multiple_of(4));
    match value {
        Value::Array(all) if !all.is_empty() && !stops => {
            let index = pick % all.len();
            change_within(&mut all[index], chance);
        }
        Value::Object(all) if !all.is_empty() => {
            let key = all.keys().nth(pick % all.len()).unwrap().clone();
            if !stops {
                return change_within(all.get_mut(&key).unwrap(), chance);
            }
            let moved = all.remove(&key).unwrap();
            // Gone, or under another name.
            if pick % 2 == 0 {
                all.insert(format!("{key}2"), moved);
            }
        }
        Value::String(text) => {
            // One of several numbers, or all.
            let mut words: Vec<&str> = text.split(' ').collect();
            let changed = (pick >> 8) % words.len();
            words[changed] = TEXTS[pick % TEXTS.len()];
            *text = words.join(" ");
        }
        other => {
            let numbers = [0, 1, 3, 255, 1 << 31, 1 << 62, u64::MAX];
            *other = match pick % 9 {
                8 => Value::Null,
                7 => (-1).into(),
                n => numbers[n].into(),
            };
        }
    }
}

/// In one of eight cases a tensor's name stands twice in the header, or the header's length is another.
fn shaken(mut bytes: Vec<u8>, chance: &mut ChaCha8Rng) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let lengths = [0, 1, length - 1, length + 1, bytes.len() as u64, 1 << 40, u64::MAX - 7, u64::MAX];
    match chance.next_u64() % 16 {
        0 => {
            let twice = br#""theta":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#;
            bytes.splice(9..9, *twice);
            bytes[..8].copy_from_slice(&(length + twice.len() as u64).to_le_bytes());
        }
        1 => bytes[..8].copy_from_slice(&lengths[chance.next_u64() as usize % lengths.len()].to_le_bytes()),
        _ => {}
    }
    bytes
}
