//! `byhand summary`: a network's layers, shapes, parameters and floating-point operations.

use std::path::Path;

use anyhow::Result;
use byhand_layers::{Network, Shape};
use byhand_models::{MODELS, Spec, find};
use clap::Args;
use serde_json::json;

use crate::{exit::usage, loading::load_model, output::Output};

/// Options of `summary`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand summary                                       the named models
  byhand summary lenet
  byhand summary runs/cnn-mnist-seed0
  byhand summary --layers \"conv(8,3) pool(2) dense(10)\" --input 1x28x28")]
pub struct Options {
    /// A named model, a run folder or a .safetensors file; nothing lists the named models
    model: Option<String>,
    /// A network of your own
    #[arg(long, value_name = "SPEC", conflicts_with = "model")]
    layers: Option<Spec>,
    /// What --layers reads: channels x height x width
    #[arg(long, value_name = "CxHxW", default_value = "1x28x28")]
    input: Shape,
}

/// Prints the summary.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let network = match (&options.model, &options.layers) {
        (None, None) => return list(output),
        (_, Some(spec)) => spec.build(options.input).map_err(usage)?,
        (Some(model), None) if Path::new(model).exists() => load_model(Path::new(model))?.network()?,
        (Some(model), None) => find(model)
            .map_err(|unknown| usage(format!("{unknown}; '{model}' is no run folder or model file either")))?
            .network(),
    };
    print(&network, output);
    Ok(())
}

fn print(network: &Network<f32>, output: &Output) {
    let summary = network.summary();
    output.print(&summary);
    for row in &summary.rows {
        output.event(
            "layer",
            json!({"index": row.index, "layer": row.spec, "output": row.output.to_string(), "parameters": row.params,
                "flops": row.flops}),
        );
    }
    output.result(json!({"input": summary.input.to_string(), "classes": network.classes(),
        "parameters": summary.params, "flops_per_step_and_image": summary.flops}));
}

fn list(output: &Output) -> Result<()> {
    output.print(format!("{:10} {:>8} {:>10}  layers", "model", "input", "parameters"));
    for model in MODELS {
        let parameters = model.network::<f32>().param_len();
        let input = model.input;
        output.print(format!(
            "{:10} {:>8} {:>10}  {}",
            model.name,
            input.to_string(),
            parameters,
            model.layers
        ));
        output.print(format!("{:30}  {}", "", model.about));
        output.event(
            "model",
            json!({"name": model.name, "about": model.about, "layers": model.layers, "input": input.to_string(),
                "classes": model.classes(), "parameters": parameters}),
        );
    }
    output.result(json!({"models": MODELS.len()}));
    Ok(())
}
