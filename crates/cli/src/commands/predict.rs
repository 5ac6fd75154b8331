//! `byhand predict`: what a trained model says about pictures and images in IDX files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use byhand_files::{OS, replace};
use byhand_layers::loss::softmax;
use byhand_models::{Model, Normalize, Preprocessing};
use byhand_report::picture;
use clap::Args;
use ndarray::{Array1, Array3, Array4, ArrayView3, Axis, s};
use serde_json::json;

use crate::{
    exit::must_exist,
    loading::load_model,
    memory,
    output::Output,
    pictures::{self, Drawing, Images, Manner, Wishes},
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
A model of pictures in colour is shown the middle of a picture, scaled to the model's size.
An IDX file, gzipped or not, may hold many images. They are taken as the data set's. Of a folder its pictures are taken, and those of the \
    folders in it; - is a file on standard input.
Examples:
  byhand predict runs/cnn-mnist-seed0 seven.png
  byhand predict runs/cnn-mnist-seed0 --as-is digit-28x28.png
  byhand predict runs/cnn-mnist-seed0 drawings --top 5 --show seen
  curl https://example.org/seven.png | byhand predict runs/cnn-mnist-seed0 -
  byhand predict model.safetensors t10k-images-idx3-ubyte.gz --limit 20 --json"
)]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
    /// Pictures (PNG), folders of them, IDX files of images, - for standard input
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
    /// The K likeliest classes of each image, with bars
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    top: Option<std::num::NonZeroUsize>,
    /// Write what the network saw into DIR: sheet.png, ten images a row, in the order of the answers
    #[arg(long, value_name = "DIR")]
    show: Option<PathBuf>,
}

/// How many classes are shown for each image, unless somebody asks.
const SHOWN: usize = 3;

/// Prints a line an image, or some with bars.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let model = load_model(&options.model)?;
    let network = model.network()?;
    memory::check_evaluation(&network, 1, &options.model)?;
    let manner = Manner::of_model(&model)?;
    let mut files = Vec::new();
    for place in &options.images {
        files.extend(files_of(place)?);
    }
    let (mut count, mut failed, mut sheet) = (0, 0, Sheet::default());
    for file in &files {
        let answer = images(file, &model, manner, options).and_then(|images| {
            let x = model.inputs(images.view()).with_context(|| file.display().to_string())?;
            if options.show.is_some() {
                sheet.add(&model, &images).with_context(|| file.display().to_string())?;
            }
            Ok(network.predict(&model.theta, x.view()))
        });
        let logits = match answer {
            Ok(logits) => logits,
            Err(error) if files.len() == 1 => return Err(error),
            Err(error) => {
                let message = format!("{error:#}");
                output.warn(format!("error: {message}"));
                output.event("failed", json!({"file": file.to_string_lossy(), "message": message}));
                failed += 1;
                continue;
            }
        };
        let probabilities = softmax(logits.view());
        for (index, (row, logits)) in probabilities.rows().into_iter().zip(logits.rows()).enumerate() {
            let mut ranked: Vec<usize> = (0..row.len()).collect();
            ranked.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let name = |class: usize| model.class_names[class].as_str();
            let title = match probabilities.nrows() {
                1 => file.display().to_string(),
                _ => format!("{}[{index}]", file.display()),
            };
            match options.top {
                None => {
                    let shown = ranked.iter().take(SHOWN);
                    let shown: Vec<String> =
                        shown.map(|&class| format!("{} {:.1} %", name(class), 100.0 * row[class])).collect();
                    output.print(format!("{title}: {}", shown.join(", ")));
                }
                Some(top) => {
                    let shown = &ranked[..top.get().min(ranked.len())];
                    let width = shown.iter().map(|&class| name(class).chars().count()).max().unwrap_or(0);
                    output.print(title);
                    for &class in shown {
                        let percent = 100.0 * row[class];
                        output.print(format!("  {:width$} {percent:5.1} % {}", name(class), bar(row[class])));
                    }
                }
            }
            output.event(
                "prediction",
                json!({"file": file.to_string_lossy(), "index": index, "class": ranked[0], "name": name(ranked[0]),
                    "probabilities": row.to_vec(), "logits": logits.to_vec()}),
            );
            count += 1;
        }
    }
    let mut result = json!({"images": count, "failed": failed, "weights_sha256": model.weights_sha256()});
    if let Some(folder) = options.show.as_ref().filter(|_| count > 0) {
        let path = sheet.write(folder)?;
        output.note(format!("what the network saw: {}", path.display()));
        result["sheet"] = json!(path.to_string_lossy());
    }
    output.result(result);
    ensure!(failed == 0, "{failed} of {} files gave no answer", files.len());
    Ok(())
}

