//! `byhand data`: fetch a published data set, say what files are, show images as text.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use byhand_datasets::{
    Data, Dataset,
    catalogue::{FASHION_MNIST, MNIST},
    source::{self, path_text},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    exit::{must_exist, usage},
    loading::{ReadingOptions, download_bar, load_data, show_download, sources},
    output::Output,
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
    /// Download MNIST or Fashion-MNIST into the user's cache folder, verified by SHA-256
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
}

#[derive(Clone, Copy, ValueEnum)]
enum Published {
    Mnist,
    FashionMnist,
    All,
}

/// Which images to show.
#[derive(Args)]
struct Preview {
    /// mnist, fashion-mnist, digits, or a folder that holds the four files
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
    }
}

fn fetch(set: Published, output: &Output) -> Result<()> {
    let sets = match set {
        Published::Mnist => vec![(Data::Mnist, &MNIST)],
        Published::FashionMnist => vec![(Data::FashionMnist, &FASHION_MNIST)],
        Published::All => vec![(Data::Mnist, &MNIST), (Data::FashionMnist, &FASHION_MNIST)],
    };
    let mut folders = Vec::new();
    for (data, set) in sets {
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

fn preview(options: &Preview, output: &Output) -> Result<()> {
    let needed = Some(options.skip.saturating_add(options.limit));
    let loaded = load_data(
        &options.data,
        options.data_dir.as_deref(),
        options.reading.reading(),
        (needed, needed),
        output,
    )?;
    let dataset = if options.test { loaded.test } else { loaded.train };
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
        let pixels = [image[[y, x]], image[[(y + 1).min(height - 1), x]]];
        let mean = pixels.iter().map(|&p| usize::from(p)).sum::<usize>() / 2;
        char::from(INK[mean * INK.len() / 256])
    };
    let line = |y: usize, index: usize| (0..width).map(|x| ink(index, y, x)).collect::<String>() + "  ";
    (0..height).step_by(2).map(|y| row.iter().map(|&index| line(y, index)).collect()).collect()
}
