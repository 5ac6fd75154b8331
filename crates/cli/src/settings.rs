//! What a run is: the options of the training commands, and the same names in `config.toml`.
//!
//! [`Settings`] is what somebody asked for, on the command line or in a file, all of it optional. [`Recipe`] is what
//! is done: everything settled, and written into the run folder so that `train --config` repeats it bit for bit.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    num::NonZeroUsize,
    path::{self, Path, PathBuf},
};

use anyhow::Result;
use byhand_datasets::{Augment, Data, Dataset, Normalize, Preprocessing};
use byhand_files::{Disk, OS};
use byhand_layers::init::Init;
use byhand_models::{MODELS, NamedModel, Spec, find, registry::default_of};
use byhand_trainer::{Checkpoint, Objective, Optimizer, Schedule, StepConfig};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::{
    as_text::{data, folder, text},
    class_weights::ClassWeights,
    exit::usage,
    loading::Split,
    program::in_words,
    values::{at_least_one, at_least_zero, data_option, folder_option, seed_option},
};

/// What somebody asked for.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// A named model; `byhand summary` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "layers", help_heading = "Network")]
    pub preset: Option<String>,
    /// A network of your own, e.g. "conv(8,5) relu pool(2) dense(10)"
    #[arg(long, value_name = "SPEC", help_heading = "Network")]
    #[serde(default, with = "text")]
    pub layers: Option<Spec>,
    /// mnist, fashion-mnist, kmnist, qmnist, emnist-letters (-digits, -balanced, -bymerge, -byclass), digits (drawn by the program), a
    /// folder of pictures or of the four IDX files, or a table (CSV)
    #[arg(long, value_name = "NAME|DIR", value_parser = data_option(), help_heading = "Data")]
    #[serde(default, with = "data")]
    pub data: Option<Data>,
    /// Where the data's files are: a folder that holds them, or one that holds mnist/ and fashion-mnist/
    #[arg(long, value_name = "DIR", value_parser = folder_option(), help_heading = "Data")]
    #[serde(default, with = "folder")]
    pub data_dir: Option<PathBuf>,
    /// The label of the first class, where labels do not count from 0 (1 for EMNIST's letters)
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub first_label: Option<u16>,
    /// Exchange rows and columns of the images, which EMNIST's files store so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    pub transpose: Option<bool>,
    /// Take pictures in colour as grey levels
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    pub grey: Option<bool>,
    /// Train on N images only; each class keeps its share
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    pub train_limit: Option<NonZeroUsize>,
    /// Evaluate on N test images only; each class keeps its share
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    pub test_limit: Option<NonZeroUsize>,
    /// Keep N of the training images (after --train-limit) for validation after each epoch
    #[arg(long, value_name = "N", value_parser = at_least_zero, help_heading = "Data")]
    pub validation: Option<usize>,
    /// How --train-limit, --test-limit and --validation choose images
    #[arg(long, value_enum, help_heading = "Data")]
    pub split: Option<Split>,
    /// Seed of a stratified choice: runs with other --seed keep the same images
    #[arg(long, value_name = "N", value_parser = seed_option(), help_heading = "Data")]
    pub split_seed: Option<u64>,
    /// Keep only these classes, e.g. 0,1,2,3,4
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Data")]
    pub classes: Option<Vec<u16>>,
    /// Halve the images' height and width (28x28 to 14x14)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    pub halve: Option<bool>,
    /// See only the middle N rows and columns of each image (after --halve)
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    pub crop: Option<NonZeroUsize>,
    /// How bytes become numbers
    #[arg(long, value_enum, help_heading = "Data")]
    pub normalize: Option<Normalization>,
    /// Shift each training image at random by up to this many pixels
    #[arg(long, value_name = "PIXELS", help_heading = "Augmentation")]
    pub shift: Option<u8>,
    /// Rotate each training image at random by up to this many degrees, both ways
    #[arg(long, value_name = "DEGREES", help_heading = "Augmentation")]
    pub rotate: Option<f64>,
    /// Scale each training image at random: 0.1 is by 0.9 to 1.1
    #[arg(long, value_name = "SHARE", help_heading = "Augmentation")]
    pub scale: Option<f64>,
    /// Shear each training image at random by up to so many columns a row, both ways
    #[arg(long, value_name = "SHARE", help_heading = "Augmentation")]
    pub shear: Option<f64>,
    /// Distort each training image smoothly: knots of a coarse grid move by up to this many pixels
    #[arg(long, value_name = "PIXELS", help_heading = "Augmentation")]
    pub elastic: Option<f64>,
    /// Mirror every other training image, left to right
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Augmentation")]
    pub flip: Option<bool>,
    /// Black out a rectangle of each training image, at a random place, of up to this many rows and columns (random erasing, cutout)
    #[arg(long, value_name = "PIXELS", help_heading = "Augmentation")]
    pub erase: Option<u8>,
    /// Train on mixtures of two images and of their labels, the shares drawn from Beta(A, A), A up to 1 (mixup)
    #[arg(long, value_name = "A", help_heading = "Augmentation")]
    pub mixup: Option<f64>,
    /// How weights are drawn: he-normal, glorot-uniform, lecun-normal, uniform(0.05), ...
    #[arg(long, help_heading = "Network")]
    #[serde(default, with = "text")]
    pub init: Option<Init>,
    /// Passes over the training images
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    pub epochs: Option<NonZeroUsize>,
    /// Images in a step
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    pub batch_size: Option<NonZeroUsize>,
    /// sgd, sgd(momentum=0.9,nesterov,weight_decay=1e-4), adam, adam(beta1=0.9,beta2=0.99), adamw(weight_decay=0.01)
    #[arg(long, help_heading = "Training")]
    #[serde(default, with = "text")]
    pub optimizer: Option<Optimizer>,
    /// Learning rate: the schedule's peak
    #[arg(long, help_heading = "Training")]
    pub lr: Option<f64>,
    /// constant, step(parts=3,factor=0.1), cosine, linear, one-cycle(rise=0.3); plateau(patience=3,factor=0.1) after epochs without a
    /// better one, with --validation. Each may have warmup=STEPS
    #[arg(long, help_heading = "Training")]
    #[serde(default, with = "text")]
    pub schedule: Option<Schedule>,
    /// softmax-cross-entropy, softmax-cross-entropy(label_smoothing=0.1), negative-log-likelihood (behind log_softmax), squared-error
    #[arg(long, help_heading = "Training")]
    #[serde(default, with = "text")]
    pub loss: Option<Objective>,
    /// What samples count in the training loss, by their class: balanced (rare classes count more), or a number for each, e.g. 1,1,2.5;
    /// images of a class with 0 are ignored
    #[arg(long, value_name = "balanced|LIST", help_heading = "Training")]
    #[serde(default, with = "text")]
    pub class_weights: Option<ClassWeights>,
    /// Decoupled weight decay: each step takes this times the learning rate of every weight away; biases and normalisations are spared
    /// (the weight_decay in --optimizer is PyTorch's, of all parameters)
    #[arg(long, value_name = "DECAY", help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// Shorten a gradient whose norm, over all parameters, is above this
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    pub clip: Option<f64>,
    /// Keep a moving average of the weights, such as 0.999, and evaluate and save that
    #[arg(long, value_name = "DECAY", help_heading = "Training")]
    pub ema: Option<f64>,
    /// Stop after N epochs in a row that were no better on the validation images than the best (early stopping); needs --validation
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    pub patience: Option<NonZeroUsize>,
    /// Save as the model the weights that were best on the validation images, whatever ended the run; needs --validation
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    pub restore_best: Option<bool>,
    /// Seed of everything random: equal seeds give equal bits
    #[arg(long, value_name = "N", value_parser = seed_option(), help_heading = "Training")]
    pub seed: Option<u64>,
    /// Start from the weights of a run, a model file, or a file of weights alone (then with --layers): a new run. A run brings its
    /// settings along, a model file its layers; other options override them
    #[arg(long, value_name = "RUN|FILE", conflicts_with = "init", help_heading = "Network")]
    #[serde(default, with = "folder")]
    pub from: Option<PathBuf>,
    /// Of the weights in `from`.
    #[arg(skip)]
    pub from_sha256: Option<String>,
    /// Of the data that were read.
    #[arg(skip)]
    pub data_sha256: Option<String>,
    /// What the same file says to `byhand notebooks`. Training reads past it.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub notebook: Option<Table>,
    /// What it says to `byhand speedrun`.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub speedrun: Option<Table>,
    /// What it says to `byhand records`.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub record: Option<Table>,
}

