//! `byhand predict`: what a trained model says about pictures in PNG files and images in IDX files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use byhand_models::Model;
use clap::Args;
use ndarray::{Array3, Axis, s};
use serde_json::json;

use crate::{
    exit::must_exist,
    loading::load_model,
    memory,
    output::Output,
    pictures::{self, Images, Manner, Wishes},
    values::at_least_one,
};

/// Options of `predict`.
#[derive(Args)]
#[command(
    after_help = "A PNG of any size, colours and transparency is prepared as MNIST's digits were: its ink, whatever \
    differs from the ground at its edge, becomes bright on dark, is scaled to 20 of 28 rows and columns, anti-aliased, and \
    centred by its mass. A PNG of exactly the model's size stays where it is if the model's training pictures are not so \
    framed, or if it is framed already: a digit of MNIST saved as PNG is answered as in its IDX file. A picture without a \
    drawing is refused, the others go on, and the exit code is 1.
An IDX file, gzipped or not, may hold many images. They are taken as the data set's.
Examples:
  byhand predict runs/cnn-mnist-seed0 seven.png
  byhand predict runs/cnn-mnist-seed0 --as-is digit-28x28.png
  byhand predict model.safetensors t10k-images-idx3-ubyte.gz --limit 20 --json"
)]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
    /// PNG or IDX image files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Pictures have the model's size and are neither scaled nor moved
    #[arg(long)]
    as_is: bool,
    /// The images are dark strokes on a bright ground; without it, that is found out (of PNG files)
    #[arg(long)]
    invert: bool,
    /// At most so many images
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one)]
    limit: std::num::NonZeroUsize,
}

/// How many classes are shown for each image.
const SHOWN: usize = 3;

/// Prints a line an image.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let model = load_model(&options.model)?;
    memory::check_evaluation(&model.network()?, 1, &options.model)?;
    let manner = Manner::of_model(&model)?;
    for file in &options.images {
        must_exist(file, "a PNG or IDX file of images")?;
    }
    let (mut count, mut failed) = (0, 0);
    for file in &options.images {
        let answer = images(file, &model, manner, options).and_then(|images| {
            model.predict_proba(images.view()).with_context(|| file.display().to_string())
        });
        let probabilities = match answer {
            Ok(probabilities) => probabilities,
            Err(error) if options.images.len() == 1 => return Err(error),
            Err(error) => {
                let message = format!("{error:#}");
                output.warn(format!("error: {message}"));
                output.event("failed", json!({"file": file.to_string_lossy(), "message": message}));
                failed += 1;
                continue;
            }
        };
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
                json!({"file": file.to_string_lossy(), "index": index, "class": ranked[0], "name": name(ranked[0]),
                    "probabilities": row.to_vec()}),
            );
            count += 1;
        }
    }
    output.result(json!({"images": count, "failed": failed, "weights_sha256": model.weights_sha256()}));
    ensure!(failed == 0, "{failed} of {} files gave no answer", options.images.len());
    Ok(())
}

/// The images of a file as those of a data set.
fn images(file: &Path, model: &Model, manner: Manner, options: &Options) -> Result<Array3<u8>> {
    match pictures::read(file)? {
        Images::Picture(picture) => {
            let wishes = Wishes { as_is: options.as_is, invert: options.invert };
            let prepared = pictures::size_for(model).and_then(|size| picture.prepare(size, manner, wishes));
            Ok(prepared.with_context(|| file.display().to_string())?.insert_axis(Axis(0)))
        }
        Images::Many(images) => {
            let n = images.len_of(Axis(0)).min(options.limit.get());
            let mut images = images.slice_move(s![..n, .., ..]);
            // As the data of the run were read.
            if model.notes.contains_key("transpose") {
                images.swap_axes(1, 2);
            }
            if options.invert {
                images.mapv_inplace(|p| 255 - p);
            }
            Ok(images)
        }
    }
}
