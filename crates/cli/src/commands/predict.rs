//! `byhand predict`: what a trained model says about images in PNG or IDX files.

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use byhand_datasets::{Dataset, Normalize, dataset::numbered_classes, idx};
use byhand_layers::Block;
use byhand_models::Model;
use byhand_tensor::softmax;
use clap::Args;
use ndarray::{Array2, Array3, Axis};
use serde_json::json;

use crate::{
    exit::must_exist,
    loading::{load_model, prepare},
    output::Output,
};

/// Options of `predict`.
#[derive(Args)]
#[command(
    after_help = "Images are as in MNIST: bright strokes on a dark ground. A PNG may be grey, RGB or RGBA (mixed \
    to grey); an IDX file may hold many images, gzipped or not.
Examples:
  byhand predict runs/cnn-mnist-seed0 seven.png
  byhand predict runs/cnn-mnist-seed0 --invert scanned.png
  byhand predict model.safetensors t10k-images-idx3-ubyte.gz --limit 20 --json"
)]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
    /// PNG or IDX image files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The images are dark strokes on a bright ground
    #[arg(long)]
    invert: bool,
    /// At most so many images of each file
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// How many classes are shown for each image.
const SHOWN: usize = 3;

/// Prints a line an image.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let model = load_model(&options.model)?;
    let network = model.network()?;
    for file in &options.images {
        must_exist(file, "a PNG or IDX file of images")?;
    }
    let mut count = 0;
    for file in &options.images {
        let mut images = read_images(file, options.limit)?;
        if options.invert {
            images.mapv_inplace(|p| 255 - p);
        }
        let x = inputs(&model, images).with_context(|| file.display().to_string())?;
        let probabilities = softmax_rows(network.predict(&model.theta, x.view()));
        for (index, row) in probabilities.axis_iter(Axis(0)).enumerate() {
            let mut ranked: Vec<usize> = (0..row.len()).collect();
            ranked.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let name = |class: usize| &model.class_names[class];
            let shown: Vec<String> = ranked
                .iter()
                .take(SHOWN)
                .map(|&class| format!("{} {:.1} %", name(class), 100.0 * row[class]))
                .collect();
            output.print(format!("{}[{index}]: {}", file.display(), shown.join(", ")));
            output.event(
                "prediction",
                json!({"file": file, "index": index, "class": ranked[0], "name": name(ranked[0]),
                    "probabilities": row.to_vec()}),
            );
            count += 1;
        }
    }
    output.result(json!({"images": count, "weights_sha256": model.weights_sha256()}));
    Ok(())
}

/// One image (PNG) or many (IDX), told apart by the first bytes.
fn read_images(path: &Path, limit: usize) -> Result<Array3<u8>> {
    let name = path.display().to_string();
    let cannot_read = || format!("{name}: expected a PNG or IDX file of images");
    let mut file = BufReader::new(File::open(path).with_context(cannot_read)?);
    let mut magic = [0; 4];
    let read = file.read(&mut magic).with_context(cannot_read)?;
    file.rewind().with_context(cannot_read)?;
    if magic[..read] == *b"\x89PNG" {
        return read_png(file).with_context(|| format!("{name}: expected a whole PNG file"));
    }
    let images = idx::read_images(file, &name, u64::MAX)?;
    let n = images.len_of(Axis(0)).min(limit);
    Ok(images.slice_move(ndarray::s![..n, .., ..]))
}

fn read_png(file: BufReader<File>) -> Result<Array3<u8>> {
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let mut bytes = vec![0; reader.output_buffer_size().context("the image is too large")?];
    let frame = reader.next_frame(&mut bytes)?;
    let (height, width) = (frame.height as usize, frame.width as usize);
    let channels = frame.color_type.samples();
    let grey = bytes[..frame.buffer_size()].chunks_exact(channels).map(|pixel| match *pixel {
        [grey] => grey,
        [grey, alpha] => over_black(grey, alpha),
        [r, g, b] => luma(r, g, b),
        [r, g, b, alpha] => over_black(luma(r, g, b), alpha),
        _ => unreachable!("PNG has one to four samples a pixel"),
    });
    Ok(Array3::from_shape_vec((1, height, width), grey.collect())?)
}

/// Rec. 601 luma.
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000) as u8
}

fn over_black(grey: u8, alpha: u8) -> u8 {
    ((u32::from(grey) * u32::from(alpha) + 127) / 255) as u8
}

/// The rows that the network reads.
fn inputs(model: &Model, images: Array3<u8>) -> Result<Array2<f32>> {
    let preprocessing = &model.preprocessing;
    ensure!(preprocessing.crop.is_none(), "the model crops its images, which predict does not do");
    let n = images.len_of(Axis(0));
    let classes = model.class_names.len();
    let dataset =
        prepare(Dataset::new("images", images, vec![0; n], numbered_classes(classes))?, preprocessing)?;
    let (h, w) = dataset.image_size();
    if (1, h, w) != (model.input.c, model.input.h, model.input.w) {
        let (factor, halved) = if preprocessing.halve { (2, " after halving") } else { (1, "") };
        bail!(
            "expected an image of {}x{} pixels, found {}x{} (the model reads {}{halved})",
            model.input.h * factor,
            model.input.w * factor,
            h * factor,
            w * factor,
            model.input
        );
    }
    let normalize = Normalize { scale: preprocessing.scale, shift: preprocessing.shift };
    let bytes = dataset.images();
    Ok(Array2::from_shape_fn((n, h * w), |(i, p)| normalize.apply(bytes[[i, p / w, p % w]])))
}

fn softmax_rows(logits: Array2<f32>) -> Array2<f32> {
    let (n, classes) = logits.dim();
    let block = Block::single(n);
    let mut y = vec![0.0; block.len(classes)];
    softmax::softmax(block, classes, logits.as_slice().expect("rows are contiguous"), &mut y);
    Array2::from_shape_vec((n, classes), y).expect("one row a sample")
}