/// A configuration that is longer is none.
const LONGEST: u64 = 1 << 20;

/// The text of a configuration.
pub fn read_text(path: &Path) -> Result<String> {
    let text = OS.read(path, LONGEST).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::other(format!("found no text ({error})")))
    });
    text.map_err(|error| {
        usage(format!(
            "{}: {error}; expected a configuration, such as the config.toml of a run",
            path.display()
        ))
    })
}

/// How bytes become numbers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// To [0, 1]
    Unit,
    /// To [-0.5, 0.5]
    Centered,
    /// To mean 0 and deviation 1 on the training set
    Standard,
    /// As they are, to [0, 255]
    Raw,
}

impl Normalization {
    /// The map of a pixel; `train` are the images that `standard` measures.
    pub fn of(self, train: &Dataset) -> Normalize {
        match self {
            Self::Unit => Normalize::unit(),
            Self::Centered => Normalize::centered(),
            Self::Standard => Normalize::fit(train),
            Self::Raw => Normalize { scale: 1.0, shift: 0.0 },
        }
    }

    /// The one that does this; nothing for `standard`, whose map depends on the images.
    pub fn named(map: Normalize) -> Option<Self> {
        match () {
            () if map == Normalize::unit() => Some(Self::Unit),
            () if map == Normalize::centered() => Some(Self::Centered),
            () if map == Normalize { scale: 1.0, shift: 0.0 } => Some(Self::Raw),
            () => None,
        }
    }
}

