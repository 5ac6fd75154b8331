//! A notebook's system as data: a configuration as `train --config` takes it, and its section `[notebook]`, which says in which versions
//! it is trained.

use anyhow::Result;
use byhand_layers::{Shape, init::Init};
use byhand_models::Spec;
use byhand_trainer::{Objective, Schedule};
use serde::Deserialize;

use crate::{
    as_text::text,
    exit::usage,
    program::in_words,
    settings::{Recipe, Settings, read_text},
};

/// The systems of the notebooks, by name.
pub const NOTEBOOKS: [(&str, &str); 8] = [
    ("A", include_str!("../../../../../notebooks/A.toml")),
    ("B1", include_str!("../../../../../notebooks/B1.toml")),
    ("B2", include_str!("../../../../../notebooks/B2.toml")),
    ("B3", include_str!("../../../../../notebooks/B3.toml")),
    ("C1", include_str!("../../../../../notebooks/C1.toml")),
    ("C2", include_str!("../../../../../notebooks/C2.toml")),
    ("D", include_str!("../../../../../notebooks/D.toml")),
    ("E", include_str!("../../../../../notebooks/E.toml")),
];

/// A system.
pub struct Notebook {
    pub about: About,
    pub versions: Vec<Version>,
}

/// The section `[notebook]` of a configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct About {
    pub system: String,
    pub title: String,
    /// What is measured at the end of a run.
    pub metric: Metric,
    /// The figure in the notebook.
    pub printed: Option<f64>,
    /// The notebook's own speed.
    pub numpy_images_per_second: Option<f64>,
    /// The first so many images of each class.
    pub per_class: Option<PerClass>,
    /// Instead of a data set.
    pub teacher: Option<Teacher>,
    #[serde(default)]
    sampling: Order,
    steps: Option<u64>,
    window: Option<u64>,
    version: Vec<Asked>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub enum Metric {
    #[serde(rename = "test accuracy")]
    TestAccuracy,
    #[serde(rename = "test loss")]
    TestLoss,
    #[serde(rename = "agreement with the teacher")]
    Agreement,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::TestAccuracy => "test accuracy",
            Self::TestLoss => "test loss",
            Self::Agreement => "agreement with the teacher",
        }
    }
}

/// The first so many images of each class.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PerClass {
    pub train: usize,
    pub test: usize,
}

/// A random network that labels so many random images.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    #[serde(with = "text::required")]
    pub input: Shape,
    #[serde(with = "text::required")]
    pub layers: Spec,
    #[serde(with = "text::required")]
    pub init: Init,
    pub train: usize,
    pub test: usize,
}

/// A version as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Asked {
    /// Where it differs from the settings above.
    #[serde(default)]
    settings: Settings,
    name: String,
    note: Option<String>,
    metric: Option<Metric>,
    printed: Option<f64>,
    #[serde(default)]
    wrong: Vec<Wrong>,
    wrong_loss: Option<String>,
    #[serde(default)]
    second_forward: bool,
    #[serde(default, with = "text")]
    init_conv: Option<Init>,
    sampling: Option<Order>,
    steps: Option<u64>,
    window: Option<u64>,
    most_seeds: Option<u64>,
}

/// A version of a system, everything settled.
pub struct Version {
    /// written, repaired, or a word of its own for one beside them.
    pub name: String,
    pub recipe: Recipe,
    pub note: Option<String>,
    pub metric: Metric,
    pub printed: Option<f64>,
    /// Pieces of the museum in the place of layers.
    pub wrong: Vec<Wrong>,
    /// A loss of the museum instead of softmax cross-entropy.
    pub wrong_loss: Option<String>,
    /// The loss is computed by a forward pass of its own.
    pub second_forward: bool,
    /// Of convolutions, where it differs.
    pub init_conv: Option<Init>,
    pub sampling: Order,
    /// Instead of epochs; 0 for a network that is not trained.
    pub steps: Option<u64>,
    /// Steps of a point of the learning curve.
    pub window: Option<u64>,
    /// No more runs than this, however many seeds there are.
    pub most_seeds: Option<u64>,
}

/// A piece of the museum in the place of a layer (flattens counted, as `summary` counts).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    pub layer: usize,
    pub piece: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    #[default]
    Shuffled,
    WithReplacement,
}

impl Notebook {
    /// The version that counts as repaired: the one of that name, or the last.
    pub fn repaired(&self) -> &Version {
        let named = self.versions.iter().find(|version| version.name == "repaired");
        named.unwrap_or(&self.versions[self.versions.len() - 1])
    }

    pub fn printed_of(&self, version: &Version) -> Option<f64> {
        let is_main = ["written", "repaired"].contains(&version.name.as_str());
        version.printed.or(self.about.printed.filter(|_| is_main))
    }
}

