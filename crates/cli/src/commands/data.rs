//! `byhand data`: fetch a published data set, say what files are, show images as text.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use byhand_datasets::{
    Data, Dataset,
    catalogue::{FASHION_MNIST, KMNIST, MNIST, QMNIST},
    idx,
    pictures::{Picture, scaled},
    source::{self, path_text},
};
use byhand_files::{OS, replace};
use clap::{Args, Subcommand, ValueEnum};
use ndarray::Axis;
use serde_json::{Value, json};

use crate::{
    exit::{must_exist, usage},
    loading::{ReadingOptions, download_bar, load_data, show_download, sources},
    output::Output,
    pictures::{Drawing, Manner, Wishes},
    values::{data_option, folder_option},
};

/// What to do with data.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Download MNIST, Fashion-MNIST, KMNIST or QMNIST into the user's cache folder, verified by SHA-256
    Fetch {
        /// Which data set
        #[arg(value_enum, default_value = "mnist")]
        set: Published,
    },
    /// Say what files are: kind, size, hash, whose they are, labels, and why training on them would be refused
    Doctor {
        /// Files or folders; nothing examines where data is looked for (BYHAND_DATA, then the cache folder)
        path: Vec<PathBuf>,
        #[command(flatten)]
        reading: ReadingOptions,
    },
    /// Show images as text
    Preview(Preview),
    /// Write pictures, a table or other files of one's own as the four IDX files that training reads
    #[command(
        after_help = "A folder of pictures has a folder for each class, in one folder or in train/ and test/. A table has a line for each \
        picture: its label and its pixels, as Kaggle's MNIST. CIFAR-10's binary files are read, too. Where a picture has colours, all are \
        written in three channels, unless --grey is given.
Examples:
  byhand data import photos photos-28 --size 28x28
  byhand data import drawings drawings-28 --drawings
  byhand data import train.csv mnist-of-kaggle"
    )]
    Import(Import),
}

/// What becomes IDX files.
#[derive(Args)]
struct Import {
    /// A folder of pictures, of tables, of IDX files or of CIFAR-10's, or a table
    from: PathBuf,
    /// The folder to write
    out: PathBuf,
    /// Rows and columns that every picture is scaled to
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = size)]
    size: Option<(usize, usize)>,
    /// Pictures are drawings: each is prepared as MNIST's digits were, as `predict` does
    #[arg(long)]
    drawings: bool,
    #[command(flatten)]
    reading: ReadingOptions,
}

/// Rows and columns, as `28x28` or `28`.
fn size(text: &str) -> Result<(usize, usize), String> {
    let (h, w) = text.split_once('x').unwrap_or((text, text));
    match (h.parse(), w.parse()) {
        (Ok(h @ 1..=4096), Ok(w @ 1..=4096)) => Ok((h, w)),
        _ => Err("expected rows and columns from 1 to 4096, such as 28x28".into()),
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Published {
    Mnist,
    FashionMnist,
    Kmnist,
    Qmnist,
    All,
}

/// Which images to show.
#[derive(Args)]
struct Preview {
    /// mnist, fashion-mnist, another of the catalogue, digits, a folder or a table of your own
    #[arg(default_value = "mnist", value_parser = data_option())]
    data: Data,
    /// Where the data's files are: a folder that holds them, or one that holds mnist/ and fashion-mnist/
    #[arg(long, value_name = "DIR", value_parser = folder_option())]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    /// Show test images instead of training images
    #[arg(long)]
    test: bool,
    /// Leave out the first N images
    #[arg(long, alias = "from", value_name = "N", default_value_t = 0)]
    skip: usize,
    /// At most so many images
    #[arg(long, alias = "count", value_name = "N", default_value_t = 8)]
    limit: usize,
}

/// Runs the action.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    match &options.action {
        Action::Fetch { set } => fetch(*set, output),
        Action::Doctor { path, reading } => doctor(path, *reading, output),
        Action::Preview(options) => preview(options, output),
        Action::Import(options) => import(options, output),
    }
}

