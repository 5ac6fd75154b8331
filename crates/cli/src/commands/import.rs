//! `byhand import`: a model file from an ONNX file, or from the weights of a PyTorch `nn.Sequential`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use byhand_export::onnx;
use byhand_layers::Shape;
use byhand_models::{Model, Normalize, Preprocessing, Spec, load_weights, spec::MAX_PARAMETERS};
use clap::Args;
use serde_json::json;

use crate::{
    exit::{must_exist, usage, wrong_spec},
    output::Output,
};

/// Options of `import`.
#[derive(Args)]
#[command(
    after_help = "An ONNX file must be made of layers that byhand has (`byhand summary --help` names them), one after the other or in \
    branches that are added or concatenated; its layers, input and weights are read from it. A softmax at its end is left out: predict \
    makes one. A .safetensors file has weights alone, what `safetensors.torch.save_file(net.state_dict(), ...)` writes of \
    an nn.Sequential: --layers says what they belong to.
Pixels are divided by 255 unless --mean and --std say how they were normalised after that, as torchvision's Normalize has them. An ONNX \
    file that byhand wrote knows that itself, and its classes.
Examples:
  byhand import net.onnx net.safetensors --mean 0.1307 --std 0.3081
  byhand import weights.safetensors net.safetensors --layers \"conv(8,5) relu pool(2) dense(10)\"
  byhand evaluate net.safetensors --data mnist"
)]
pub struct Options {
    /// An ONNX file, or a .safetensors file of weights
    file: PathBuf,
    /// The model file to write
    out: PathBuf,
    /// A network of your own, e.g. "conv(8,5) relu pool(2) dense(10)"
    #[arg(long, value_name = "SPEC")]
    layers: Option<Spec>,
    /// What the network reads: channels x height x width
    #[arg(long, value_name = "CxHxW", default_value = "1x28x28", requires = "layers")]
    input: Shape,
    /// What the outputs stand for, separated by commas; without it they are numbered
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    names: Vec<String>,
    /// Subtracted from pixels in [0, 1]
    #[arg(long, requires = "std", allow_negative_numbers = true)]
    mean: Option<f32>,
    /// What they are divided by then
    #[arg(long, requires = "mean")]
    std: Option<f32>,
}

/// Bytes of a file beside its weights.
const MOST_BESIDE: u64 = 16 << 20;

/// Reads, checks, writes.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    must_exist(&options.file, "an ONNX file, or a .safetensors file of weights")?;
    let (spec, input, theta, notes, has_softmax) = match &options.layers {
        Some(spec) => {
            let network = spec.build::<f32>(options.input).map_err(|error| wrong_spec(&error, &error))?;
            (spec.clone(), options.input, load_weights(&options.file, &network)?, Default::default(), false)
        }
        None => {
            let bytes = read(&options.file)?;
            if bytes.get(8) == Some(&b'{') {
                return Err(usage(format!(
                    "{}: weights alone do not say what network they belong to; expected --layers with them",
                    options.file.display()
                )));
            }
            let onnx::Imported { spec, input, theta, notes, has_softmax } =
                onnx::read(&bytes, &options.file.display().to_string())?;
            (spec, input, theta, notes, has_softmax)
        }
    };
    let classes = spec.build::<f32>(input)?.classes();
    let class_names = match (&options.names[..], notes.get("byhand.classes")) {
        ([], Some(names)) => names.lines().map(String::from).collect(),
        ([], None) => (0..classes).map(|class| class.to_string()).collect(),
        (names, _) => names.to_vec(),
    };
    if class_names.len() != classes {
        return Err(usage(format!("--names: expected {classes} names, found {}", class_names.len())));
    }
    let number = |key: &str| notes.get(key).and_then(|text| text.parse::<f32>().ok());
    let normalize = match (options.mean, options.std) {
        (Some(mean), Some(std)) if mean.is_finite() && std.is_finite() && std > 0.0 => {
            Normalize::mean_std(mean, std)
        }
        (Some(mean), Some(std)) => {
            return Err(usage(format!(
                "--mean {mean} --std {std}: expected finite numbers, and a deviation above 0"
            )));
        }
        _ => match (number("byhand.scale"), number("byhand.shift")) {
            (Some(scale), Some(shift)) => Normalize { scale, shift },
            _ => Normalize::unit(),
        },
    };
    let model = Model {
        spec,
        input,
        class_names,
        preprocessing: Preprocessing::from(normalize),
        notes: [("imported".to_string(), options.file.display().to_string())].into(),
        theta,
    };
    let network = model.network()?;
    model.save(&options.out)?;
    output.print(format!(
        "{}: {} on {}, {} parameters",
        options.out.display(),
        model.spec,
        model.input,
        network.parameters()
    ));
    if has_softmax {
        output
            .print("the softmax at its end is left out: predict makes probabilities of what comes before it");
    }
    output.result(json!({
        "out": options.out.to_string_lossy(),
        "layers": model.spec.to_string(),
        "input": model.input.to_string(),
        "parameters": network.parameters(),
        "has_softmax": has_softmax,
        "weights_sha256": model.weights_sha256(),
    }));
    Ok(())
}

/// A whole file, no larger than the largest network.
fn read(path: &Path) -> Result<Vec<u8>> {
    let cannot_read = || format!("cannot read {}", path.display());
    let most = 4 * MAX_PARAMETERS as u64 + MOST_BESIDE;
    let mut bytes = Vec::new();
    File::open(path)
        .with_context(cannot_read)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .with_context(cannot_read)?;
    if bytes.len() as u64 > most {
        return Err(usage(format!(
            "{}: expected a file of at most {most} bytes, found a longer one",
            path.display()
        )));
    }
    Ok(bytes)
}