/// The systems of a name: one, all of them, or a file; `given` overrides their settings.
pub fn load(name: &str, given: &Settings) -> Result<Vec<Notebook>> {
    if name == "all" {
        return NOTEBOOKS.iter().map(|(name, text)| parse(name, text, given)).collect();
    }
    Ok(vec![parse(name, &source(name)?, given)?])
}

/// The TOML text of a system or a file.
pub fn source(name: &str) -> Result<String> {
    if let Some((_, text)) = NOTEBOOKS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok((*text).to_string());
    }
    if name.ends_with(".toml") {
        return read_text(name.as_ref());
    }
    let names: Vec<&str> = NOTEBOOKS.iter().map(|(name, _)| *name).collect();
    Err(usage(format!("no system is called '{name}'; expected {}, all or a .toml file", names.join(", "))))
}

pub fn parse(name: &str, text: &str, given: &Settings) -> Result<Notebook> {
    let mut base = Settings::parse(name, text)?.absolute()?;
    let section =
        base.notebook.take().ok_or_else(|| usage(format!("{name}: expected a section [notebook]")))?;
    let about = About::deserialize(section)
        .map_err(|error| usage(format!("{name}, [notebook]: {}", in_words(error.to_string().trim_end()))))?;
    if about.version.is_empty() {
        return Err(usage(format!("{name}: expected at least one [[notebook.version]]")));
    }
    let version = |asked: &Asked| {
        let wrong = |problem: &str| usage(format!("{name}, version {}: {problem}", asked.name));
        let mut recipe = given.clone().over(asked.settings.clone().over(base.clone())?)?.settle("train")?;
        // The notebooks' networks are of grey pictures.
        recipe.grey = true;
        let window = asked.window.or(about.window);
        if window == Some(0) {
            return Err(wrong("window: expected at least 1, found 0"));
        }
        let as_notebooks = "sgd".parse() == Ok(recipe.optimizer)
            && (recipe.schedule, recipe.loss) == (Schedule::CONSTANT, Objective::default())
            && (recipe.clip, recipe.ema, recipe.weight_decay) == (None, None, 0.0)
            && recipe.class_weights.is_none()
            && recipe.augment().is_identity();
        if asked.wrong_loss.is_some() && !as_notebooks {
            return Err(wrong(
                "wrong-loss goes with optimizer = \"sgd\", schedule = \"constant\", no loss, and nothing else that changes a step",
            ));
        }
        Ok(Version {
            name: asked.name.clone(),
            recipe,
            note: asked.note.clone(),
            metric: asked.metric.unwrap_or(about.metric),
            printed: asked.printed,
            wrong: asked.wrong.clone(),
            wrong_loss: asked.wrong_loss.clone(),
            second_forward: asked.second_forward,
            init_conv: asked.init_conv,
            sampling: asked.sampling.unwrap_or(about.sampling),
            steps: asked.steps.or(about.steps),
            window,
            most_seeds: asked.most_seeds,
        })
    };
    let versions = about.version.iter().map(version).collect::<Result<_>>()?;
    Ok(Notebook { about, versions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::notebooks::experiment::network;

    #[test]
    fn every_notebook_is_read_and_its_networks_are_built() {
        let notebooks = load("all", &Settings::default()).unwrap();
        assert_eq!(notebooks.len(), 8);
        for notebook in notebooks {
            let about = &notebook.about;
            assert_eq!(notebook.repaired().name, "repaired", "{}", about.system);
            assert!(notebook.versions.iter().any(|version| version.name == "written"), "{}", about.system);
            for version in &notebook.versions {
                let side = if version.recipe.halve { 14 } else { 28 };
                let image = Shape::new(1, side, side);
                network(version, about.teacher.as_ref().map_or(image, |teacher| teacher.input)).unwrap();
            }
        }
    }

    #[test]
    fn a_wrong_notebook_is_answered_with_what_was_expected() {
        let text = source("A").unwrap();
        let error = |from: &str, to: &str| {
            assert!(text.contains(from));
            let parsed = parse("mine.toml", &text.replace(from, to), &Settings::default());
            parsed.err().unwrap().to_string()
        };
        assert!(error("notebook", "speedrun").contains("expected a section [notebook]"));
        assert!(error("epochs = 3", "epoch = 3").contains("line 12 (`epoch = 3`): unknown field `epoch`"));
        assert!(error("window = 100", "windows = 100").contains("unknown field `windows`"));
        assert!(error("scaled-normal", "scald-normal").contains("he-normal"));
        for (from, to) in [("\"sgd\"", "\"adam\""), ("epochs = 3", "epochs = 3\nrotate = 10")] {
            assert!(error(from, to).contains("version written: wrong-loss goes with"), "{to}");
        }
    }
}
