//! What a training command asks for: the settings of a file or of an earlier run, and the options over them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use byhand_datasets::Data;

use super::Options;
use crate::{
    exit::usage,
    network::{network_for, promised},
    output::Output,
    program, recipes,
    run_folder::{config_in, has_checkpoint},
    settings::{Recipe, Settings},
    start,
};

/// What is asked for.
pub(super) struct Asked {
    pub recipe: Recipe,
    /// The folder of the run that goes on.
    pub resumed: Option<PathBuf>,
    /// Whether somebody named the classes, and not the model alone.
    pub names_classes: bool,
}

impl Asked {
    /// By these options of `command`, checked as far as that is possible without the data.
    pub(super) fn of(command: &str, options: &Options, output: &Output) -> Result<Self> {
        let resumed = resumed_folder(options)?;
        let asked = options.settings.clone().absolute()?;
        let base = base(command, options, resumed.as_deref(), &asked)?;
        tell_of_other_sections(&base, output);
        let base = base.without(&options.unset)?.absolute()?;
        let names_classes = asked.classes.is_some() || base.classes.is_some();
        let mut recipe = asked.over(base.clone())?.settle(command)?;
        if let Some(folder) = &resumed {
            recipe.data_sha256 = base.data_sha256.clone();
            refuse_changes(&recipe, &base.settle(command)?, folder)?;
        }
        refuse_folder_of_weights(&recipe, options.out.as_deref())?;
        if let Some((input, classes)) = promised(&recipe) {
            network_for(&recipe, input, classes)?;
        }
        Ok(Self { recipe, resumed, names_classes })
    }
}

/// The settings that options stand over: those of the run that goes on, of a file, of a recipe, of the run that `--from` names, of the
/// network.
fn base(command: &str, options: &Options, resumed: Option<&Path>, asked: &Settings) -> Result<Settings> {
    match (resumed, options.base.settings()?, &asked.from) {
        (Some(folder), ..) => Settings::read(&config_in(folder)),
        (_, Some(base), _) => Ok(base),
        (.., Some(weights)) => start::settings(weights),
        _ => recipes::of_network(command, asked),
    }
}

/// Says which sections are for other commands.
fn tell_of_other_sections(base: &Settings, output: &Output) {
    for (section, name, command) in [
        (&base.notebook, "notebook", "notebooks"),
        (&base.speedrun, "speedrun", "speedrun"),
        (&base.record, "record", "records"),
    ] {
        if section.is_some() {
            output.note(format!(
                "the section [{name}] is for `{} {command}`: training reads past it",
                program::name()
            ));
        }
    }
}

fn resumed_folder(options: &Options) -> Result<Option<PathBuf>> {
    let folder = match &options.resume {
        None => return Ok(None),
        Some(folder) => folder.as_ref().or(options.out.as_ref()),
    };
    let folder = folder
        .ok_or_else(|| usage("--resume: expected the run folder, as in --resume runs/cnn-mnist-seed0"))?;
    if !has_checkpoint(folder) {
        return Err(usage(format!(
            "--resume {}: expected a run folder with a checkpoint, found none; the first epoch writes it",
            folder.display()
        )));
    }
    Ok(Some(folder.clone()))
}

/// A new run does not take the place of the weights that it begins with.
fn refuse_folder_of_weights(recipe: &Recipe, out: Option<&Path>) -> Result<()> {
    let Some(weights) = recipe.from.as_ref().filter(|from| out.is_some_and(|out| is_same(from, out))) else {
        return Ok(());
    };
    let problem =
        "expected another folder than that of --from, whose weights the new run is to be repeated from";
    Err(usage(format!("--out {}: {problem}", weights.display())))
}

/// A resumed run has the settings that it began with, or its config.toml would not repeat it. More epochs are an exception where
/// the schedule does not depend on their number.
fn refuse_changes(asked: &Recipe, began: &Recipe, folder: &Path) -> Result<()> {
    let (folder, program) = (folder.display(), program::name());
    let mut differences = asked.differences(began)?;
    // A preset is asked for by its name, which brings other layers.
    differences.sort_by_key(|[key, now, _]| key != "preset" || now == "none");
    for [key, now, before] in differences {
        let why = match key.as_str() {
            // Where the data are now; that they are the same, their digest says.
            "data-dir" => continue,
            "data" if matches!((&asked.data, &began.data), (Data::Folder(_), Data::Folder(_))) => continue,
            "epochs" if !asked.schedule.depends_on_total() => continue,
            "epochs" => format!("the schedule {} was spread over {before} epochs", asked.schedule),
            "data" | "layers" | "preset" => {
                return Err(usage(format!(
                    "cannot resume with --{key} {now}: the run in {folder} has {before}; leave it out, or begin a new run"
                )));
            }
            _ => format!("the run in {folder} has {before}, and goes on as it began"),
        };
        return Err(usage(format!(
            "cannot resume with --{key} {now}: {why}; leave it out, or begin a new run from these weights: \
             {program} train --from {folder} --{key} {}",
            in_shell(&now)
        )));
    }
    Ok(())
}

/// A value as a shell takes it for one word.
fn in_shell(value: &str) -> String {
    let is_plain = value.chars().all(|c| c.is_alphanumeric() || "-._,/".contains(c));
    if is_plain { value.to_string() } else { format!("\"{value}\"") }
}

/// Whether two paths lead to one folder or file that is there.
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}