/// Everything settled.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// The model's name, when it has one.
    pub preset: Option<String>,
    #[serde(with = "text::required")]
    pub layers: Spec,
    #[serde(with = "data::required")]
    pub data: Data,
    #[serde(default, with = "folder")]
    pub data_dir: Option<PathBuf>,
    pub first_label: Option<u16>,
    pub transpose: bool,
    /// What older versions did not know.
    #[serde(default)]
    pub grey: bool,
    pub train_limit: Option<NonZeroUsize>,
    pub test_limit: Option<NonZeroUsize>,
    pub validation: usize,
    pub split: Split,
    pub split_seed: u64,
    pub classes: Option<Vec<u16>>,
    pub halve: bool,
    pub crop: Option<NonZeroUsize>,
    pub normalize: Normalization,
    pub shift: u8,
    // What came later has its default in the configuration of an earlier version.
    #[serde(default)]
    pub rotate: f64,
    #[serde(default)]
    pub scale: f64,
    #[serde(default)]
    pub shear: f64,
    #[serde(default)]
    pub elastic: f64,
    #[serde(default)]
    pub flip: bool,
    #[serde(default)]
    pub erase: u8,
    #[serde(default)]
    pub mixup: f64,
    #[serde(with = "text::required")]
    pub init: Init,
    pub epochs: NonZeroUsize,
    pub batch_size: NonZeroUsize,
    #[serde(with = "text::required")]
    pub optimizer: Optimizer,
    pub lr: f64,
    #[serde(with = "text::required")]
    pub schedule: Schedule,
    #[serde(with = "text::required")]
    pub loss: Objective,
    #[serde(default, with = "text")]
    pub class_weights: Option<ClassWeights>,
    #[serde(default)]
    pub weight_decay: f64,
    pub clip: Option<f64>,
    pub ema: Option<f64>,
    pub patience: Option<NonZeroUsize>,
    #[serde(default)]
    pub restore_best: bool,
    pub seed: u64,
    /// Whose weights the run begins with, where `init` is not asked.
    #[serde(default, with = "folder")]
    pub from: Option<PathBuf>,
    pub from_sha256: Option<String>,
    pub data_sha256: Option<String>,
}