/// A file, or the pictures of a folder and of the folders in it, in the order of their names.
fn files_of(place: &Path) -> Result<Vec<PathBuf>> {
    if place.as_os_str() == pictures::STDIN {
        return Ok(vec![place.into()]);
    }
    must_exist(place, "a PNG or IDX file of images")?;
    if !place.is_dir() {
        return Ok(vec![place.into()]);
    }
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let cannot_read = || format!("cannot read {}", folder.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).with_context(cannot_read)? {
            paths.push(entry.with_context(cannot_read)?.path());
        }
        paths.sort();
        Ok(paths)
    };
    let is_hidden =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    // A pipe among them may have nobody who writes into it.
    let is_other = |path: &Path| fs::metadata(path).is_ok_and(|found| !found.is_file());
    let is_picture =
        |path: &Path| byhand_datasets::pictures::is_named(path) && !is_hidden(path) && !is_other(path);
    let mut files = Vec::new();
    for path in list(place)? {
        if path.is_dir() && !is_hidden(&path) {
            files.extend(list(&path)?.into_iter().filter(|path| is_picture(path)));
        } else if is_picture(&path) {
            files.push(path);
        }
    }
    ensure!(
        !files.is_empty(),
        "{}: expected a PNG or IDX file of images, found a folder without pictures",
        place.display()
    );
    Ok(files)
}

/// A share as a bar of at most twenty characters, in eighths of one.
fn bar(share: f32) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share * 160.0).round().clamp(0.0, 160.0) as usize;
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

/// What the network saw, image after image.
#[derive(Default)]
struct Sheet {
    /// Channels, rows and columns.
    size: (usize, usize, usize),
    images: Vec<Array1<u8>>,
}

/// Images of a row, and pixels between two.
const PER_ROW: usize = 10;
const GAP: usize = 2;
/// Pixels of a sheet at most.
const MOST_PIXELS: usize = 1 << 25;

impl Sheet {
    /// Adds images, halved and cropped as the network sees them, but not normalised.
    fn add(&mut self, model: &Model, images: &Array4<u8>) -> Result<()> {
        let raw = Normalize { scale: 1.0, shift: 0.0 };
        let seen = Preprocessing { normalize: raw, ..model.preprocessing };
        let (_, channels, h, w) = images.dim();
        let crop = seen.crop_of((h, w));
        let size = (channels, crop.h, crop.w);
        ensure!(
            self.images.is_empty() || self.size == size,
            "--show: expected images of one size, found {}x{} and {}x{}",
            self.size.1,
            self.size.2,
            size.1,
            size.2
        );
        self.size = size;
        self.images
            .extend(seen.apply(images.view()).rows().into_iter().map(|row| row.mapv(|level| level as u8)));
        let pixels = self.images.len().next_multiple_of(PER_ROW) * (crop.h + GAP) * (crop.w + GAP);
        ensure!(
            pixels <= MOST_PIXELS,
            "--show: expected images that fit on a sheet of {MOST_PIXELS} pixels; give --limit"
        );
        Ok(())
    }

    /// Writes `sheet.png` into a folder.
    fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("sheet.png");
        let cannot_write = || format!("cannot write {}", path.display());
        let (h, w) = (self.size.1 + GAP, self.size.2 + GAP);
        let columns = self.images.len().min(PER_ROW);
        let (height, width) = (self.images.len().div_ceil(PER_ROW) * h - GAP, columns * w - GAP);
        let mut pixels = Array3::from_elem((self.size.0, height, width), 128u8);
        for (index, image) in self.images.iter().enumerate() {
            let (y, x) = (index / PER_ROW * h, index % PER_ROW * w);
            let image =
                ArrayView3::from_shape(self.size, image.as_slice().expect("a row")).expect("as many pixels");
            pixels.slice_mut(s![.., y..y + self.size.1, x..x + self.size.2]).assign(&image);
        }
        fs::create_dir_all(folder).with_context(cannot_write)?;
        replace(&OS, &path, &picture::file(pixels.view())).with_context(cannot_write)?;
        Ok(path)
    }
}

/// The images of a file as those of a data set.
fn images(file: &Path, model: &Model, manner: Manner, options: &Options) -> Result<Array4<u8>> {
    match pictures::read(file)? {
        Images::Picture(picture) => {
            let wishes = Wishes { as_is: options.as_is, invert: options.invert };
            let prepared = pictures::size_for(model).and_then(|size| match model.channels() {
                1 => Ok(Drawing(&picture).prepare(size, manner, wishes)?.insert_axis(Axis(0))),
                _ => pictures::photograph(&picture, size, wishes),
            });
            Ok(prepared.with_context(|| file.display().to_string())?.insert_axis(Axis(0)))
        }
        Images::Many(images) => {
            let n = images.len_of(Axis(0)).min(options.limit.get());
            let mut images = images.slice_move(s![..n, .., .., ..]);
            // As the data of the run were read.
            if model.notes.contains_key("transpose") {
                images.swap_axes(2, 3);
            }
            if options.invert {
                images.mapv_inplace(|p| 255 - p);
            }
            Ok(images)
        }
    }
}
