//! A training in its run folder: checkpoints at their pace, the model at the end, and of a failure what lets it happen again.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, anyhow};
use byhand_models::Model;
use byhand_report::Recorder;
use byhand_trainer::{Best, Diverged, DivergenceCause, Fit, FitError, Progress};
use serde_json::{Value, json};

use crate::{
    exit::{DIVERGED, coded},
    program,
    run_folder::{RunFolder, has_checkpoint},
    watcher::Watcher,
};

/// What a model file says of itself: a key and its text.
pub type Note<'a> = (&'a str, String);

/// What a run leaves besides checkpoints.
pub struct Results<'a> {
    /// The model that weights make, with notes.
    pub model: &'a dyn Fn(&[f32], &[Note<'_>]) -> Model,
    /// Whether the weights that were best are kept in a file of their own: there is a validation set to tell them by.
    pub keeps_best: bool,
    /// Whether the model is made of these.
    pub restores_best: bool,
}

impl Results<'_> {
    /// The weights that the model is made of.
    pub fn theta<'f>(&self, fit: &'f Fit<'_>) -> &'f [f32] {
        self.restored(fit).map_or(fit.theta(), |best| &best.theta)
    }

    /// Saves the model, with these notes and how long it was trained.
    pub fn save_model(&self, fit: &Fit<'_>, folder: &RunFolder, notes: &[Note<'_>]) -> Result<()> {
        let (epochs, steps) =
            self.restored(fit).map_or((fit.epoch(), fit.step()), |best| (best.epoch, best.step));
        let trained = [("epochs", epochs.to_string()), ("steps", steps.to_string())];
        folder.save_model(&(self.model)(self.theta(fit), &[&trained, notes].concat()))
    }

    fn restored<'f>(&self, fit: &'f Fit<'_>) -> Option<&'f Best> {
        fit.best().filter(|_| self.restores_best)
    }

    fn save_best(&self, fit: &Fit<'_>, folder: &RunFolder, saved: &mut Option<u64>) -> Result<()> {
        let is_new = |best: &&Best| self.keeps_best && *saved != Some(best.step);
        let Some(best) = fit.best().filter(is_new) else { return Ok(()) };
        let notes = [
            ("epochs", best.epoch.to_string()),
            ("steps", best.step.to_string()),
            ("validation_accuracy", best.accuracy.to_string()),
            ("validation_loss", best.loss.to_string()),
        ];
        folder.save_best(&(self.model)(&best.theta, &notes))?;
        *saved = Some(best.step);
        Ok(())
    }
}

/// Trains to the end, or until `stop` is set, and then saves the model before the last checkpoint: a run whose last checkpoint is there is
/// finished. The weights that were best are saved with each checkpoint, and whatever ends the run. `recorder` looks at the weights after
/// each epoch.
pub fn train(
    fit: &mut Fit<'_>,
    watcher: &mut Watcher,
    recorder: &mut Recorder,
    folder: &RunFolder,
    stop: &AtomicBool,
    results: &Results<'_>,
) -> Result<()> {
    let mut saved = None;
    let ended = loop {
        let progress = fit.run(watcher);
        if let Some(mut entry) = watcher.ended.take() {
            let tensors = recorder.look(fit.theta());
            watcher.show_epoch(&entry, &tensors, fit.theta())?;
            entry["tensors"] = serde_json::to_value(tensors)?;
            watcher.history.add(&entry).map_err(|error| unsaved(&error, folder))?;
        } else if watcher.wants_gradients {
            watcher.show_gradients(&recorder.look(fit.theta()));
        }
        let is_over = match progress {
            Ok(progress) => progress != Progress::Stopped || stop.load(Ordering::SeqCst),
            Err(FitError::Diverged(diverged)) => break Err(diverged),
            Err(error) => return Err(error.into()),
        };
        if !(is_over || watcher.is_due) {
            continue;
        }
        let mut save = || {
            results.save_best(fit, folder, &mut saved)?;
            if is_over {
                results.save_model(fit, folder, &[])?;
            }
            watcher.history.sync()?;
            watcher.pace.save(|| folder.save_checkpoint(&fit.checkpoint()))
        };
        save().map_err(|error| unsaved(&error, folder))?;
        if is_over {
            break Ok(());
        }
    };
    watcher.finish();
    let Err(diverged) = ended else { return Ok(()) };
    // That it diverged is told in any case.
    let mut keep = || {
        results.save_best(fit, folder, &mut saved)?;
        if results.restored(fit).is_some() { results.save_model(fit, folder, &[]) } else { Ok(()) }
    };
    let kept = keep()
        .map_or_else(|error| format!("; the best weights are not saved: {error:#}"), |()| String::new());
    let replay = match folder.write_failure(&told(&diverged), &fit.checkpoint()) {
        Ok(()) => format!("to see the step again: {} replay {}", program::name(), folder.path().display()),
        Err(error) => format!("the step cannot be seen again: {error:#}"),
    };
    Err(coded(DIVERGED, format!("{diverged}{}{kept}; {replay}", remedy(&diverged, folder.path()))))
}

/// What a full disk, say, ends a run with: what was saved before is there, and the run goes on from it.
fn unsaved(error: &anyhow::Error, folder: &RunFolder) -> anyhow::Error {
    let next = match folder.has_results() {
        true => "when there is room, the same command goes on from the last checkpoint",
        false => "make room, or choose another folder with --out DIR",
    };
    anyhow!("{error:#}; {next}")
}

/// What `failure.json` says.
pub fn told(diverged: &Diverged) -> Value {
    json!({
        "message": diverged.to_string(),
        "step": diverged.step,
        "epoch": diverged.epoch,
        "learning_rate": diverged.learning_rate,
        "place": diverged.place,
        "batch": diverged.batch,
    })
}

/// What to do after a failure, as commands.
fn remedy(diverged: &Diverged, run: &Path) -> String {
    let (path, program) = (run.display(), program::name());
    let rate = diverged.learning_rate / 10.0;
    let again = match has_checkpoint(run) {
        true => format!("; to go on from the last checkpoint: {program} train --from {path} --lr {rate:e}"),
        false => String::new(),
    };
    let anyway = match diverged.cause {
        DivergenceCause::Trend => {
            format!("; to go on all the same: {program} train --resume {path} --stop-diverged false")
        }
        _ => String::new(),
    };
    format!("{again}{anyway}")
}
