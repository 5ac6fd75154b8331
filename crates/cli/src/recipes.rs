//! The recipes that come with the program: configurations that have a name.

use anyhow::Result;
use byhand_models::registry::default_of;
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::settings::Settings;

/// What `byhand speedrun` trains.
pub const SPEEDRUN: &str = include_str!("../../../recipes/speedrun.toml");

/// Name and text of each, in the order in which they are listed.
const RECIPES: [(&str, &str); 11] = [
    ("cnn", include_str!("../../../recipes/cnn.toml")),
    ("speedrun", SPEEDRUN),
    ("mnist-99.3", include_str!("../../../recipes/mnist-99.3.toml")),
    ("mnist-99.5", include_str!("../../../recipes/mnist-99.5.toml")),
    ("mnist-99.6", include_str!("../../../recipes/mnist-99.6.toml")),
    ("mnist-99.7", include_str!("../../../recipes/mnist-99.7.toml")),
    ("mnist-99.8", include_str!("../../../recipes/mnist-99.8.toml")),
    ("fashion-92.5", include_str!("../../../recipes/fashion-92.5.toml")),
    ("fashion-93.5", include_str!("../../../recipes/fashion-93.5.toml")),
    ("fashion-94.5", include_str!("../../../recipes/fashion-94.5.toml")),
    ("fashion-95", include_str!("../../../recipes/fashion-95.toml")),
];

/// All of them.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    RECIPES.into_iter()
}

/// Reads the name of a recipe whose text is `wanted`, or one of `others`. Help shows each with the first line of its file.
pub fn names(wanted: impl Fn(&str) -> bool, others: &[&'static str]) -> PossibleValuesParser {
    let about = |text: &'static str| text.lines().next().unwrap_or_default().trim_start_matches("# ");
    let recipes = all().filter(|(_, text)| wanted(text));
    let recipes = recipes.map(|(name, text)| PossibleValue::new(name).help(about(text)));
    PossibleValuesParser::new(recipes.chain(others.iter().map(PossibleValue::new)))
}

/// The settings of the recipe of this name, which is one of [`all`].
pub fn settings(name: &str) -> Result<Settings> {
    let (name, text) = all().find(|(known, _)| *known == name).expect("a name of a recipe");
    Settings::parse(name, text)
}

/// How a command trains if nobody says otherwise: by the recipe that is called as its network, if there is one. Layers of somebody's own
/// have none.
pub fn of_network(command: &str, asked: &Settings) -> Result<Settings> {
    let network = asked.preset.as_deref().or_else(|| default_of(command).map(|model| model.name));
    let network = network.filter(|name| asked.layers.is_none() && all().any(|(known, _)| known == *name));
    let settings = network.map_or_else(|| Ok(Settings::default()), settings)?;
    // Nobody named the recipe, so nobody is told that it holds a record.
    Ok(Settings { record: None, ..settings })
}
