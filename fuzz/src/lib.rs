//! The fuzz targets: one for every reader of bytes from outside. Each takes any bytes, and panics when a promise is broken.
//!
//! The workspace's tests include this file and run it on the corpus (`crates/cli/tests/corpus.rs`). So a bug that a fuzzer once found
//! stays fixed, and nobody needs a fuzzer to check that.

use std::path::Path;

use byhand::datasets::cifar::{CLASSES, Records};
use byhand::datasets::{csv, idx};
use byhand::files::memory::MemoryDisk;
use byhand::files::replace;
use byhand::layers::Shape;
use byhand::models::{Model, Spec};
use byhand::trainer::{Checkpoint, Objective, Optimizer, Schedule};
use byhand_cli::readers;

/// IDX, plain or gzipped. A plain file that is accepted without a note is written again as the same bytes.
pub fn idx(bytes: &[u8]) {
    let read = idx::read(bytes, "fuzzed", 1 << 16);
    let _ = idx::read_images(bytes, "fuzzed", 1 << 16);
    let _ = idx::read_labels(bytes, "fuzzed", 1 << 16, 10);
    if let Ok(idx) = read
        && !idx.gzipped
        && idx.note.is_none()
    {
        let mut again = Vec::new();
        idx::write(&mut again, &idx.dims, &idx.data).expect("a vector takes all bytes");
        assert_eq!(again, bytes, "other bytes were accepted");
    }
}

/// CIFAR-10's binary form. The images and labels of an accepted file have exactly its bytes.
pub fn cifar(bytes: &[u8]) {
    let mut records = Records::default();
    let Ok(read) = records.read(bytes, "fuzzed", 1 << 16) else { return };
    assert_eq!(read, bytes.len() as u64);
    let names = (0..CLASSES).map(|class| class.to_string()).collect();
    let data = records.into_dataset("fuzzed", names).expect("labels are classes");
    let image = |i: usize| {
        [data.labels()[i] as u8].into_iter().chain(data.image(i).iter().copied().collect::<Vec<u8>>())
    };
    assert!((0..data.len()).flat_map(image).eq(bytes.iter().copied()), "other bytes were accepted");
}

/// A table of pixels, plain or gzipped. An accepted table is the same when it is written plainly and read again.
pub fn csv(bytes: &[u8]) {
    let Ok(table) = csv::read(bytes, "fuzzed", 1 << 16) else { return };
    let pixels = table.side * table.side;
    let mut text = "p,".repeat(pixels) + if table.labels.is_empty() { "" } else { "label" } + "\n";
    for (picture, row) in table.pixels.chunks_exact(pixels).enumerate() {
        row.iter().for_each(|pixel| text += &format!("{pixel},"));
        text += &table.labels.get(picture).map_or(String::new(), u16::to_string);
        text += "\n";
    }
    if table.labels.is_empty() {
        text = text.replace(",\n", "\n");
    }
    assert!(csv::read(text.as_bytes(), "written", 1 << 16).is_ok_and(|again| again == table), "{text}");
}

/// A model file. An accepted model makes a network, and keeps its weights when it is written and read again.
pub fn model(bytes: &[u8]) {
    if let Ok(model) = Model::from_bytes(bytes) {
        model.network().expect("what was read fits together");
        let again = model.to_bytes().expect("what was read can be written");
        assert_eq!(
            Model::from_bytes(&again).expect("what was written can be read").weights_sha256(),
            model.weights_sha256()
        );
    }
}

/// A checkpoint. An accepted one keeps its step and weights when it is written and read again.
pub fn checkpoint(bytes: &[u8]) {
    let disk = MemoryDisk::with_folder(Path::new("run"));
    let path = Path::new("run/checkpoint");
    replace(&disk, path, bytes).expect("a disk in memory takes all bytes");
    if let Ok(checkpoint) = Checkpoint::load_from(&disk, path) {
        checkpoint.save_on(&disk, path).expect("a disk in memory takes all bytes");
        let again = Checkpoint::load_from(&disk, path).expect("what was written can be read");
        assert_eq!(again.step(), checkpoint.step());
        assert!(again.theta().iter().zip(checkpoint.theta()).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

/// A layer spec. An accepted one is printed as text that means the same, and building its network does not panic.
pub fn spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(spec) = text.parse::<Spec>() {
        assert!(spec.to_string().parse::<Spec>().is_ok_and(|again| again == spec), "{spec}");
        let _ = spec.build::<f32>(Shape::new(1, 28, 28));
    }
}

/// An optimiser, a schedule or an objective. An accepted one is printed as text that means the same.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(optimizer) = text.parse::<Optimizer>() {
        assert_eq!(optimizer.to_string().parse(), Ok(optimizer));
    }
    if let Ok(schedule) = text.parse::<Schedule>() {
        assert_eq!(schedule.to_string().parse(), Ok(schedule));
    }
    if let Ok(objective) = text.parse::<Objective>() {
        assert_eq!(objective.to_string().parse(), Ok(objective));
    }
}

/// An ONNX file. The layers of an accepted one fit together and have as many parameters as were read.
pub fn onnx(bytes: &[u8]) {
    if let Ok(imported) = byhand_export::onnx::read(bytes, "fuzzed.onnx") {
        let network = imported.spec.build::<f32>(imported.input).expect("layers that fit");
        assert_eq!(network.param_len(), imported.theta.len());
    }
}

/// A configuration in TOML. One that is refused has an error message.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = readers::configuration(text) {
        assert!(!error.to_string().is_empty());
    }
}

/// A picture, or IDX images for `predict`. One that is refused has an error message.
pub fn picture(bytes: &[u8]) {
    if let Err(error) = readers::picture(bytes) {
        assert!(!error.to_string().is_empty());
    }
}
