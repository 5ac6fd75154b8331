//! What each layer costs.

use maud::{Markup, html};

use super::bytes;
use crate::{
    page::numbers,
    run::{Run, Timing},
};

pub(super) fn times(run: &Run<'_>) -> Markup {
    let Timing { layers, batch_size, peak_gflops } = run.timing;
    let sum: f64 = layers.iter().map(|layer| layer.seconds()).sum();
    html! {
        p.note {
            "A minibatch of " (batch_size) " images on one thread, in microseconds, measured when this page was written. Layers that a "
            "training step runs in one pass are one line. Percent are of this machine's " (format!("{peak_gflops:.0}"))
            " GFLOP/s of multiply-adds. The step also fetches the images, computes the loss and moves the weights."
        }
        div.wide {
            table.stack {
                tr {
                    th { "layer" } th { "output" }
                    @for head in NUMBERS { th.n { (head) } }
                }
                @for layer in layers {
                    @let product = (layer.forward_flops > 0).then(|| layer.gflops());
                    tr {
                        td { code { (layer.spec) } }
                        td data-head="output" { (layer.output) }
                        (numbers(NUMBERS, [
                            us(layer.forward),
                            us(layer.backward),
                            format!("{:.0} %", 100.0 * layer.seconds() / sum.max(f64::MIN_POSITIVE)),
                            product.map_or("-".into(), |gflops| format!("{gflops:.1}")),
                            product.map_or("-".into(), |gflops| format!("{:.0} %", 100.0 * gflops / peak_gflops)),
                            bytes(layer.parameter_bytes),
                            bytes(layer.activation_bytes),
                        ]))
                    }
                }
                tr {
                    th { "all" } td {}
                    (numbers(NUMBERS, [
                        us(layers.iter().map(|layer| layer.forward).sum()),
                        us(layers.iter().map(|layer| layer.backward).sum()),
                        "100 %".into(),
                        String::new(),
                        String::new(),
                        bytes(layers.iter().map(|layer| layer.parameter_bytes).sum()),
                        bytes(layers.iter().map(|layer| layer.activation_bytes).sum()),
                    ]))
                }
            }
        }
    }
}

/// What is said of each layer in numbers.
const NUMBERS: [&str; 7] =
    ["forward", "backward", "share", "GFLOP/s", "of peak", "parameters", "activations"];

fn us(seconds: f64) -> String {
    format!("{:.1}", 1e6 * seconds)
}
