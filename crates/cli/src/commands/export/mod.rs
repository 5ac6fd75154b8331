//! `byhand export`: a trained model as an ONNX file, as C or Rust source, or as a PyTorch script.

mod torch;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use anyhow::{Context, Result, ensure};
use byhand_datasets::Dataset;
use byhand_export::{
    onnx,
    source::{self, Quantized, Source},
};
use byhand_files::{OS, replace};
use byhand_layers::metrics::argmax;
use byhand_models::Model;
use clap::Args;
use serde_json::{Value, json};

use crate::{
    arguments::DataArgs,
    exit::usage,
    loading::{ReadingOptions, load_data_of, load_model},
    machine::cores,
    output::Output,
    pictures,
    values::at_least_one,
};

/// Options of `export`.
#[derive(Args)]
#[command(
    after_help = "The C and Rust source needs no library and allocates nothing; weights are constants. In floats its outputs have the \
    bits of `predict`'s. With --int8 weights and values are whole numbers of eight bits, whose scales come from training images, and the \
    accuracy on the test images is printed beside that in floats. docs/export.md says how each is used.
Examples:
  byhand export runs/cnn-mnist-seed0 --onnx digits.onnx --preprocess
  byhand export runs/cnn-mnist-seed0 --c digits.c
  byhand export runs/cnn-mnist-seed0 --rust digits --int8
  byhand export model.safetensors --torch digits-torch"
)]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
    #[command(flatten)]
    formats: Formats,
    /// The version of ONNX's operators, 11 to 22
    #[arg(long, value_name = "N", default_value_t = onnx::DEFAULT_OPSET, requires = "onnx", value_parser = opset())]
    opset: u32,
    /// The ONNX file takes pictures as bytes and prepares them itself
    #[arg(long, requires = "onnx")]
    preprocess: bool,
    /// C and Rust in whole numbers of eight bits
    #[arg(long)]
    int8: bool,
    /// Training images that the scales of --int8 come from
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one, requires = "int8")]
    calibrate: NonZeroUsize,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    reading: ReadingOptions,
}

/// What is written.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Formats {
    /// An ONNX file
    #[arg(long, value_name = "FILE")]
    onnx: Option<PathBuf>,
    /// A file of C99, and its header beside it
    #[arg(long, value_name = "FILE")]
    c: Option<PathBuf>,
    /// A folder for a crate of Rust
    #[arg(long, value_name = "DIR")]
    rust: Option<PathBuf>,
    /// A folder for weights and a script for PyTorch
    #[arg(long, value_name = "DIR")]
    torch: Option<PathBuf>,
}

fn opset() -> impl clap::builder::TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(i64::from(*onnx::OPSETS.start())..=i64::from(*onnx::OPSETS.end()))
}

/// Writes all that was asked for.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let Formats { onnx, c, rust, torch } = &options.formats;
    if options.int8 && c.is_none() && rust.is_none() {
        return Err(usage("--int8: expected --c or --rust with it; the other formats are in floats"));
    }
    let model = load_model(&options.model)?;
    let pictures = pictures::size_for(&model).ok();
    let mut written: Vec<Value> = Vec::new();
    let mut tell = |format: &str, place: &Path, fields: Value| {
        let mut event = json!({"format": format, "path": place.to_string_lossy()});
        let all = event.as_object_mut().expect("an object");
        all.extend(fields.as_object().cloned().unwrap_or_default());
        output.event("written", event.clone());
        written.push(event);
    };
    if let Some(file) = onnx {
        let size = options.preprocess.then(|| pictures::size_for(&model)).transpose()?;
        let bytes = onnx::write(&model, onnx::Options { opset: options.opset, pictures: size })?;
        put(file, &bytes)?;
        output.print(format!("{}: ONNX, opset {}, {} bytes", file.display(), options.opset, bytes.len()));
        tell("onnx", file, json!({"opset": options.opset, "bytes": bytes.len()}));
    }
    let quantized = options.int8.then(|| quantize(&model, options, output)).transpose()?;
    let int8 = quantized.as_ref().map(|(quantized, _)| quantized);
    let numbers = if int8.is_some() { "int8" } else { "f32" };
    let told = |source: &Source| format!("{} bytes of weights, {} of memory", source.weights, source.memory);
    if let Some(file) = c {
        let name = identifier(&file.with_extension(""))?;
        ensure!(
            file.extension().is_some_and(|extension| extension == "c"),
            usage(format!("--c {}: expected the name of a file that ends in .c", file.display()))
        );
        let source = source::c(&model, &source::Options { name: &name, pictures, int8 })?;
        for part in &source.files {
            put(&file.with_file_name(&part.path), part.text.as_bytes())?;
        }
        output.print(format!("{}: C99 in {numbers}, {}", file.display(), told(&source)));
        if pictures.is_some() {
            let main = name.to_uppercase();
            output.print(format!(
                "  cc -std=c99 -O3 -march=native -D{main}_MAIN {} -lm -o {name}",
                file.display()
            ));
        }
        tell("c", file, json!({"numbers": numbers, "weights": source.weights, "memory": source.memory}));
    }
    if let Some(folder) = rust {
        let name = identifier(folder)?;
        let manifest = folder.join("Cargo.toml");
        let is_ours =
            || fs::read_to_string(&manifest).is_ok_and(|text| text.starts_with("# Written by byhand."));
        if manifest.exists() && !is_ours() {
            return Err(usage(format!(
                "--rust {}: expected a new folder, found a crate of another kind there",
                folder.display()
            )));
        }
        let source = source::rust(&model, &source::Options { name: &name, pictures, int8 })?;
        for part in &source.files {
            put(&folder.join(&part.path), part.text.as_bytes())?;
        }
        output.print(format!("{}: a crate of Rust in {numbers}, {}", folder.display(), told(&source)));
        tell("rust", folder, json!({"numbers": numbers, "weights": source.weights, "memory": source.memory}));
    }
    if let Some(folder) = torch {
        for (name, bytes) in torch::files(&model)? {
            put(&folder.join(name), &bytes)?;
        }
        output.print(format!(
            "{}: PyTorch; python3 {}",
            folder.display(),
            folder.join(torch::SCRIPT).display()
        ));
        tell("torch", folder, json!({}));
    }
    let mut result = json!({"written": written, "weights_sha256": model.weights_sha256()});
    if let Some((_, accuracies)) = quantized {
        result["accuracy"] = json!(accuracies.floats);
        result["int8_accuracy"] = json!(accuracies.bytes);
        result["test_images"] = json!(accuracies.images);
    }
    output.result(result);
    Ok(())
}

