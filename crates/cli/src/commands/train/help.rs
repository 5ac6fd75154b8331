//! What `--help` of the training commands ends with.

use byhand_models::registry::default_of;

use crate::{exit, recipes, settings::Settings};

/// What `--help` ends with: what a command trains and how if nothing is asked, examples, the run folder, the exit codes.
pub fn help(command: &str) -> String {
    let model = default_of(command)
        .map(|model| format!("Without --preset or --layers it trains {}: {}.\n", model.name, model.layers))
        .unwrap_or_default();
    let any = default_of(command).is_none().then(|| "dense(10)".parse().expect("a constant"));
    let asked = Settings { layers: any, ..Settings::default() };
    let base = recipes::of_network(command, &asked);
    let settled = base.and_then(|base| asked.over(base)?.settle(command)?.shown());
    let defaults = settled.expect("the defaults are settings");
    let shown = defaults.iter().filter(|(key, value)| {
        !["preset", "layers"].contains(&key.as_str()) && !["false", "0.0"].contains(&value.as_str())
    });
    let shown: Vec<String> = shown.map(|(key, value)| format!("--{key} {value}")).collect();
    format!("{model}The other defaults: {}.\n\n{EXAMPLES}\n\n{}", shown.join(", "), exit::HELP)
}

const EXAMPLES: &str = "Examples:
  # good defaults, a good result, in seconds
  byhand train-cnn
  byhand train-cnn --preset lenet --data fashion-mnist --epochs 10
  byhand train --layers \"conv(8,5) relu pool(2) dense(10)\" --optimizer \"sgd(momentum=0.9)\" --lr 0.05
  # a recipe that comes with the program, and a file of the same form
  byhand train --recipe speedrun --seed 3
  byhand train --config recipes/speedrun.toml --epochs 6
  # the same run again, bit for bit
  byhand train --config runs/cnn-mnist-seed0/config.toml
  # go on after Ctrl-C or a crash, with the bits of one long run
  byhand train --resume runs/cnn-mnist-seed0
  # stop when the images set aside for validation are no better recognised for 3 epochs, and keep the best weights
  byhand train-cnn --epochs 50 --validation 5000 --patience 3 --restore-best --schedule \"plateau(patience=2,factor=0.3)\"
  # augmentation, weight decay and a moving average of the weights
  byhand train-cnn --epochs 15 --rotate 10 --scale 0.1 --shift 2 --weight-decay 0.05 --ema 0.999
  # a new run from the weights of an earlier one
  byhand train --from runs/cnn-mnist-seed0 --epochs 2 --lr 3e-4
  # the result alone
  byhand train-mlp --json --quiet | tail -n 1

The run folder (--out, or a fresh runs/<model>-<data>-seed<seed>) holds model.safetensors, config.toml, history.jsonl, \
checkpoints, result.json and report.html, with --validation also best.safetensors. Without MNIST and without a network the \
built-in digits are used, and a line says so.";
