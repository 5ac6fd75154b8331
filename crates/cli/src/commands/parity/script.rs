//! The PyTorch script of a bundle: `train.py` with network, loss and optimiser written out as PyTorch names them.

use std::sync::Arc;

use anyhow::Result;
use byhand_layers::{Branches, Layer, Network};
use byhand_models::Spec;
use byhand_trainer::{Adam, AdamW, Objective, Optimizer, Sgd};

use crate::exit::usage;

/// The script.
pub fn script(network: &Network<f32>, loss: Objective, optimizer: Optimizer, lr: f64) -> Result<String> {
    let mut is_image = !network.input().is_flat();
    let modules = modules(network.layers(), &mut is_image)?;
    let has_branches = network.layers().iter().any(|layer| Branches::of(&**layer).is_some());
    Ok(include_str!("train.py")
        .replace("BRANCHES", if has_branches { include_str!("branches.py") } else { "" })
        .replace("NETWORK", &modules.join(",\n    "))
        .replace("LOSS", &criterion(loss))
        .replace("OPTIMIZER", &optimizer_call(optimizer, lr)))
}

/// Layers as modules, behind images or features; and which of them they give.
fn modules(layers: &[Arc<dyn Layer<f32>>], is_image: &mut bool) -> Result<Vec<String>> {
    let mut modules = Vec::new();
    for layer in layers {
        modules.push(match Branches::of(&**layer) {
            Some(branches) => module_of_branches(branches, is_image)?,
            None => {
                *is_image = *is_image && layer.name() != "flatten";
                module(layer.as_ref(), *is_image)?
            }
        });
    }
    Ok(modules)
}

/// Branches as a module of the script.
fn module_of_branches(branches: &Branches<dyn Layer<f32>>, is_image: &mut bool) -> Result<String> {
    let mut chains = Vec::new();
    let mut is_image_there = *is_image;
    for (_, chain) in branches.chains() {
        is_image_there = *is_image;
        let modules = modules(chain.layers(), &mut is_image_there)?;
        chains.push(match &*modules {
            [] => "nn.Identity()".to_string(),
            modules => format!("nn.Sequential({})", modules.join(", ")),
        });
    }
    *is_image = is_image_there;
    let chains = chains.join(", ");
    Ok(if branches.is_residual() { format!("Residual({chains})") } else { format!("Concat([{chains}])") })
}

/// A layer as a module of `torch.nn`, behind images (even of one pixel) or features.
fn module(layer: &dyn Layer<f32>, is_image: bool) -> Result<String> {
    let spec: Spec = layer.spec().parse()?;
    let arguments = spec.tokens()[0].arguments();
    let pair = |name| {
        let [h, w] = arguments.extent(name);
        format!("({h}, {w})")
    };
    let bias = || if arguments.flag("bias") { "True" } else { "False" };
    Ok(match layer.name() {
        "conv" => format!(
            "nn.Conv2d({}, {}, {}, stride={}, padding={}, bias={})",
            layer.input().c,
            arguments.count("channels"),
            pair("kernel"),
            pair("stride"),
            pair("pad"),
            bias()
        ),
        "pool" => format!("nn.MaxPool2d({}, stride={})", pair("window"), pair("stride")),
        "avgpool" => format!("nn.AvgPool2d({}, stride={})", pair("window"), pair("stride")),
        "dense" => format!(
            "nn.Linear({}, {}, bias={})",
            layer.input().features(),
            arguments.count("outputs"),
            bias()
        ),
        "relu" => "nn.ReLU()".to_string(),
        "leaky_relu" => format!("nn.LeakyReLU({:?})", arguments.fraction("slope")),
        "batchnorm" => {
            let (axes, channels) =
                if is_image { (2, layer.input().c) } else { (1, layer.input().features()) };
            let (eps, momentum) = (arguments.fraction("eps"), arguments.fraction("momentum"));
            format!("nn.BatchNorm{axes}d({channels}, eps={eps:?}, momentum={momentum:?})")
        }
        "globalavgpool" => "nn.AdaptiveAvgPool2d(1)".to_string(),
        "globalmaxpool" => "nn.AdaptiveMaxPool2d(1)".to_string(),
        "gelu" => "nn.GELU(approximate='tanh')".to_string(),
        "silu" => "nn.SiLU()".to_string(),
        "tanh" => "nn.Tanh()".to_string(),
        "sigmoid" => "nn.Sigmoid()".to_string(),
        "linear" => "nn.Identity()".to_string(),
        "flatten" => "nn.Flatten()".to_string(),
        other => {
            return Err(usage(format!(
                "layer {}: expected layers that PyTorch computes alike, found {other}, whose random numbers it draws \
                 in another way; leave it out",
                layer.spec()
            )));
        }
    })
}

/// A loss as PyTorch computes it. Squared error is half the sum over the classes here, a mean without the half there.
fn criterion(loss: Objective) -> String {
    match loss {
        Objective::SoftmaxCrossEntropy { label_smoothing } => {
            format!("nn.CrossEntropyLoss(label_smoothing={label_smoothing:?})")
        }
        Objective::SquaredError => {
            "lambda y, t: (y - nn.functional.one_hot(t, y.shape[1])).square().sum(1).mean() / 2".to_string()
        }
    }
}

