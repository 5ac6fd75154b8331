//! The recipes that come with the program: configurations that have a name.

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::settings::Settings;

/// What `byhand speedrun` trains.
pub const SPEEDRUN: &str = include_str!("../../../recipes/speedrun.toml");

/// Name and text of each.
const RECIPES: [(&str, &str); 1] = [("speedrun", SPEEDRUN)];

/// Reads the name of a recipe. Help shows each with the first line of its file.
pub fn names() -> PossibleValuesParser {
    let about = |text: &'static str| text.lines().next().unwrap_or_default().trim_start_matches("# ");
    PossibleValuesParser::new(RECIPES.map(|(name, text)| PossibleValue::new(name).help(about(text))))
}

/// The settings of the recipe of this name, which [`names`] has read.
pub fn settings(name: &str) -> Result<Settings> {
    let (name, text) = RECIPES.iter().find(|(known, _)| *known == name).expect("a name that was read");
    Settings::parse(name, text)
}
