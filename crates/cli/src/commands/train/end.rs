//! The end of a run: the evaluation on the test images, what is told and written of it.

use std::path::PathBuf;

use anyhow::Result;
use byhand_models::{Model, weights_sha256};
use byhand_tensor::Isa;
use byhand_trainer::{Best, Evaluation, Fit, Prediction, TrainerError};
use serde_json::{Value, json};

use super::run::Run;
use crate::{
    exit::coded,
    interrupt::Interrupt,
    output::Output,
    program,
    reporting::{Shown, environment, page},
    run_folder::{history_in, report_in},
    training::Results,
    watcher::Watcher,
};

/// How good the model is, and what it says of each test image.
type Evaluated = (Evaluation, Vec<Prediction>);

/// A run that is trained, to its end or until it was interrupted.
pub(super) struct End<'a> {
    pub run: &'a Run<'a>,
    pub fit: &'a Fit<'a>,
    pub results: &'a Results<'a>,
    pub watcher: &'a Watcher,
    pub interrupt: &'a Interrupt,
}

impl End<'_> {
    /// Evaluates, tells, writes `result.json` and, where it is wanted, the report. An interruption is an error, told last.
    pub(super) fn tell(&self, wants_report: bool, output: &Output) -> Result<()> {
        self.tell_of_best(output);
        let theta = self.results.theta(self.fit);
        let evaluated = self.evaluate(theta, output)?;
        let evaluation = evaluated.as_ref().map(|(evaluation, _)| evaluation);
        output.print(format!("weights {}", weights_sha256(theta)));
        output.print(format!("run {}", self.run.folder.path().display()));
        let mut result = self.result(theta, evaluation);
        let mut kept = result.clone();
        kept["environment"] = environment(self.watcher.threads);
        self.run.folder.write_result(&kept)?;
        if let Some(evaluated) = evaluated.filter(|_| wants_report && !self.interrupt.asked()) {
            let path = self.write_report(theta, &evaluated, &kept)?;
            output.print(format!("report {}", path.display()));
            result["report"] = path.to_string_lossy().into();
        }
        output.result(result);
        self.check_interrupt()
    }

    /// The weights that were best on the validation images, where there are some.
    fn best(&self) -> Option<&Best> {
        self.fit.best().filter(|_| self.results.keeps_best)
    }

    fn tell_of_best(&self, output: &Output) {
        let Some(best) = self.best() else { return };
        let fit = self.fit;
        let epochs = fit.epoch().saturating_sub(best.epoch);
        if fit.is_over() && fit.step() < fit.total_steps() {
            output.note(format!("stopped early: {epochs} epochs were no better on the validation images"));
        }
        let kept = if self.results.restores_best { "the model" } else { "best.safetensors" };
        output.note(format!(
            "{kept} has the weights of epoch {}, best on the validation images with {:.2} %",
            best.epoch,
            100.0 * best.accuracy
        ));
    }

    /// On the test images, and once more saves the model, whose file can say now how good it is. Nothing when it was interrupted: somebody
    /// who wants the program to end does not wait for an evaluation.
    fn evaluate(&self, theta: &[f32], output: &Output) -> Result<Option<Evaluated>> {
        let (evaluation, predictions) = match self.fit.evaluate_each(theta, &self.run.data.test) {
            Ok(evaluated) => evaluated,
            Err(TrainerError::Stopped) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let notes = [
            ("test_accuracy", evaluation.accuracy().to_string()),
            ("test_loss", evaluation.loss.to_string()),
            ("test_images", evaluation.samples.to_string()),
        ];
        self.results.save_model(self.fit, self.run.folder, &notes)?;
        output.print(format!(
            "test accuracy {:.2} %, test loss {:.4} on {} images after {:.2} s of training",
            100.0 * evaluation.accuracy(),
            evaluation.loss,
            evaluation.samples,
            self.fit.train_seconds()
        ));
        Ok(Some((evaluation, predictions)))
    }

    /// The last event.
    fn result(&self, theta: &[f32], evaluation: Option<&Evaluation>) -> Value {
        let Run { recipe, data, network, folder } = self.run;
        let (fit, best) = (self.fit, self.best());
        json!({
            "model": recipe.name(),
            "layers": recipe.layers.to_string(),
            "data": data.name,
            "data_sha256": data.source.sha256,
            "seed": recipe.seed,
            "threads": self.watcher.threads,
            "isa": Isa::active().name(),
            "epochs": fit.epoch(),
            "steps": fit.step(),
            "train_seconds": fit.train_seconds(),
            "train_images": data.train.len(),
            "train_loss": self.watcher.train_loss,
            "test_loss": evaluation.map(|evaluation| evaluation.loss),
            "test_accuracy": evaluation.map(Evaluation::accuracy),
            "best_epoch": best.map(|best| best.epoch),
            "validation_accuracy": best.map(|best| best.accuracy),
            "parameters": network.parameters(),
            "weights_sha256": weights_sha256(theta),
            "interrupted": self.interrupt.asked(),
            "out": folder.path().to_string_lossy(),
        })
    }

    /// Writes `report.html`, and says where it is.
    fn write_report(
        &self,
        theta: &[f32],
        (evaluation, predictions): &Evaluated,
        result: &Value,
    ) -> Result<PathBuf> {
        let Run { recipe, data, folder, .. } = self.run;
        let preprocessing = data.remaining();
        let model = Model { preprocessing, ..self.run.model(theta, &[]) };
        let (history, _) = history_in(folder.path())?;
        let page = page(
            &Shown {
                folder: folder.path(),
                warning: None,
                recipe,
                model: &model,
                test: &data.test,
                evaluation,
                predictions,
                history: &history,
                result: Some(result),
            },
            false,
        )?;
        folder.write_report(&page)?;
        Ok(report_in(folder.path()))
    }

    fn check_interrupt(&self) -> Result<()> {
        if !self.interrupt.asked() {
            return Ok(());
        }
        let path = self.run.folder.path().display();
        let (step, program) = (self.fit.step(), program::name());
        Err(coded(
            self.interrupt.code(),
            format!(
                "interrupted at step {step}; the model so far is in {path}, go on with {program} train --resume {path}"
            ),
        ))
    }
}
