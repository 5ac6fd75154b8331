//! Options that several commands have, and that mean the same in each.

use std::path::PathBuf;

use anyhow::Result;
use byhand_datasets::Data;
use clap::Args;

use crate::{
    loading::Asked,
    recipes,
    settings::Settings,
    values::{data_option, folder_option, seed_option},
};

/// Which data, and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// mnist, fashion-mnist, kmnist, qmnist, emnist-letters (-digits, -balanced, -bymerge, -byclass), digits (drawn by the program), a
    /// folder of pictures or of the four IDX files, or a table (CSV)
    #[arg(long, value_name = "NAME|DIR", value_parser = data_option())]
    pub data: Option<Data>,
    /// Where the data's files are: a folder that holds them, or one that holds mnist/ and fashion-mnist/
    #[arg(long, value_name = "DIR", value_parser = folder_option())]
    pub data_dir: Option<PathBuf>,
}

impl DataArgs {
    /// The same for loading.
    pub fn asked(&self) -> Asked<'_> {
        Asked { data: self.data.as_ref(), data_dir: self.data_dir.as_deref() }
    }

    /// The same as settings of a run.
    pub fn settings(&self) -> Settings {
        Settings { data: self.data.clone(), data_dir: self.data_dir.clone(), ..Settings::default() }
    }
}

/// Settings of a file or of a recipe, over which the other options stand.
#[derive(Args, Clone, Debug)]
pub struct BaseArgs {
    /// Take the settings of a file: a run's config.toml, or one like those in recipes/; other options override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take the settings of a recipe that comes with the program; other options override them
    #[arg(long, value_name = "NAME", conflicts_with = "config", value_parser = recipes::names(|_| true, &[]))]
    recipe: Option<String>,
}

impl BaseArgs {
    /// The settings, where a file or a recipe is named.
    pub fn settings(&self) -> Result<Option<Settings>> {
        let file = self.config.as_deref().map(Settings::read);
        file.or_else(|| self.recipe.as_deref().map(recipes::settings)).transpose()
    }
}

/// How many threads.
#[derive(Args, Clone, Copy, Debug)]
pub struct ThreadsArg {
    /// Threads, 0 for all cores; results have the same bits for any number
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
}

impl ThreadsArg {
    /// The number that was asked for, 0 for all cores.
    pub fn asked(self) -> usize {
        self.threads.into()
    }
}

/// A seed with a default.
#[derive(Args, Clone, Copy, Debug)]
pub struct SeedArg {
    /// Seed of everything random: equal seeds give equal bits
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = seed_option())]
    pub seed: u64,
}
