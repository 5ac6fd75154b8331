//! A run that was made earlier, or that is being made: what its folder holds, and what its network says of the test images.

use std::path::{Path, PathBuf};

use anyhow::Result;
use byhand_files::{OS, replace};
use byhand_models::Model;
use byhand_report::Epoch;
use byhand_trainer::{Checkpoint, Evaluation, Prediction, evaluate_each};
use clap::Args;
use serde_json::Value;

use crate::{
    arguments::ThreadsArg,
    exit::{must_exist, usage},
    loading::{MODEL_FILE, load_model},
    memory,
    network::network_for,
    output::Output,
    prepared::{Prepared, prepared_data},
    program,
    reporting::{Shown, page},
    run_folder::{config_in, failure_in, has_checkpoint, history_in, newest_checkpoint_in, result_in},
    settings::{Recipe, Settings, read_text},
    values::folder_option,
};

/// Where the data of a run are, and who looks at them.
#[derive(Args)]
pub struct LookArgs {
    /// Where the data's files are: a folder that holds them, or one that holds mnist/ and fashion-mnist/
    #[arg(long, value_name = "DIR", value_parser = folder_option(), help_heading = "Data")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadsArg,
}

/// Writes a page.
pub fn write_page(file: &Path, page: &str) -> Result<()> {
    replace(&OS, file, page.as_bytes()).map_err(|error| {
        usage(format!(
            "{}: {error}; expected a file that may be written (choose one with --out FILE)",
            file.display()
        ))
    })
}

/// A run that was made earlier, or that is being made.
pub struct PastRun {
    pub folder: PathBuf,
    /// The text of its `config.toml`.
    #[cfg(feature = "live")]
    config: String,
    pub recipe: Recipe,
    pub data: Prepared,
}

/// What its folder holds at a moment.
pub struct Moment {
    pub model: Model,
    pub warning: Option<String>,
    pub history: Vec<Epoch>,
    pub result: Option<Value>,
    pub evaluation: Evaluation,
    pub predictions: Vec<Prediction>,
}

impl PastRun {
    /// Reads its settings and its data.
    pub fn read(folder: &Path, options: &LookArgs, output: &Output) -> Result<Self> {
        must_exist(folder, "a run folder")?;
        if !folder.is_dir() {
            return Err(usage(format!(
                "{}: expected a run folder, found a file; `{} inspect` says what a model file is",
                folder.display(),
                program::name()
            )));
        }
        let config = config_in(folder);
        must_exist(&config, "the config.toml of a run")?;
        if !folder.join(MODEL_FILE).exists() && !has_checkpoint(folder) {
            return Err(usage(format!(
                "{}: expected {MODEL_FILE} or a checkpoint, found neither; the first epoch writes a checkpoint",
                folder.display()
            )));
        }
        let text = read_text(&config)?;
        let mut recipe = Settings::parse(&config.display().to_string(), &text)?.settle("train")?;
        if let Some(data_dir) = &options.data_dir {
            recipe.data_dir = Some(data_dir.clone());
        }
        let asked = recipe.data.clone();
        let data = prepared_data(&mut recipe, output)?;
        if let Some(expected) =
            recipe.data_sha256.as_ref().filter(|expected| **expected != data.source.sha256)
        {
            return Err(usage(format!(
                "{}: the run was trained on {asked} with SHA-256 {expected}, found {} with {}; name the folder of its data with --data-dir",
                folder.display(),
                data.source,
                data.source.sha256
            )));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            #[cfg(feature = "live")]
            config: text,
            recipe,
            data,
        })
    }

    /// Whether it is the run that `folder` holds now.
    #[cfg(feature = "live")]
    pub fn is_of(&self, folder: &Path) -> bool {
        read_text(&config_in(folder)).is_ok_and(|text| text == self.config)
    }

    /// Looks at what is there now, and what the network says of the test images.
    pub fn look(&self, options: &LookArgs, output: &Output) -> Result<Moment> {
        let threads = options.threads.asked();
        let (mut model, warning) = self.model()?;
        // The images of the run are halved already.
        model.preprocessing.halve = false;
        let network = model.network()?;
        memory::check_evaluation(&network, threads, &self.folder)?;
        let (history, unread) = history_in(&self.folder)?;
        if unread > 0 {
            output.warn(format!(
                "{}: {unread} lines of the history are no epochs, and are left out",
                self.folder.display()
            ));
        }
        let result = result_in(&self.folder)?;
        let (test, preprocessing) = (&self.data.test, &model.preprocessing);
        if model.class_names != test.class_names() {
            return Err(usage(format!(
                "{}: the model's classes are {}, those of the data are {}; expected the same",
                self.folder.display(),
                model.class_names.join(", "),
                test.class_names().join(", ")
            )));
        }
        let (evaluation, predictions) =
            evaluate_each(&network, &model.theta, test, preprocessing, self.recipe.loss, threads)?;
        Ok(Moment { model, warning, history, result, evaluation, predictions })
    }

    /// The page.
    pub fn page(&self, moment: &Moment, live: bool) -> Result<String> {
        let Moment { model, warning, history, result, evaluation, predictions } = moment;
        let shown = Shown {
            folder: &self.folder,
            warning: warning.clone(),
            recipe: &self.recipe,
            model,
            test: &self.data.test,
            evaluation,
            predictions,
            history,
            result: result.as_ref(),
        };
        page(&shown, live)
    }

    /// The model at the end of the run. Before its end it is that of the newest checkpoint, and what to say of it.
    fn model(&self) -> Result<(Model, Option<String>)> {
        let has_model = self.folder.join(MODEL_FILE).exists();
        let checkpoint = match newest_checkpoint_in(&self.folder) {
            Ok(checkpoint) => checkpoint,
            // A model that was taken along without its checkpoints.
            Err(_) if has_model => return Ok((load_model(&self.folder)?, None)),
            Err(error) => return Err(error),
        };
        let is_over = self.recipe.is_over(&checkpoint);
        if has_model && is_over {
            return Ok((load_model(&self.folder)?, None));
        }
        let model = self.model_of(&checkpoint)?;
        if is_over {
            let warning = format!("{MODEL_FILE} is missing: the figures are those of the last checkpoint.");
            return Ok((model, Some(warning)));
        }
        let epochs = self.recipe.epochs;
        let why =
            failure_in(&self.folder).ok().and_then(|(told, _)| Some(told["message"].as_str()?.to_string()));
        let why = why.map_or(String::new(), |why| format!(" It ended with: {why}."));
        Ok((
            model,
            Some(format!(
                "This run has not come to its end: the figures are those of its checkpoint at step {}, after {} of {epochs} epochs.{why}",
                checkpoint.step(),
                checkpoint.epoch()
            )),
        ))
    }

    fn model_of(&self, checkpoint: &Checkpoint) -> Result<Model> {
        let (spec, network) = network_for(&self.recipe, self.data.input, self.data.train.classes())?;
        let (found, expected) = (checkpoint.theta().len(), network.param_len());
        if found != expected {
            return Err(usage(format!(
                "{}: its checkpoint has {found} weights, expected {expected} for the layers of its config.toml",
                self.folder.display()
            )));
        }
        Ok(Model {
            spec,
            input: self.data.input,
            class_names: self.data.test.class_names().to_vec(),
            preprocessing: self.data.preprocessing,
            notes: Default::default(),
            theta: checkpoint.theta().to_vec(),
        })
    }
}