/// Shares of test images that are answered rightly.
struct Accuracies {
    images: usize,
    floats: f64,
    bytes: f64,
}

/// The model in whole numbers, calibrated on images that it was trained on, and what that costs.
fn quantize(model: &Model, options: &Options, output: &Output) -> Result<(Quantized, Accuracies)> {
    let (loaded, other) = load_data_of(model, options.data.asked(), options.reading, (None, None), output)?;
    other.iter().for_each(|told| output.warn(told));
    let of_model = |data: &Dataset| {
        data.match_classes(&model.class_names)
            .map_err(|error| usage(format!("{error}; the model has {}", model.class_names.join(", "))))
    };
    let (train, test) = (of_model(&loaded.train)?, of_model(&loaded.test)?);
    if train.is_empty() {
        return Err(usage(format!(
            "{}: expected training images to calibrate with, found none",
            loaded.source
        )));
    }
    let quantized = Quantized::new(model, train.take(options.calibrate.get()).images())?;
    let (network, next, right) = (model.network()?, AtomicUsize::new(0), [0; 2].map(AtomicUsize::new));
    let bar = output.bar(test.len() as u64, "int8 {bar:30} {pos}/{len} images, {eta} left");
    let answer = || {
        loop {
            let first = next.fetch_add(AT_ONCE, Relaxed);
            if first >= test.len() {
                break;
            }
            let samples = first..(first + AT_ONCE).min(test.len());
            let images = test.images().slice_move(ndarray::s![samples.clone(), .., .., ..]);
            let x = model.preprocessing.apply(images);
            let answers = [network.predict(&model.theta, x.view()), quantized.predict(x.view())];
            for (right, answers) in right.iter().zip(&answers) {
                let labels = test.labels()[samples.clone()].iter();
                let are_right = answers.rows().into_iter().zip(labels);
                let count = are_right.filter(|(row, label)| argmax(row) == usize::from(**label)).count();
                right.fetch_add(count, Relaxed);
            }
            bar.inc(samples.len() as u64);
        }
    };
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(answer);
        }
    });
    bar.finish_and_clear();
    let share = |right: usize| right as f64 / test.len().max(1) as f64;
    let [floats, bytes] = right.map(|right| share(right.into_inner()));
    let accuracies = Accuracies { images: test.len(), floats, bytes };
    output.print(format!(
        "accuracy {:.2} % in int8, {:.2} % in f32, on {} images of {}",
        100.0 * accuracies.bytes,
        100.0 * accuracies.floats,
        accuracies.images,
        loaded.source
    ));
    Ok((quantized, accuracies))
}

/// Test images that are turned into numbers at a time.
const AT_ONCE: usize = 256;

/// Writes a file, and the folder that it is in.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot_write = || format!("cannot write {}", path.display());
    if path.is_dir() {
        return Err(usage(format!("{}: expected the name of a file, found a folder", path.display())));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(cannot_write)?;
    }
    replace(&OS, path, bytes).with_context(cannot_write)
}

/// What names in source begin with: the name of the file or folder, in letters, digits and `_`.
fn identifier(path: &Path) -> Result<String> {
    let name =
        path.file_name().map(|name| name.to_string_lossy().replace(['-', ' ', '.'], "_")).unwrap_or_default();
    let is_word = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if !is_word || RESERVED.split_whitespace().any(|word| word == name.to_lowercase()) {
        return Err(usage(format!(
            "{}: expected a name of letters, digits and _ that begins with a letter and is no word of C or Rust, for names in the source \
             begin with it",
            path.display()
        )));
    }
    Ok(name)
}

/// What no crate may be called.
const RESERVED: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else enum examples extern \
    false final fn for gen if impl in incremental let loop macro main match mod move mut override priv proc_macro pub ref \
    return self static std struct super test trait true try type typeof unsafe unsized use virtual where while yield";
