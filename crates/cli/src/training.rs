//! A training in its run folder: checkpoints at their pace, the model at the end, and of a failure what lets it happen again.

use std::{
    path::Path,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use byhand_trainer::{Diverged, DivergenceCause, Fit, FitError, Progress};
use serde_json::{Value, json};

use crate::{
    exit::{DIVERGED, coded},
    program,
    run_folder::{RunFolder, has_checkpoint},
    watcher::Watcher,
};

/// How often a checkpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After so many steps.
    Steps(u64),
    /// After so much time; and at the end of an epoch, as long as that costs less than 1 % of the time.
    Time(Duration),
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse().ok().filter(|&number: &u64| number > 0 && number <= u64::from(u32::MAX))
        };
        let parsed = match (text.strip_suffix('s'), text.strip_suffix('m')) {
            (Some(seconds), _) => number(seconds).map(|n| Every::Time(Duration::from_secs(n))),
            (_, Some(minutes)) => number(minutes).map(|n| Every::Time(Duration::from_secs(60 * n))),
            _ => number(text).map(Every::Steps),
        };
        parsed.ok_or_else(|| format!("expected seconds (30s), minutes (5m) or steps (500), found {text}"))
    }
}

/// When the next checkpoint is due.
pub struct Pace {
    every: Every,
    saved: Instant,
    /// What the last one cost.
    cost: Duration,
}

/// A checkpoint at the end of an epoch may cost one part in so many of the time.
const SHARE: u32 = 100;

impl Pace {
    pub fn new(every: Every) -> Self {
        Self { every, saved: Instant::now(), cost: Duration::ZERO }
    }

    /// Whether one is due after step `step`.
    pub fn is_due(&self, step: u64, ends_epoch: bool) -> bool {
        match self.every {
            Every::Steps(steps) => step.is_multiple_of(steps),
            Every::Time(time) => {
                let since = self.saved.elapsed();
                since >= time || ends_epoch && since >= SHARE * self.cost
            }
        }
    }

    /// Saves one, and takes the time.
    fn save(&mut self, save: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        save()?;
        (self.saved, self.cost) = (Instant::now(), begun.elapsed());
        Ok(())
    }
}

/// Trains to the end, or until `stop` is set, and then saves with `finish` before the last checkpoint: a run whose last checkpoint
/// is there is finished.
pub fn train(
    fit: &mut Fit<'_>,
    watcher: &mut Watcher,
    folder: &RunFolder,
    stop: &AtomicBool,
    finish: &dyn Fn(&Fit<'_>) -> Result<()>,
) -> Result<()> {
    let ended = loop {
        let progress = fit.run(watcher);
        if let Some(trouble) = watcher.trouble.take() {
            return Err(trouble);
        }
        let is_over = match progress {
            Ok(progress) => progress != Progress::Stopped || stop.load(Ordering::SeqCst),
            Err(FitError::Diverged(diverged)) => break Err(diverged),
            Err(error) => return Err(error.into()),
        };
        if is_over {
            finish(fit)?;
        }
        watcher.history.sync()?;
        watcher.pace.save(|| folder.save_checkpoint(&fit.checkpoint()))?;
        if is_over {
            break Ok(());
        }
    };
    watcher.finish();
    let Err(diverged) = ended else { return Ok(()) };
    folder.write_failure(&told(&diverged), &fit.checkpoint())?;
    Err(coded(DIVERGED, format!("{diverged}{}", remedy(&diverged, folder.path()))))
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
    format!("{again}{anyway}; to see the step again: {program} replay {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often() {
        for (text, every) in [
            ("30s", Every::Time(Duration::from_secs(30))),
            ("5m", Every::Time(Duration::from_secs(300))),
            ("500", Every::Steps(500)),
        ] {
            assert_eq!(text.parse(), Ok(every));
        }
        for text in ["", "s", "0", "0s", "-1", "1.5s", "1h", "99999999999"] {
            assert!(text.parse::<Every>().unwrap_err().contains("expected"), "{text}");
        }
    }
}