fn fetch(set: Published, output: &Output) -> Result<()> {
    let sets = match set {
        Published::Mnist => vec![&MNIST],
        Published::FashionMnist => vec![&FASHION_MNIST],
        Published::Kmnist => vec![&KMNIST],
        Published::Qmnist => vec![&QMNIST],
        Published::All => vec![&MNIST, &FASHION_MNIST, &KMNIST, &QMNIST],
    };
    let mut folders = Vec::new();
    for set in sets {
        let data = set.id;
        let bar = download_bar(output);
        let folder = source::fetch(set, &sources(None), &mut |progress| show_download(&bar, &progress));
        bar.finish_and_clear();
        let folder = folder.with_context(|| {
            format!("cannot fetch {data} (files that you have are named with --data-dir DIR or BYHAND_DATA, and need no fetching)")
        })?;
        output.print(format!("{data}: {}", folder.display()));
        folders.push(json!({"data": data.to_string(), "folder": path_text(&folder)}));
    }
    output.result(json!({"sets": folders}));
    Ok(())
}

fn doctor(paths: &[PathBuf], reading: ReadingOptions, output: &Output) -> Result<()> {
    let places = if paths.is_empty() {
        let sources = sources(None);
        [sources.env_dir, sources.cache_dir].into_iter().flatten().filter(|folder| folder.exists()).collect()
    } else {
        paths.to_vec()
    };
    if places.is_empty() {
        return Err(usage(
            "nothing to examine: BYHAND_DATA is not set and the cache is empty; name a file or a folder",
        ));
    }
    for place in &places {
        must_exist(place, "a file or a folder")?;
    }
    let mut problems = 0;
    for place in &places {
        let report = source::doctor(place, reading.reading())?;
        output.print(&report);
        let files: Vec<Value> = report
            .files
            .iter()
            .map(|file| match &file.content {
                Ok(content) => {
                    json!({"path": path_text(&file.path), "bytes": file.bytes, "kind": content.kind(),
                    "dims": content.dims, "sha256": content.sha256, "published": content.published})
                }
                Err(problem) => {
                    json!({"path": path_text(&file.path), "bytes": file.bytes, "problem": problem})
                }
            })
            .collect();
        problems += report.problems.len();
        output.event(
            "place",
            json!({"path": path_text(place), "files": files, "notes": report.notes, "problems": report.problems}),
        );
    }
    output.result(json!({"places": places.len(), "problems": problems}));
    if problems > 0 {
        bail!("problems found: {problems}");
    }
    Ok(())
}

