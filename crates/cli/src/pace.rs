//! How often a training writes a checkpoint.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::Result;

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
    pub fn save(&mut self, save: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        save()?;
        (self.saved, self.cost) = (Instant::now(), begun.elapsed());
        Ok(())
    }
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