impl Settings {
    /// Reads a configuration: the `config.toml` of a run, a recipe, a notebook.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    /// The same from its text; `name` is that of the file.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let shown = text.lines().nth(line - 1).unwrap_or_default().trim().chars();
            let shown: String = shown.filter(|char| !char.is_control()).take(60).collect();
            usage(format!("{name}, line {line} (`{shown}`): {}", in_words(error.message())))
        })
    }

    /// The name of a setting, as its option has it.
    pub fn name(text: &str) -> Result<String, String> {
        let options = Self::augment_args(clap::Command::new(""));
        let names: Vec<&str> = options.get_arguments().filter_map(clap::Arg::get_long).collect();
        if names.contains(&text) {
            Ok(text.to_string())
        } else {
            Err(format!("expected one of {}", names.join(", ")))
        }
    }

    /// These settings without those of these names.
    pub fn without(self, names: &[String]) -> Result<Self> {
        let mut table = Table::try_from(self)?;
        table.retain(|key, _| !names.iter().any(|name| name == key));
        Ok(table.try_into()?)
    }

    /// The same with paths that hold in every working folder.
    pub fn absolute(mut self) -> Result<Self> {
        let folder = match &mut self.data {
            Some(Data::Folder(folder)) => Some(folder),
            _ => None,
        };
        for path in [folder, self.data_dir.as_mut(), self.from.as_mut()].into_iter().flatten() {
            *path = path::absolute(&*path)?;
        }
        Ok(self)
    }

    /// These settings, and where they are silent, those of `base`. Some go together, and of these none is kept beside one that
    /// is asked for: a model's name and its layers, data and its folder, weights and their digest.
    pub fn over(self, mut base: Self) -> Result<Self> {
        if self.preset.is_some() || self.layers.is_some() {
            (base.preset, base.layers) = (None, None);
        }
        if self.data.is_some() {
            (base.data_dir, base.data_sha256) = (None, None);
        }
        if self.from.is_some() {
            base.from_sha256 = None;
        }
        let mut table = Table::try_from(base)?;
        table.extend(Table::try_from(self)?);
        Ok(table.try_into()?)
    }

    /// Settles everything: what is not asked for comes from the model, or from the default of the command.
    pub fn settle(self, command: &str) -> Result<Recipe> {
        let model = match (&self.preset, &self.layers) {
            (Some(name), _) => match find(name) {
                Ok(model) => Some(model),
                // A configuration that brings its layers may call its model anything.
                Err(_) if self.layers.is_some() => None,
                Err(unknown) => return Err(usage(unknown)),
            },
            (None, Some(_)) => None,
            (None, None) => Some(default_of(command).ok_or_else(|| {
                let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
                usage(format!(
                    "nothing to train: expected --layers SPEC, --preset NAME or --config FILE (named models: {})",
                    names.join(", ")
                ))
            })?),
        };
        let mut table = Table::try_from(defaults(model, &self))?;
        table.extend(Table::try_from(self)?);
        let recipe: Recipe = table.try_into()?;
        recipe.validate()?;
        Ok(recipe)
    }
}

impl Recipe {
    /// Reads the `config.toml` of a run, if there is one that this version wrote.
    pub fn read(path: &Path) -> Option<Self> {
        toml::from_str(&read_text(path).ok()?).ok()
    }

    /// What the run is called: the model's name, or `custom`.
    pub fn name(&self) -> &str {
        self.preset.as_deref().unwrap_or("custom")
    }

    /// Whether a run came to its end at a checkpoint: all epochs are done, or the patience is at its end.
    pub fn is_over(&self, at: &Checkpoint) -> bool {
        let since = at.epoch().saturating_sub(at.best().map_or(at.epoch(), |best| best.epoch));
        at.epoch() >= self.epochs.get() as u64
            || self.patience.is_some_and(|patience| since >= patience.get() as u64)
    }

    /// The random changes of training images.
    pub fn augment(&self) -> Augment {
        Augment {
            shift: self.shift,
            rotate: self.rotate.to_radians() as f32,
            scale: self.scale as f32,
            shear: self.shear as f32,
            elastic: self.elastic as f32,
            flip: self.flip,
            erase: self.erase,
            mixup: self.mixup as f32,
        }
    }

    /// The settings of a step of training.
    pub fn step_config(&self, seed: u64, threads: usize) -> StepConfig {
        StepConfig {
            optimizer: self.optimizer,
            objective: self.loss,
            batch_size: self.batch_size.get(),
            threads,
            seed,
            weight_decay: self.weight_decay,
            clip: self.clip,
            ema: self.ema,
        }
    }

    /// What of it says which images are taken, and from where.
    #[cfg(feature = "proofs")]
    pub fn choice_of_data(&self) -> Settings {
        let Self { data, data_dir, first_label, transpose, grey, train_limit, test_limit, .. } = self.clone();
        let Self { validation, split, split_seed, classes, halve, .. } = self.clone();
        Settings {
            data: Some(data),
            data_dir,
            first_label,
            transpose: Some(transpose),
            grey: Some(grey),
            train_limit,
            test_limit,
            validation: Some(validation),
            split: Some(split),
            split_seed: Some(split_seed),
            classes,
            halve: Some(halve),
            ..Settings::default()
        }
    }

    /// Names and values, as a command line has them.
    pub fn shown(&self) -> Result<BTreeMap<String, String>> {
        let shown = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let shown = |value: &toml::Value| match value {
            toml::Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(","),
            value => shown(value),
        };
        Ok(Table::try_from(self)?.iter().map(|(key, value)| (key.clone(), shown(value))).collect())
    }

    /// The settings in which this recipe differs from another: name, value here, value there.
    pub fn differences(&self, other: &Self) -> Result<Vec<[String; 3]>> {
        let (here, there) = (self.shown()?, other.shown()?);
        let keys: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let shown = |value: Option<&String>| value.map_or("none".to_string(), String::clone);
        let differ = keys.into_iter().filter(|key| here.get(*key) != there.get(*key));
        Ok(differ.map(|key| [key.clone(), shown(here.get(key)), shown(there.get(key))]).collect())
    }