fn import(options: &Import, output: &Output) -> Result<()> {
    let out = options.out.display();
    must_exist(&options.from, "a folder of pictures, of tables or of IDX files, or a table")?;
    let data = Data::from_os(options.from.as_os_str()).map_err(usage)?;
    let Data::Folder(from) = &data else {
        return Err(usage(format!("{data}: expected a folder or a table of your own; name it ./{data}")));
    };
    if options.out.exists() && fs::read_dir(&options.out).map_or(true, |mut entries| entries.next().is_some())
    {
        return Err(usage(format!("{out}: expected a new or an empty folder, found something there")));
    }
    let reading = options.reading.reading();
    let size = options.size;
    let mut prepare = |picture: &Picture| match (options.drawings, size) {
        (true, size) => {
            let size = size.unwrap_or(DRAWING);
            Drawing(picture)
                .prepare(size, Manner::MNIST, Wishes::default())
                .map(|grey| grey.insert_axis(Axis(0)))
                .map_err(|error| format!("{error:#}"))
        }
        (false, None) => Ok(reading.planes(picture)),
        (false, Some(size)) => Ok(scaled(&reading.planes(picture), size)),
    };
    let pictures = match from.is_dir() && !source::has_files(from)? {
        true => source::load_pictures(from, idx::DEFAULT_LIMIT, reading, &mut prepare)?,
        false => None,
    };
    let loaded = match pictures {
        Some(loaded) => {
            loaded.notices.iter().for_each(|notice| output.warn(notice));
            loaded
        }
        None if options.drawings || size.is_some() => {
            return Err(usage(format!(
                "{}: --size and --drawings are for a folder of pictures, found none in it",
                from.display()
            )));
        }
        None => load_data(&data, None, reading, (None, None), output)?,
    };
    let cannot_write = || format!("cannot write {out}");
    fs::create_dir_all(&options.out).with_context(cannot_write)?;
    let mut bytes = Vec::new();
    for (part, data) in [("train", &loaded.train), ("t10k", &loaded.test)] {
        bytes.clear();
        idx::write_images(&mut bytes, data.images())?;
        let rank = if data.channels() == 1 { 3 } else { 4 };
        replace(&OS, &options.out.join(format!("{part}-images-idx{rank}-ubyte")), &bytes)
            .with_context(cannot_write)?;
        bytes.clear();
        idx::write_labels(&mut bytes, data.labels())?;
        replace(&OS, &options.out.join(format!("{part}-labels-idx1-ubyte")), &bytes)
            .with_context(cannot_write)?;
    }
    let names = loaded.train.class_names().join("\n") + "\n";
    replace(&OS, &options.out.join("classes.txt"), names.as_bytes()).with_context(cannot_write)?;
    let (channels, (h, w)) = (loaded.train.channels(), loaded.train.image_size());
    let classes = loaded.train.classes();
    output.print(format!(
        "{out}: {} pictures for training and {} for testing, {h}x{w}{}, of {classes} classes",
        loaded.train.len(),
        loaded.test.len(),
        if channels == 1 { "" } else { " in colour" }
    ));
    output.result(json!({"out": path_text(&options.out), "train": loaded.train.len(), "test": loaded.test.len(), "channels": channels, "rows": h, "columns": w,
        "classes": loaded.train.class_names(), "data_sha256": loaded.source.sha256}));
    Ok(())
}

/// The size of MNIST's drawings.
const DRAWING: (usize, usize) = (28, 28);

fn preview(options: &Preview, output: &Output) -> Result<()> {
    let needed = Some(options.skip.saturating_add(options.limit));
    let loaded = load_data(
        &options.data,
        options.data_dir.as_deref(),
        options.reading.reading(),
        (needed, needed),
        output,
    )?;
    // Text has levels, and no colours.
    let dataset = if options.test { loaded.test } else { loaded.train }.grey()?;
    if options.skip >= dataset.len() {
        return Err(usage(format!(
            "--skip {}: expected less than the {} images",
            options.skip,
            dataset.len()
        )));
    }
    let end = options.skip.saturating_add(options.limit).min(dataset.len());
    let indices: Vec<usize> = (options.skip..end).collect();
    for row in indices.chunks(4) {
        output.print(titles(&dataset, row));
        for line in drawing(&dataset, row) {
            output.print(line);
        }
    }
    for index in indices {
        output.event("image", json!({"index": index, "label": dataset.labels()[index]}));
    }
    output.result(
        json!({"images": dataset.len(), "classes": dataset.classes(), "per_class": dataset.class_counts()}),
    );
    Ok(())
}

fn titles(dataset: &Dataset, row: &[usize]) -> String {
    let (_, width) = dataset.image_size();
    let title =
        |&index: &usize| format!("{index}: {}", dataset.class_names()[usize::from(dataset.labels()[index])]);
    row.iter().map(|index| format!("{:<width$}  ", title(index))).collect()
}

/// Two rows of pixels a line, because a character is twice as high as wide.
fn drawing(dataset: &Dataset, row: &[usize]) -> Vec<String> {
    const INK: &[u8] = b" .:-=+*#%@";
    let (height, width) = dataset.image_size();
    let ink = |index: usize, y: usize, x: usize| {
        let image = dataset.image(index);
        let pixels = [image[[0, y, x]], image[[0, (y + 1).min(height - 1), x]]];
        let mean = pixels.iter().map(|&p| usize::from(p)).sum::<usize>() / 2;
        char::from(INK[mean * INK.len() / 256])
    };
    let line = |y: usize, index: usize| (0..width).map(|x| ink(index, y, x)).collect::<String>() + "  ";
    (0..height).step_by(2).map(|y| row.iter().map(|&index| line(y, index)).collect()).collect()
}
