//! A model in floats, with the sums of our own kernels on single samples, and so their bits.

use byhand_models::Model;

use super::plan::{Place, Plan, is_elementwise};
use super::program::{Argument, Call, Numbers, Pictures, Program, identifier, whole};
use crate::ExportError;
use crate::graph::{Graph, Node, Op};

/// A model as calls of kernels.
pub(super) fn program(model: &Model, pictures: Option<Pictures>) -> Result<Program, ExportError> {
    let network = model.network()?;
    let graph = Graph::new(model, &network)?;
    let scratch = |node: &Node<'_>| match node.op {
        Op::Conv { winograd: true, groups, .. } => PLACES * (node.from.c + node.to.c) / groups,
        _ => 0,
    };
    let plan = Plan::new(&graph, false, scratch);
    let mut program = Program {
        arrays: Vec::new(),
        calls: Vec::new(),
        inputs: graph.input.features(),
        outputs: network.classes(),
        memory: plan.memory,
        is_int8: false,
        pictures,
        classes: model.class_names.clone(),
    };
    for step in &plan.steps {
        let (node, to) = (step.node, (step.to, step.node.to.features()));
        let layer = node.source.spec();
        match node.op {
            // What is added to or put behind another value is first where the sum or the whole will be.
            Op::Add => {
                if step.from[0] != step.to {
                    program.copy(&layer, (step.from[0], to.1), to);
                }
                program.add(&layer, (step.from[1], to.1), to, "add", Vec::new());
            }
            Op::Concat => {
                let mut start = 0;
                for (&from, &value) in step.from.iter().zip(&node.inputs) {
                    let len = graph.shape(value).features();
                    program.copy(&layer, (from, len), (step.to.after(start), len));
                    start += len;
                }
            }
            _ => {
                let (kernel, first, constants) = kernel(&mut program, node);
                let (from, scratch) = ((step.from[0], node.from.features()), step.scratch);
                let is_elementwise = is_elementwise(&node.op);
                program.calls.push(Call {
                    kernel,
                    layer,
                    first,
                    from,
                    constants,
                    to,
                    scratch,
                    is_elementwise,
                });
            }
        }
    }
    if plan.output == Place::Input {
        let len = program.outputs;
        program.copy("linear", (Place::Input, len), (Place::Output(0), len));
    }
    Ok(program)
}

/// The kernel of a node, its sizes and numbers, and its constants.
fn kernel(program: &mut Program, node: &Node<'_>) -> (&'static str, Vec<Argument>, Vec<Argument>) {
    let Node { layer, from, to, .. } = node;
    let [w_name, b_name, g_name] =
        ["weight", "bias", "window"].map(|name| format!("{name}_{}", identifier(layer)));
    let each = |kernel| (kernel, vec![Argument::Length(to.features())], Vec::new());
    match &node.op {
        Op::Conv { window, w, b, winograd, groups } => {
            let (kernel, w) = if *winograd {
                ("convolve_3x3", transformed(w, from.c / groups, to.c / groups))
            } else {
                ("convolve", w.to_vec())
            };
            let sizes = program.sizes(g_name, node, *window);
            let constants = vec![floats(program, w_name, Some(&w)), floats(program, b_name, *b)];
            (kernel, vec![sizes], constants)
        }
        Op::Dense { w, b } => {
            let sizes = [from.features(), to.features()].map(Argument::Length).to_vec();
            ("dense", sizes, vec![floats(program, w_name, Some(w)), floats(program, b_name, *b)])
        }
        Op::MaxPool(window) => ("max_pool", vec![program.sizes(g_name, node, *window)], Vec::new()),
        Op::AvgPool(window) => ("average_pool", vec![program.sizes(g_name, node, *window)], Vec::new()),
        Op::GlobalMaxPool => ("max_pool", vec![program.sizes(g_name, node, whole(node))], Vec::new()),
        Op::GlobalAvgPool => ("average_pool", vec![program.sizes(g_name, node, whole(node))], Vec::new()),
        Op::BatchNorm { weight, bias, mean, variance, eps } => {
            let moments = (0..mean.len()).map(|c| {
                let r = 1.0 / (variance[c] + *eps as f32).sqrt();
                [mean[c], weight[c] * r, bias[c]]
            });
            let numbers = Numbers::Moments(moments.collect());
            let moments = program.array(format!("moments_{}", identifier(layer)), numbers);
            let lengths = [mean.len(), to.features() / mean.len()].map(Argument::Length).to_vec();
            ("normalise", [lengths, vec![moments]].concat(), Vec::new())
        }
        Op::LeakyRelu { slope } => {
            ("leaky_relu", vec![Argument::Length(to.features()), Argument::Float(*slope as f32)], Vec::new())
        }
        Op::Relu => each("relu"),
        Op::Gelu { exact } => each(if *exact { "exact_gelu" } else { "gelu" }),
        Op::Silu => each("silu"),
        Op::LogSoftmax => each("log_softmax"),
        Op::Tanh => each("hyperbolic_tangent"),
        Op::Sigmoid => each("sigmoid"),
        Op::Flatten | Op::Add | Op::Concat => unreachable!("they have no kernel of their own"),
    }
}

fn floats(program: &mut Program, name: String, numbers: Option<&[f32]>) -> Argument {
    match numbers {
        Some(numbers) => program.array(name, Numbers::Float(numbers.to_vec())),
        None => Argument::None,
    }
}

/// Places of a tile of Winograd's filtering.
const PLACES: usize = 16;

/// The kernels `[group][c_out][c_in][3][3]` as Winograd's filtering multiplies with them, `U = G g G^T`, as `[group][16][c_in][c_out]`: the
/// numbers that the kernels of `byhand-tensor` make of them, to the bit.
fn transformed(w: &[f32], c_in: usize, c_out: usize) -> Vec<f32> {
    let taps = |[g0, g1, g2]: [f32; 3]| {
        let outer = g0 + g2;
        [g0, (outer + g1) * 0.5, (outer - g1) * 0.5, g2]
    };
    let mut u = vec![0.0; w.len() / 9 * PLACES];
    for (at, g) in w.chunks_exact(9).enumerate() {
        let (group, o, c) = (at / (c_in * c_out), at / c_in % c_out, at % c_in);
        let columns = [0, 1, 2].map(|k| taps([g[k], g[3 + k], g[6 + k]]));
        for r in 0..4 {
            for (k, number) in taps([columns[0][r], columns[1][r], columns[2][r]]).into_iter().enumerate() {
                u[((group * PLACES + 4 * r + k) * c_in + c) * c_out + o] = number;
            }
        }
    }
    u
}
