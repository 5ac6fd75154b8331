//! Where a run begins: at a checkpoint, at the weights of another run, at random numbers.

use std::path::{Path, PathBuf};

use anyhow::Result;
use byhand_datasets::{Data, Source};
use byhand_layers::{Network, init::init_network};
use byhand_models::weights_sha256;
use byhand_trainer::{Checkpoint, Fit, FitConfig, FitError};

use super::asked::is_same;
use crate::{
    exit::usage,
    output::Output,
    prepared::Prepared,
    run_folder::{History, RunFolder, config_in, newest_checkpoint_in},
    settings::Recipe,
    start,
};

/// Where a run begins.
#[derive(Default)]
pub(super) struct Begin {
    /// What it goes on from, and the folder that this was in; without it begins anew.
    checkpoint: Option<(Checkpoint, PathBuf)>,
    /// Whether the folder is this run's already.
    is_here: bool,
}

impl Begin {
    /// With `--resume` from its checkpoint. Without, the same run again goes on in its folder when it did not come to its end.
    pub(super) fn of(
        recipe: &mut Recipe,
        resumed: Option<&Path>,
        folder: &RunFolder,
        output: &Output,
    ) -> Result<Self> {
        if let Some(resumed) = resumed {
            let is_here = is_same(resumed, folder.path());
            let newest = if is_here {
                folder.newest_checkpoint(&mut |line| output.warn(line))?
            } else {
                Some(newest_checkpoint_in(resumed)?)
            };
            let none = || {
                usage(format!(
                    "--resume {0}: expected a checkpoint that is whole, found none; begin anew with --config {0}/config.toml --out DIR",
                    resumed.display()
                ))
            };
            return Ok(Begin {
                checkpoint: Some((newest.ok_or_else(none)?, resumed.to_path_buf())),
                is_here,
            });
        }
        let Some(began) = Recipe::read(&config_in(folder.path())) else { return Ok(Begin::default()) };
        // The weights of --from are not read again.
        let asked = Recipe { from_sha256: began.from_sha256.clone(), ..recipe.clone() };
        if !asked.differences(&began)?.is_empty() {
            return Ok(Begin::default());
        }
        let checkpoint = folder.newest_checkpoint(&mut |line| output.warn(line))?;
        if let Some(checkpoint) = checkpoint.filter(|at| !recipe.is_over(at)) {
            let (path, step) = (folder.path().display(), checkpoint.step());
            output.warn(format!(
                "{path} holds this run, which ended after {step} steps: it goes on from there"
            ));
            *recipe = asked;
            let checkpoint = Some((checkpoint, folder.path().to_path_buf()));
            return Ok(Begin { checkpoint, is_here: true });
        }
        Ok(Begin { checkpoint: None, is_here: !folder.has_results() })
    }

    /// The fit that begins there. The weights of `--from` are told to the recipe.
    pub(super) fn fit<'d>(
        self,
        recipe: &mut Recipe,
        network: &Network<f32>,
        data: &'d Prepared,
        config: FitConfig,
    ) -> Result<(Fit<'d>, Begun)> {
        let watched = Some(data.validation.as_ref().unwrap_or(&data.test));
        let Begin { checkpoint, is_here } = self;
        let (fit, source) = match checkpoint {
            Some((checkpoint, source)) => {
                let fit = Fit::resume(network, checkpoint, &data.train, watched, config)
                    .map_err(|error| cannot_resume(error, recipe, &source))?;
                (fit, Some(source))
            }
            None => {
                let theta = first_weights(recipe, network, data)?;
                (Fit::new(network, theta, &data.train, watched, config).map_err(usage)?, None)
            }
        };
        Ok((fit, Begun { source, is_here }))
    }
}

/// What a fit began from.
pub(super) struct Begun {
    /// The folder of the checkpoint.
    source: Option<PathBuf>,
    is_here: bool,
}

impl Begun {
    /// Makes the folder this run's, with the history of `step` steps. Not before the checkpoint took the settings: what is refused leaves
    /// the folder as it was.
    pub(super) fn take(&self, folder: &RunFolder, step: u64, output: &Output) -> Result<History> {
        if self.is_here {
            folder.clear_failure()?;
        } else if let Some(aside) = folder.set_aside()? {
            let (folder, aside) = (folder.path().display(), aside.display());
            output.warn(format!("{folder} held an earlier run: its files are in {aside} now"));
        }
        match &self.source {
            Some(source) => folder.history_of(source, step),
            None => folder.new_history(),
        }
    }

    /// Whether the run goes on in another folder, which has no checkpoint of its own yet.
    pub(super) fn is_copy(&self) -> bool {
        !self.is_here && self.source.is_some()
    }
}

/// The weights a new run begins with. Those of `--from` are recorded by their digest, and a configuration that has one asks for
/// the same weights.
fn first_weights(recipe: &mut Recipe, network: &Network<f32>, data: &Prepared) -> Result<Vec<f32>> {
    let Some(from) = &recipe.from else { return Ok(init_network::<f32>(network, recipe.init, recipe.seed)) };
    let theta = start::weights(from, network, data.train.class_names())?;
    let found = weights_sha256(&theta);
    if let Some(expected) = recipe.from_sha256.as_ref().filter(|expected| **expected != found) {
        return Err(usage(format!(
            "{}: the run began with other weights: expected SHA-256 {expected}, found {found}; name them with --from",
            from.display()
        )));
    }
    recipe.from_sha256 = Some(found);
    Ok(theta)
}

/// Why a checkpoint does not take the settings, in the words of the command line.
fn cannot_resume(error: FitError, recipe: &Recipe, folder: &Path) -> anyhow::Error {
    match error {
        FitError::Beyond { done, asked } => usage(format!(
            "cannot resume with --epochs {}: the run in {} has done {done} steps, and that is {asked}; expected more epochs",
            recipe.epochs,
            folder.display()
        )),
        error => usage(format!("{error}; expected the config.toml that the run began with")),
    }
}

/// Records where the data were and what was read, and compares it with what an earlier run read: a resumed run needs the same.
pub(super) fn remember_data(
    recipe: &mut Recipe,
    source: &Source,
    resumed: Option<&Path>,
    output: &Output,
) -> Result<()> {
    if let Some(expected) = recipe.data_sha256.as_ref().filter(|expected| **expected != source.sha256) {
        let found = &source.sha256;
        let place =
            source.folder.as_ref().map_or_else(|| source.to_string(), |folder| folder.display().to_string());
        let told = format!(
            "the data in {place} are not those of the run: expected SHA-256 {expected}, found {found}"
        );
        if let Some(run) = resumed {
            let run = run.display();
            return Err(usage(format!(
                "cannot resume {run}: {told}; name the folder of the same data with --data-dir or --data"
            )));
        }
        output.warn(format!("{told}; its settings are repeated, its bits are not"));
    }
    recipe.data_dir = source.folder.clone().filter(|_| !matches!(source.data, Data::Folder(_)));
    recipe.data_sha256 = Some(source.sha256.clone());
    Ok(())
}
