//! The PyTorch script of a bundle: `train.py` with network, loss and optimiser written out as PyTorch names them.

use std::sync::Arc;

use anyhow::Result;
use byhand_layers::{Branches, Layer, Network};
use byhand_models::{Spec, kinds::Arguments};
use byhand_trainer::{Adam, AdamW, Objective, Optimizer, Sgd};

use crate::exit::usage;

/// The script.
pub fn script(network: &Network<f32>, loss: Objective, optimizer: Optimizer, lr: f64) -> Result<String> {
    if let Some(row) = network.summary().rows.iter().find(|row| row.spec.starts_with("dropout")) {
        return Err(usage(format!(
            "layer {}: expected layers that PyTorch computes alike, found dropout, whose random numbers it draws in another way; leave it \
             out",
            row.spec
        )));
    }
    Ok(written(network, include_str!("train.py"))?
        .replace("LOSS", &criterion(loss))
        .replace("OPTIMIZER", &optimizer_call(optimizer, lr)))
}

/// A script with the network's modules in the place of `NETWORK`, and in those of `BRANCHES` and `PADDED` the classes that they need.
pub fn written(network: &Network<f32>, script: &str) -> Result<String> {
    let mut is_image = !network.input().is_flat();
    let modules = modules(network.layers(), &mut is_image)?;
    let has_branches = network.layers().iter().any(|layer| Branches::of(&**layer).is_some());
    let is_padded = modules.iter().any(|module| module.contains("Padded"));
    Ok(script
        .replace("BRANCHES", if has_branches { include_str!("branches.py") } else { "" })
        .replace("PADDED", if is_padded { include_str!("padded.py") } else { "" })
        .replace("NETWORK", &modules.join(",\n    ")))
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
    let truth = |value| if value { "True" } else { "False" };
    let bias = || truth(arguments.flag("bias"));
    Ok(match layer.name() {
        "conv" => {
            let Around { sides, both, .. } = Around::new(layer, &arguments, "kernel");
            let (name, padding) = match both {
                Some((rows, columns)) => ("nn.Conv2d", format!("padding=({rows}, {columns})")),
                None => ("PaddedConv2d", format!("sides={sides}")),
            };
            let (mut more, groups) = (String::new(), arguments.count("groups"));
            if arguments.extent("dilation") != [1, 1] {
                more += &format!(", dilation={}", pair("dilation"));
            }
            if groups != 1 {
                more += &format!(", groups={groups}");
            }
            format!(
                "{name}({}, {}, {}, stride={}, {padding}{more}, bias={})",
                layer.input().c,
                arguments.count("channels"),
                pair("kernel"),
                pair("stride"),
                bias()
            )
        }
        "pool" | "avgpool" => {
            let is_max = layer.name() == "pool";
            let around = Around::new(layer, &arguments, "window");
            let name = if is_max { "MaxPool2d" } else { "AvgPool2d" };
            let windows = format!("{}, stride={}", pair("window"), pair("stride"));
            let is_plain = around.is_narrow && (is_max || arguments.extent("dilation") == [1, 1]);
            if let (true, Some((rows, columns))) = (is_plain, around.both) {
                let mut more = String::new();
                if (rows, columns) != (0, 0) {
                    more += &format!(", padding=({rows}, {columns})");
                }
                if arguments.extent("dilation") != [1, 1] {
                    more += &format!(", dilation={}", pair("dilation"));
                }
                if arguments.flag("ceil") {
                    more += ", ceil_mode=True";
                }
                if !is_max && !arguments.flag("count_pad") {
                    more += ", count_include_pad=False";
                }
                format!("nn.{name}({windows}{more})")
            } else {
                let Around { sides, seen, .. } = around;
                let dilation = pair("dilation");
                let counted = if is_max { "" } else { truth(arguments.flag("count_pad")) };
                let more =
                    if is_max { String::new() } else { format!(", sides={sides}, count_pad={counted}") };
                format!("Padded{name}({windows}, dilation={dilation}, seen={seen}{more})")
            }
        }
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
        "gelu" if arguments.flag("exact") => "nn.GELU()".to_string(),
        "gelu" => "nn.GELU(approximate='tanh')".to_string(),
        "silu" => "nn.SiLU()".to_string(),
        "tanh" => "nn.Tanh()".to_string(),
        "sigmoid" => "nn.Sigmoid()".to_string(),
        "linear" => "nn.Identity()".to_string(),
        "log_softmax" => "nn.LogSoftmax(1)".to_string(),
        "flatten" => "nn.Flatten()".to_string(),
        "dropout" => format!("nn.Dropout({:?})", arguments.fraction("p")),
        other => {
            return Err(usage(format!(
                "layer {}: expected a layer of torch.nn, found {other}",
                layer.spec()
            )));
        }
    })
}

