//! `byhand summary`: a network's layers, shapes, parameters and floating-point operations.

use std::path::Path;

use anyhow::Result;
use byhand_layers::{Network, Shape};
use byhand_models::{MODELS, Spec, find};
use byhand_trainer::Plan;
use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use crate::{
    exit::{usage, wrong_spec},
    loading::load_model,
    output::Output,
};

/// Options of `summary`.
#[derive(Args)]
#[command(after_help = "Examples:
  # the named models
  byhand summary
  byhand summary lenet
  # what a training step does with 32 images
  byhand summary mlp --plan --batch-size 32
  byhand summary runs/cnn-mnist-seed0
  byhand summary --layers \"conv(8,3) pool(2) dense(10)\" --input 1x28x28")]
pub struct Options {
    /// A named model, a run folder or a .safetensors file; nothing lists the named models
    model: Option<String>,
    /// A network of your own, e.g. "conv(8,5) relu pool(2) dense(10)"
    #[arg(long, value_name = "SPEC", conflicts_with = "model")]
    layers: Option<Spec>,
    /// What the network reads: channels x height x width
    #[arg(long, value_name = "CxHxW", default_value = "1x28x28")]
    input: Shape,
    /// Also say what a training step does with a minibatch
    #[arg(long)]
    plan: bool,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 32, requires = "plan", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
}

/// Prints the summary.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let network: Network<f32> = match (&options.model, &options.layers) {
        (None, None) if options.plan => {
            return Err(usage("--plan is that of a network: name a model, or give --layers SPEC"));
        }
        (None, None) => return list(output),
        (_, Some(spec)) => spec.build(options.input).map_err(|error| wrong_spec(&error, &error))?,
        (Some(model), None) if Path::new(model).exists() => load_model(Path::new(model))?.network()?,
        (Some(model), None) => find(model)
            .map_err(|unknown| usage(format!("{unknown}; '{model}' is no run folder or model file either")))?
            .network(),
    };
    let plan = options.plan.then(|| Plan::new(&network, options.batch_size as usize));
    print(&network, plan.as_ref(), output);
    Ok(())
}

fn print(network: &Network<f32>, plan: Option<&Plan>, output: &Output) {
    let summary = network.summary();
    let input = ["", "input", &summary.input.to_string(), "", ""].map(String::from);
    let layers = summary.rows.iter().map(|row| {
        [
            row.name.clone(),
            row.spec.clone(),
            row.output.to_string(),
            row.params.to_string(),
            row.flops.to_string(),
        ]
    });
    let [shape, params, flops] = ["output", "parameters", "FLOPs"].map(|head| (head, Right));
    output.table([("", Right), ("layer", Left), shape, params, flops], [input].into_iter().chain(layers));
    output
        .print(format!("{} parameters, {} FLOPs a sample in a training step", summary.params, summary.flops));
    for row in &summary.rows {
        output.event(
            "layer",
            json!({"index": row.index, "name": row.name, "layer": row.spec, "output": row.output.to_string(), "parameters": row.params,
                "flops": row.flops}),
        );
    }
    let mut result = json!({"input": summary.input.to_string(), "classes": network.classes(),
        "parameters": summary.params, "flops_per_step_and_image": summary.flops});
    if let Some(plan) = plan {
        output.print(format!("a step of {}: {plan}", plan.batch_size()));
        result["batch_size"] = plan.batch_size().into();
        result["plan"] = plan.to_string().into();
    }
    output.result(result);
}

fn list(output: &Output) -> Result<()> {
    let mut rows = Vec::new();
    for model in MODELS {
        let (parameters, input) = (model.network::<f32>().parameters(), model.input.to_string());
        rows.push([model.name.to_string(), input.clone(), parameters.to_string(), model.layers.to_string()]);
        rows.push(["", "", "", model.about].map(String::from));
        output.event(
            "model",
            json!({"name": model.name, "about": model.about, "layers": model.layers, "input": input,
                "classes": model.classes(), "parameters": parameters}),
        );
    }
    output.table([("model", Left), ("input", Right), ("parameters", Right), ("layers", Left)], rows);
    output.result(json!({"models": MODELS.len()}));
    Ok(())
}