    fn validate(&self) -> Result<()> {
        let count = |n: NonZeroUsize| n.get() as u64;
        let images = u64::from(u32::MAX);
        for (option, number, most) in [
            ("epochs", count(self.epochs), 1_000_000_000),
            ("batch-size", count(self.batch_size), StepConfig::MAX_BATCH as u64),
            ("train-limit", self.train_limit.map_or(0, count), images),
            ("test-limit", self.test_limit.map_or(0, count), images),
            ("validation", self.validation as u64, images),
            ("seed", self.seed, i64::MAX as u64),
        ] {
            if number > most {
                return Err(usage(format!("--{option}: expected at most {most}, found {number}")));
            }
        }
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return Err(usage(format!("--lr: expected a number above 0, found {}", self.lr)));
        }
        let small = f64::from(f32::MAX);
        for (option, number, range, expected) in [
            ("rotate", self.rotate, 0.0..=180.0, "0 to 180 degrees"),
            ("scale", self.scale, 0.0..=0.99, "a share from 0 to 0.99"),
            ("shear", self.shear, 0.0..=small, "a number of at least 0"),
            ("elastic", self.elastic, 0.0..=small, "a number of at least 0"),
            ("mixup", self.mixup, 0.0..=1.0, "a number from 0 to 1"),
            ("weight-decay", self.weight_decay, 0.0..=f64::MAX, "a number of at least 0"),
            ("clip", self.clip.unwrap_or(1.0), f64::MIN_POSITIVE..=f64::MAX, "a number above 0"),
            ("ema", self.ema.unwrap_or(0.0), 0.0..=1.0 - f64::EPSILON, "a number of at least 0 and below 1"),
        ] {
            if !range.contains(&number) {
                return Err(usage(format!("--{option}: expected {expected}, found {number}")));
            }
        }
        if self.validation == 0 {
            let waiting = [
                (self.patience.is_some(), "patience"),
                (self.restore_best, "restore-best"),
                (self.schedule.is_plateau(), "schedule plateau"),
            ];
            if let Some((_, option)) = waiting.iter().find(|(is_asked, _)| *is_asked) {
                return Err(usage(format!(
                    "--{option}: expected --validation N, the training images to watch; found none \
                     (test images that choose weights no longer say how good they are)"
                )));
            }
        }
        if let (Some(limit), validation) = (self.train_limit, self.validation)
            && validation >= limit.get()
        {
            return Err(usage(format!(
                "--validation {validation}: expected less than the {limit} images of --train-limit"
            )));
        }
        Ok(())
    }
}

/// What a training command does when nothing is asked: a few epochs of Adam under a one-cycle schedule.
fn defaults(model: Option<&NamedModel>, asked: &Settings) -> Recipe {
    let layers = asked.layers.as_ref();
    let preprocessing = model.map_or(Preprocessing::unit(), |model| model.preprocessing);
    // A network for some of the ten digits takes those; somebody's own classes are all wanted, and a configuration that
    // brings its layers says which it keeps.
    let is_own = layers.is_some() || matches!(asked.data, Some(Data::Folder(_)));
    let small = model.is_some_and(|model| model.classes() < 10 && !is_own);
    Recipe {
        preset: model.map(|model| model.name.to_string()),
        layers: layers
            .cloned()
            .or(model.map(NamedModel::spec))
            .expect("a model is named or its layers are given"),
        data: Data::Mnist,
        data_dir: None,
        first_label: None,
        transpose: false,
        grey: false,
        train_limit: None,
        test_limit: None,
        validation: 0,
        split: Split::Stratified,
        split_seed: 0,
        classes: small.then(|| (0..model.map_or(0, NamedModel::classes) as u16).collect()),
        halve: preprocessing.halve,
        crop: None,
        normalize: Normalization::named(preprocessing.normalize).unwrap_or(Normalization::Standard),
        shift: 0,
        rotate: 0.0,
        scale: 0.0,
        shear: 0.0,
        elastic: 0.0,
        flip: false,
        erase: 0,
        mixup: 0.0,
        init: model.map_or(Init::HeNormal, |model| model.init),
        epochs: count(5),
        batch_size: count(64),
        optimizer: "adam".parse().expect("a constant"),
        lr: 3e-3,
        schedule: "one-cycle".parse().expect("a constant"),
        loss: Objective::default(),
        class_weights: None,
        weight_decay: 0.0,
        clip: None,
        ema: None,
        patience: None,
        restore_best: false,
        seed: 0,
        from: None,
        from_sha256: None,
        data_sha256: None,
    }
}

fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a constant above 0")
}
