//! What each layer costs.

use maud::{Markup, html};

use super::bytes;
use crate::{
    run::{Run, Timing},
    statistics::grouped,
};

pub(super) fn times(run: &Run<'_>) -> Markup {
    let Timing { layers, batch_size, peak_gflops } = run.timing;
    let sum: f64 = layers.iter().map(|layer| layer.seconds()).sum();
    html! {
        p.note {
            "A minibatch of " (batch_size) " images on one thread, each layer by itself, in microseconds, measured when this page was written. "
            "Percent are of this machine's " (format!("{peak_gflops:.0}")) " GFLOP/s of multiply-adds. A training step takes less than the "
            "sum: it runs chains of layers in one pass, on several threads."
        }
        div.wide {
            table {
                tr {
                    th { "layer" } th { "output" } th.n { "forward" } th.n { "backward" } th.n { "share" } th.n { "GFLOP/s" } th.n { "of peak" }
                    th.n { "parameters" } th.n { "activations" }
                }
                @for layer in layers {
                    tr {
                        td { code { (layer.spec) } }
                        td { (layer.output) }
                        td.n { (format!("{:.1}", 1e6 * layer.forward)) }
                        td.n { (format!("{:.1}", 1e6 * layer.backward)) }
                        td.n { (format!("{:.0} %", 100.0 * layer.seconds() / sum.max(f64::MIN_POSITIVE))) }
                        @if layer.forward_flops > 0 {
                            td.n { (format!("{:.1}", layer.gflops())) }
                            td.n { (format!("{:.0} %", 100.0 * layer.gflops() / peak_gflops)) }
                        } @else { td.n { "-" } td.n { "-" } }
                        td.n { (bytes(layer.parameter_bytes)) }
                        td.n { (bytes(layer.activation_bytes)) }
                    }
                }
                tr {
                    th { "all" } th {}
                    th.n { (format!("{:.1}", 1e6 * layers.iter().map(|layer| layer.forward).sum::<f64>())) }
                    th.n { (format!("{:.1}", 1e6 * layers.iter().map(|layer| layer.backward).sum::<f64>())) }
                    th.n { "100 %" } th {} th {}
                    th.n { (grouped(layers.iter().map(|layer| layer.parameter_bytes).sum::<usize>() / 4)) " numbers" }
                    th.n { (bytes(layers.iter().map(|layer| layer.activation_bytes).sum())) }
                }
            }
        }
    }
}