/// What lies around an image, as PyTorch writes it.
struct Around {
    /// Left, right, above and below.
    sides: String,
    /// Above and left, if that is as much as below and right.
    both: Option<(usize, usize)>,
    /// The same sides, those behind the image so long that its last windows fit exactly.
    seen: String,
    /// No side is longer than half of a window.
    is_narrow: bool,
}

impl Around {
    fn new(layer: &dyn Layer<f32>, arguments: &Arguments<'_>, window: &str) -> Self {
        let (taps, stride) = (arguments.extent(window), arguments.extent("stride"));
        let (dilation, image, out) = (arguments.extent("dilation"), layer.input(), layer.output());
        let [top, left, bottom, right] = arguments.padding("pad").around(image, taps, stride, dilation);
        let reach = [0, 1].map(|axis| dilation[axis] * (taps[axis] - 1) + 1);
        let behind = |axis: usize, count: usize, size: usize, before: usize| {
            ((count - 1) * stride[axis] + reach[axis]) as i64 - (size + before) as i64
        };
        let below = behind(0, out.h, image.h, top);
        let beside = behind(1, out.w, image.w, left);
        Self {
            sides: format!("({left}, {right}, {top}, {bottom})"),
            both: ((top, left) == (bottom, right)).then_some((top, left)),
            seen: format!("({left}, {beside}, {top}, {below})"),
            is_narrow: top.max(bottom) <= taps[0] / 2 && left.max(right) <= taps[1] / 2,
        }
    }
}

/// A loss as PyTorch computes it. Squared error is half the sum over the classes here, a mean without the half there.
fn criterion(loss: Objective) -> String {
    match loss {
        Objective::SoftmaxCrossEntropy { label_smoothing } => {
            format!("nn.CrossEntropyLoss(label_smoothing={label_smoothing:?})")
        }
        Objective::NegativeLogLikelihood => "nn.NLLLoss()".to_string(),
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
                    gelu gelu(exact=true) silu tanh linear globalavgpool globalmaxpool \
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
    nn.GELU(),
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
    fn what_pytorch_has_no_module_for_is_written_out() {
        let spec = "conv(8,3,pad=1x0x2x1,groups=1) pool(3,stride=2,pad=1,ceil=true) avgpool(3,stride=1,pad=1,count_pad=false) \
                    conv(8,3,stride=1x2,pad=same,dilation=2,groups=4) pool(2,stride=1,pad=same) avgpool(2,pad=1,stride=3,ceil=true,dilation=2) \
                    dense(10)";
        let text = made(spec, "softmax-cross-entropy", "sgd").unwrap();
        let expected = "net = nn.Sequential(
    PaddedConv2d(1, 8, (3, 3), stride=(1, 1), sides=(0, 1, 1, 2), bias=True),
    nn.MaxPool2d((3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True),
    nn.AvgPool2d((3, 3), stride=(1, 1), padding=(1, 1), count_include_pad=False),
    PaddedConv2d(8, 8, (3, 3), stride=(1, 2), sides=(1, 2, 2, 2), dilation=(2, 2), groups=4, bias=True),
    PaddedMaxPool2d((2, 2), stride=(1, 1), dilation=(1, 1), seen=(0, 1, 0, 1)),
    PaddedAvgPool2d((2, 2), stride=(3, 3), dilation=(2, 2), seen=(1, 1, 1, 2), sides=(1, 1, 1, 1), count_pad=True),
    nn.Flatten(),
";
        assert!(text.contains(expected) && text.contains("class PaddedConv2d"), "{text}");
        assert!(!text.contains("PADDED"), "{text}");
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
        let text = made("dense(10) log_softmax", "negative-log-likelihood", "sgd").unwrap();
        assert!(text.contains("nn.LogSoftmax(1),") && text.contains("criterion = nn.NLLLoss()\n"), "{text}");
        let text = made("dense(10)", "squared-error", "adamw(beta1=0.8)").unwrap();
        for part in [
            "criterion = lambda y, t: (y -",
            "torch.optim.AdamW(net.parameters(), lr=0.05, betas=(0.8, 0.999), eps=1e-8, weight_decay=0.01)\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        for placeholder in ["NETWORK", "LOSS", "OPTIMIZER", "BRANCHES", "PADDED", "Padded"] {
            assert!(!text.contains(placeholder), "{text}");
        }
    }

    #[test]
    fn random_layers_are_refused() {
        let error = made("dropout(0.5) dense(10)", "squared-error", "sgd").unwrap_err().to_string();
        assert!(error.contains("layer dropout(0.5)") && error.contains("leave it out"), "{error}");
    }
}
