//! `byhand summary`: a network's layers, shapes, parameters and floating-point operations.

use std::{path::Path, time::Duration};

use anyhow::Result;
use byhand_layers::{
    Network, Shape,
    init::{Init, init_network},
};
use byhand_models::{MODELS, Spec, find};
use byhand_trainer::{Plan, StepConfig, layer_times, peak::peak_gflops};
use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use serde_json::{Value, json};

use super::throughput;
use crate::{
    exit::{usage, wrong_spec},
    loading::load_model,
    memory,
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
  # microseconds per layer, forward and backward
  byhand summary cnn --time --batch-size 64
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
    #[arg(long, group = "step")]
    plan: bool,
    /// Also measure each layer on this machine, forward and backward, on one thread; layers that run as one together
    #[arg(long, group = "step")]
    time: bool,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 32, requires = "step", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
}

/// Prints the summary.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let initial = |network: Network<f32>| {
        let theta = init_network(&network, Init::HeNormal, 0);
        (network, theta)
    };
    let (network, theta): (Network<f32>, Vec<f32>) = match (&options.model, &options.layers) {
        (None, None) if options.plan || options.time => {
            return Err(usage(
                "--plan and --time are those of a network: name a model, or give --layers SPEC",
            ));
        }
        (None, None) => return list(output),
        (_, Some(spec)) => initial(spec.build(options.input).map_err(|error| wrong_spec(&error, &error))?),
        (Some(model), None) if Path::new(model).exists() => {
            let model = load_model(Path::new(model))?;
            (model.network()?, model.theta)
        }
        (Some(model), None) => initial(
            find(model)
                .map_err(|unknown| {
                    let layers = if model.parse::<Spec>().is_ok() {
                        "; a network of your own goes behind --layers"
                    } else {
                        ""
                    };
                    usage(format!("{unknown}; '{model}' is no run folder or model file either{layers}"))
                })?
                .network(),
        ),
    };
    let batch_size = options.batch_size as usize;
    let plan = options.plan.then(|| Plan::new(&network, batch_size));
    let mut result = print(&network, plan.as_ref(), output);
    if options.time {
        time(&network, theta, batch_size, &mut result, output)?;
    }
    output.result(result);
    Ok(())
}

/// Measures the layers as a step runs them, and the step itself.
fn time(
    network: &Network<f32>,
    theta: Vec<f32>,
    batch_size: usize,
    result: &mut Value,
    output: &Output,
) -> Result<()> {
    const LENGTH: Duration = Duration::from_millis(500);
    let config = StepConfig { batch_size, threads: 1, ..StepConfig::default() };
    memory::check_training(network, &config, |_| 0, "batch-size")?;
    let before = peak_gflops(1);
    let layers = layer_times(network, &theta, batch_size, LENGTH);
    let step = throughput::time(network, theta, config, LENGTH)?.times;
    let step = step[step.len() / 2].as_secs_f64();
    let peak = before.max(peak_gflops(1));
    let sum: f64 = layers.iter().map(|layer| layer.seconds()).sum();
    let us = |seconds: f64| format!("{:.1}", 1e6 * seconds);
    let rows = layers.iter().map(|layer| {
        let has_flops = layer.forward_flops > 0;
        let (gflops, share) = (layer.gflops(), layer.seconds() / sum);
        output.event(
            "layer_time",
            json!({"name": layer.name, "layer": layer.spec, "forward_us": 1e6 * layer.forward, "backward_us": 1e6 * layer.backward,
                "share": share, "gflops": has_flops.then_some(gflops), "percent_of_peak": has_flops.then(|| 100.0 * gflops / peak),
                "parameter_bytes": layer.parameter_bytes, "activation_bytes": layer.activation_bytes}),
        );
        let of_product = |text: String| if has_flops { text } else { "-".into() };
        [
            layer.name.clone(),
            layer.spec.clone(),
            us(layer.forward),
            us(layer.backward),
            format!("{:.0} %", 100.0 * share),
            of_product(format!("{gflops:.1}")),
            of_product(format!("{:.0} %", 100.0 * gflops / peak)),
            format!("{:.1}", layer.parameter_bytes as f64 / 1024.0),
            format!("{:.1}", layer.activation_bytes as f64 / 1024.0),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let columns = [
        ("", Right),
        ("layer", Left),
        ("forward us", Right),
        ("backward us", Right),
        ("share", Right),
        ("GFLOP/s", Right),
        ("of peak", Right),
        ("weights KiB", Right),
        ("activations KiB", Right),
    ];
    output.print(format!(
        "\n{batch_size} images, one thread, layers that run as one in one line; the peak is {peak:.0} GFLOP/s:"
    ));
    output.table(columns, rows);
    output.print(format!(
        "sum {} us; a step takes {} us, with the images, the loss and the update of the weights",
        us(sum),
        us(step)
    ));
    result["batch_size"] = batch_size.into();
    result["layers_us"] = (1e6 * sum).into();
    result["step_us"] = (1e6 * step).into();
    result["peak_gflops"] = peak.into();
    Ok(())
}

/// Prints the table of layers; what the result has of it is given back.
fn print(network: &Network<f32>, plan: Option<&Plan>, output: &Output) -> Value {
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
    result
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