/// An optimiser of `torch.optim`; the conventions are the same.
fn optimizer_call(optimizer: Optimizer, lr: f64) -> String {
    let adam = |name: &str, adam: Adam| {
        let Adam { beta1, beta2, eps, weight_decay } = adam;
        format!(
            "torch.optim.{name}(net.parameters(), lr={lr:?}, betas=({beta1:?}, {beta2:?}), eps={eps:?}, \
             weight_decay={weight_decay:?})"
        )
    };
    match optimizer {
        Optimizer::Sgd(Sgd { momentum, nesterov, weight_decay }) => {
            let nesterov = if nesterov { "True" } else { "False" };
            format!(
                "torch.optim.SGD(net.parameters(), lr={lr:?}, momentum={momentum:?}, nesterov={nesterov}, \
                 weight_decay={weight_decay:?})"
            )
        }
        Optimizer::Adam(settings) => adam("Adam", settings),
        Optimizer::AdamW(AdamW(settings)) => adam("AdamW", settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use byhand_layers::Shape;

    fn made(spec: &str, loss: &str, optimizer: &str) -> Result<String> {
        let network = spec.parse::<Spec>().unwrap().build(Shape::new(1, 28, 28)).unwrap();
        script(&network, loss.parse().unwrap(), optimizer.parse().unwrap(), 0.05)
    }

    #[test]
    fn every_layer_has_its_module() {
        let spec = "conv(8,5x3,stride=2x1,pad=1x0,bias=false) relu pool(3,stride=2) avgpool(2) leaky_relu batchnorm \
                    gelu silu tanh linear globalavgpool globalmaxpool \
                    dense(9) sigmoid dense(10,bias=false)";
        let text = made(spec, "softmax-cross-entropy", "sgd").unwrap();
        let expected = "net = nn.Sequential(
    nn.Conv2d(1, 8, (5, 3), stride=(2, 1), padding=(1, 0), bias=False),
    nn.ReLU(),
    nn.MaxPool2d((3, 3), stride=(2, 2)),
    nn.AvgPool2d((2, 2), stride=(2, 2)),
    nn.LeakyReLU(0.01),
    nn.BatchNorm2d(8, eps=1e-5, momentum=0.1),
    nn.GELU(approximate='tanh'),
    nn.SiLU(),
    nn.Tanh(),
    nn.Identity(),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveMaxPool2d(1),
    nn.Flatten(),
    nn.Linear(8, 9, bias=True),
    nn.Sigmoid(),
    nn.Linear(9, 10, bias=False),
)
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn branches_are_modules_of_the_script() {
        let spec = "residual(conv(1,3,pad=1) batchnorm) residual(conv(2,1) | conv(2,3,pad=1)) concat(linear | pool(1)) \
                    concat(globalavgpool | globalavgpool relu) concat(dense(3) batchnorm | dense(2)) dense(10)";
        let text = made(spec, "softmax-cross-entropy", "sgd").unwrap();
        let conv = |inputs: usize, outputs: usize, kernel: usize, pad: usize| {
            format!(
                "nn.Conv2d({inputs}, {outputs}, ({kernel}, {kernel}), stride=(1, 1), padding=({pad}, {pad}), bias=True)"
            )
        };
        for part in [
            format!("Residual(nn.Sequential({}, nn.BatchNorm2d(1, eps=1e-5, momentum=0.1)), nn.Identity()),\n", conv(1, 1, 3, 1)),
            format!("Residual(nn.Sequential({}), nn.Sequential({})),\n", conv(1, 2, 1, 0), conv(1, 2, 3, 1)),
            "Concat([nn.Sequential(nn.Identity()), nn.Sequential(nn.MaxPool2d((1, 1), stride=(1, 1)))]),\n".to_string(),
            "nn.Linear(8, 3, bias=True), nn.BatchNorm1d(3, eps=1e-5, momentum=0.1)), nn.Sequential(nn.Flatten(), ".to_string(),
            "    nn.Linear(5, 10, bias=True),\n".to_string(),
            "class Concat(nn.ModuleList):".to_string(),
        ] {
            assert!(text.contains(&part), "{part} in {text}");
        }
        assert!(!made("dense(10)", "squared-error", "sgd").unwrap().contains("class "));
        let error = made("residual(dropout(0.5)) dense(10)", "squared-error", "sgd").unwrap_err().to_string();
        assert!(error.contains("layer dropout(0.5)"), "{error}");
    }

    #[test]
    fn losses_and_optimizers_are_written_out() {
        let text =
            made("dense(10)", "softmax-cross-entropy(label_smoothing=0.1)", "sgd(momentum=0.9,nesterov)");
        let text = text.unwrap();
        for part in [
            "criterion = nn.CrossEntropyLoss(label_smoothing=0.1)\n",
            "optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.0)\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let text = made("dense(10)", "squared-error", "adamw(beta1=0.8)").unwrap();
        for part in [
            "criterion = lambda y, t: (y -",
            "torch.optim.AdamW(net.parameters(), lr=0.05, betas=(0.8, 0.999), eps=1e-8, weight_decay=0.01)\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        for placeholder in ["NETWORK", "LOSS", "OPTIMIZER", "BRANCHES"] {
            assert!(!text.contains(placeholder), "{text}");
        }
    }

    #[test]
    fn random_layers_are_refused() {
        let error = made("dropout(0.5) dense(10)", "squared-error", "sgd").unwrap_err().to_string();
        assert!(error.contains("layer dropout(0.5)") && error.contains("leave it out"), "{error}");
    }
}
