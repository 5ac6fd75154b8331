//! Every kernel at the shapes of the networks: convolution, dense, pooling, activations, softmax; each pass by itself.

use byhand_benches::{Case, FlopRate, Stopwatch, Work, bench, criterion, networks, random};
use byhand_layers::{Layer, Network, Pass, Saved};
use byhand_models::Spec;
use byhand_tensor::{
    Block, Buffer, Conv2d, ConvPool2d, Dense, Input, Pool2d, RowView, Tiles, activation, softmax,
};
use criterion::Criterion;
use std::hint::black_box;
use std::sync::Arc;

const BATCHES: [usize; 5] = [1, 4, 8, 16, 64];

fn main() {
    let criterion = &mut criterion();
    let networks: Vec<_> = networks::all().into_iter().map(|(_, network)| network).collect();
    convolutions(criterion, &networks);
    chains(criterion, &networks);
    denses(criterion, &networks);
    pools(criterion, &networks);
    windows(criterion);
    activations(criterion);
    softmaxes(criterion);
    criterion.final_summary();
}

/// As a layer computes them; and directly, where single samples are computed by Winograd's filtering. Both count the
/// operations of the formula.
fn convolutions(criterion: &mut Criterion<FlopRate>, networks: &[Network<f32>]) {
    let twins = |shape: Shape<Conv2d>| {
        let direct = Shape { kernel: shape.kernel.direct(), needs_dx: shape.needs_dx };
        [Some(("", shape)), shape.kernel.is_winograd().then_some(("-direct", direct))]
    };
    let shapes = shapes(networks, "conv", conv_of).into_iter().flat_map(twins).flatten();
    for (twin, Shape { kernel: conv, needs_dx }) in shapes {
        let (c_in, h_in, w_in, c_out) = (conv.c_in(), conv.h_in(), conv.w_in(), conv.c_out());
        let ([kh, kw], pad) = (conv.kernel(), conv.pad());
        let padded = if pad == [0, 0] { String::new() } else { format!("p{}x{}", pad[0], pad[1]) };
        let subject = format!("{c_in}x{h_in}x{w_in}-{c_out}x{kh}x{kw}{padded}{twin}");
        let blocks = BATCHES.map(Block::for_samples);
        // Tiles are always convolved directly.
        for block in blocks.into_iter().filter(|block| twin.is_empty() || block.lanes() == 1) {
            let outputs = conv.h_out() * conv.w_out();
            let numbers = conv.weight_len() + c_out + block.len(conv.inputs() + conv.outputs());
            let work = Work::product(2 * conv.weight_len() * outputs * block.samples(), numbers);
            let setup = || Operands {
                w: random::floats(conv.weight_len()),
                b: random::floats(c_out),
                x: random::floats(block.len(conv.inputs())),
                y: random::floats(block.len(conv.outputs())),
                scratch: Buffer::zeros(conv.scratch_len(block)),
            };
            kernel(criterion, "conv/forward", &subject, block, work, setup, |o| {
                conv.forward(block, &o.w, Some(&o.b), &o.x, &mut o.y, &mut o.scratch);
            });
            kernel(criterion, "conv/weight-gradient", &subject, block, work, setup, |o| {
                conv.backward_params(block, &o.x, &o.y, &mut o.w, Some(&mut o.b), &mut o.scratch);
            });
            if needs_dx {
                kernel(criterion, "conv/input-gradient", &subject, block, work, setup, |o| {
                    conv.backward_input(0..conv.c_in(), block, &o.w, &o.y, &mut o.x, &mut o.scratch);
                });
            }
        }
    }
}

/// Convolution, ReLU and pooling by 2 x 2 in one pass, as the plans of the networks run them.
fn chains(criterion: &mut Criterion<FlopRate>, networks: &[Network<f32>]) {
    for Shape { kernel: conv, needs_dx } in shapes(networks, "conv", conv_of) {
        let pooled = ConvPool2d::new(conv, [2, 2], true).expect("every output here holds a window");
        let (c_in, h_in, w_in, c_out) = (conv.c_in(), conv.h_in(), conv.w_in(), conv.c_out());
        let ([kh, kw], pad) = (conv.kernel(), conv.pad());
        let padded = if pad == [0, 0] { String::new() } else { format!("p{}x{}", pad[0], pad[1]) };
        let subject = format!("{c_in}x{h_in}x{w_in}-{c_out}x{kh}x{kw}{padded}-pool2");
        for block in BATCHES.map(Block::for_samples) {
            let outputs = conv.h_out() * conv.w_out();
            let flops = 2 * conv.weight_len() * outputs * block.samples();
            // Of the backward pass the gradient of the input as well, where it is wanted.
            let numbers = conv.weight_len() + c_out + block.len(conv.inputs() + 2 * pooled.pool().outputs());
            let setup = || {
                let mut operands = Operands {
                    w: random::floats(conv.weight_len()),
                    b: random::floats(c_out),
                    x: random::floats(block.len(conv.inputs())),
                    y: random::floats(block.len(pooled.pool().outputs())),
                    scratch: Buffer::zeros(pooled.scratch_len(block)),
                };
                let mut tape = Buffer::zeros(pooled.tape_len(block));
                let Operands { w, b, x, y, scratch } = &mut operands;
                pooled.forward(block, w, Some(b), x, y, &mut tape, scratch);
                (operands, tape)
            };
            kernel(
                criterion,
                "conv-relu-pool/forward",
                &subject,
                block,
                Work::product(flops, numbers),
                setup,
                |(o, tape)| {
                    pooled.forward(block, &o.w, Some(&o.b), &o.x, &mut o.y, tape, &mut o.scratch);
                },
            );
            let work = if needs_dx {
                Work::product(2 * flops, numbers + block.len(conv.inputs()))
            } else {
                Work::product(flops, numbers)
            };
            let setup = || {
                let (operands, tape) = setup();
                (random::floats(conv.weight_len()), Buffer::zeros(block.len(conv.inputs())), operands, tape)
            };
            kernel(
                criterion,
                "conv-relu-pool/backward",
                &subject,
                block,
                work,
                setup,
                |(dw, dx, o, tape)| {
                    let dx = needs_dx.then_some((0..conv.c_in(), &mut dx[..]));
                    let (dw, db) = (Some(&mut dw[..]), Some(&mut o.b[..]));
                    pooled.backward(block, &o.w, &o.x, tape, &o.y, dx, dw, db, &mut o.scratch);
                },
            );
        }
    }
}

fn denses(criterion: &mut Criterion<FlopRate>, networks: &[Network<f32>]) {
    for Shape { kernel: dense, needs_dx } in shapes(networks, "dense", dense_of) {
        let (inputs, outputs) = (dense.inputs(), dense.outputs());
        let subject = format!("{inputs}-{outputs}");
        for block in BATCHES.map(Block::for_samples) {
            let numbers = inputs * outputs + outputs + block.len(inputs + outputs);
            let work = Work::product(2 * inputs * outputs * block.samples(), numbers);
            let setup = || Operands {
                w: random::floats(inputs * outputs),
                b: random::floats(outputs),
                x: random::floats(block.len(inputs)),
                y: random::floats(block.len(outputs)),
                scratch: Buffer::zeros(dense.scratch_len(block)),
            };
            // As the samples of a block lie, and where the layer is fed rows, as those do.
            for rows in
                [false, true].into_iter().filter(|rows| !rows || (!needs_dx && dense.takes_rows(inputs)))
            {
                let subject = if rows { format!("{subject}, rows") } else { subject.clone() };
                let len = if rows { block.samples() * inputs } else { block.len(inputs) };
                kernel(criterion, "dense/forward", &subject, block, work, setup, |o| {
                    let Operands { w, b, x, y, scratch } = o;
                    dense.forward(
                        block,
                        w,
                        Some(b),
                        fed(rows, inputs, &x[..len]),
                        Tiles::new(block, y),
                        scratch,
                    );
                });
                kernel(criterion, "dense/weight-gradient", &subject, block, work, setup, |o| {
                    let Operands { w, b, x, y, scratch } = o;
                    dense.backward_params(
                        0..outputs,
                        block,
                        fed(rows, inputs, &x[..len]),
                        y,
                        w,
                        Some(b),
                        scratch,
                    );
                });
            }
            if needs_dx {
                kernel(criterion, "dense/input-gradient", &subject, block, work, setup, |o| {
                    let Operands { w, x, y, scratch, .. } = o;
                    dense.backward_input(0..inputs, block, w, y, Tiles::new(block, x), scratch);
                });
            }
        }
    }
}

/// No network here averages: average pooling is measured at the shapes of max pooling.
fn pools(criterion: &mut Criterion<FlopRate>, networks: &[Network<f32>]) {
    for Shape { kernel: pool, .. } in shapes(networks, "pool", pool_of) {
        let (c, h_in, w_in, window) = (pool.c(), pool.h_in(), pool.w_in(), pool.window());
        let subject = format!("{c}x{h_in}x{w_in}-{}x{}", window[0], window[1]);
        for block in BATCHES.map(Block::for_samples) {
            let (inputs, outputs) = (block.len(pool.inputs()), block.len(pool.outputs()));
            let setup = || {
                let x = random::floats(inputs);
                let (mut y, mut tape) = (Buffer::zeros(outputs), Buffer::zeros(outputs));
                pool.max_forward(block, &x, &mut y, &mut tape);
                (x, y, tape)
            };
            let (max, avg) = (Work::floats(inputs + 2 * outputs), Work::floats(inputs + outputs));
            kernel(criterion, "maxpool/forward", &subject, block, max, setup, |(x, y, tape)| {
                pool.max_forward(block, x, y, tape);
            });
            kernel(criterion, "maxpool/backward", &subject, block, max, setup, |(dx, dy, tape)| {
                pool.max_backward(block, dy, tape, dx);
            });
            kernel(criterion, "avgpool/forward", &subject, block, avg, setup, |(x, y, _)| {
                pool.avg_forward(block, x, y);
            });
            kernel(criterion, "avgpool/backward", &subject, block, avg, setup, |(dx, dy, _)| {
                pool.avg_backward(block, dy, dx);
            });
        }
    }
}

/// Windows that no named network has, as layers compute them: channels in groups, taps that lie apart, padding that differs by side, padded
/// pools.
fn windows(criterion: &mut Criterion<FlopRate>) {
    let input = byhand_layers::Shape::new(32, 14, 14);
    for spec in [
        "conv(32,3,pad=1)",
        "conv(32,3,pad=1,groups=4)",
        "conv(32,3,pad=1,groups=32)",
        "conv(32,3,pad=2,dilation=2)",
        "conv(32,3,stride=2,pad=same)",
        "pool(3,stride=2,pad=1)",
        "avgpool(3,stride=2,pad=1)",
    ] {
        let network = spec.parse::<Spec>().and_then(|spec| spec.build::<f32>(input)).expect("it fits");
        let layer = &*network.layers()[0];
        let subject = format!("{spec}-{input}");
        for block in BATCHES.map(Block::for_samples) {
            let (x, y) = (layer.input().features(), layer.output().features());
            let (numbers, flops) = (network.param_len() + block.len(x + y), layer.flops() as usize);
            let work = |products: usize| match flops {
                0 => Work::floats(numbers + products * block.len(y)),
                _ => Work::product(products * flops * block.samples(), numbers),
            };
            let setup = || {
                let buffers =
                    [network.param_len(), block.len(x), block.len(y), network.param_len(), block.len(x)];
                let [theta, x, mut y, dtheta, dx] = buffers.map(random::floats);
                let mut tape = Buffer::zeros(layer.tape_len(block));
                let mut scratch = Buffer::zeros(layer.scratch_len(block));
                layer.forward(&Pass::eval(block), &theta, &x, &mut y, &mut tape, &mut scratch);
                ([theta, x, y, dtheta, dx], tape, scratch)
            };
            kernel(
                criterion,
                "layer/forward",
                &subject,
                block,
                work(1),
                setup,
                |(buffers, tape, scratch)| {
                    let [theta, x, y, ..] = buffers;
                    layer.forward(&Pass::eval(block), theta, x, y, tape, scratch);
                },
            );
            kernel(
                criterion,
                "layer/backward",
                &subject,
                block,
                work(2),
                setup,
                |(buffers, tape, scratch)| {
                    let [theta, x, y, dtheta, dx] = buffers;
                    let saved = Saved { x, y, tape };
                    layer.backward(&Pass::eval(block), theta, saved, y, Some(dx), dtheta, scratch);
                },
            );
        }
    }
}

/// At the sizes of `lenet`: its first feature maps and its hidden layer.
fn activations(criterion: &mut Criterion<FlopRate>) {
    type Forward = fn(&[f32], &mut [f32]);
    type Backward = fn(&[f32], &[f32], &mut [f32]);
    const ALL: [(&str, Forward, &str, Backward); 3] = [
        ("relu/forward", activation::relu, "relu/backward", activation::relu_backward),
        ("tanh/forward", activation::tanh, "tanh/backward", activation::tanh_backward),
        ("sigmoid/forward", activation::sigmoid, "sigmoid/backward", activation::sigmoid_backward),
    ];
    for (subject, features) in [("8x24x24", 8 * 24 * 24), ("256", 256)] {
        for block in BATCHES.map(Block::for_samples) {
            let len = block.len(features);
            let setup = || [1, 2, 3].map(|_| random::floats(len));
            for (forward, f, backward, df) in ALL {
                kernel(criterion, forward, subject, block, Work::floats(2 * len), setup, |[x, y, _]| f(x, y));
                kernel(criterion, backward, subject, block, Work::floats(3 * len), setup, |[y, dy, dx]| {
                    df(y, dy, dx);
                });
            }
        }
    }
}

fn softmaxes(criterion: &mut Criterion<FlopRate>) {
    const CLASSES: usize = 10;
    for block in BATCHES.map(Block::for_samples) {
        let (len, rows) = (block.len(CLASSES), block.len(1));
        let setup = || (random::floats(len), Buffer::zeros(len), Buffer::zeros(rows));
        kernel(criterion, "softmax/softmax", "10", block, Work::floats(2 * len), setup, |(x, y, _)| {
            softmax::softmax(block, CLASSES, x, y);
        });
        kernel(
            criterion,
            "softmax/log-sum-exp",
            "10",
            block,
            Work::floats(len + rows),
            setup,
            |(x, _, out)| {
                softmax::log_sum_exp(block, CLASSES, x, out);
            },
        );
    }
}

/// What a layer with parameters computes with; in a backward pass `y` is `dy`, and the result `dx` or `dw` and `db` lands
/// in the operand it belongs to.
struct Operands {
    w: Buffer<f32>,
    b: Buffer<f32>,
    x: Buffer<f32>,
    y: Buffer<f32>,
    scratch: Buffer<f32>,
}

fn kernel<S>(
    criterion: &mut Criterion<FlopRate>,
    operation: &'static str,
    subject: &str,
    block: Block,
    work: Work,
    setup: impl FnOnce() -> S,
    mut call: impl FnMut(&mut S),
) {
    let layout = if block.lanes() == 1 { "single" } else { "tiled" };
    let case = Case {
        operation,
        subject: subject.to_string(),
        circumstances: format!("{layout}{}", block.samples()),
        batch: block.samples(),
        threads: 1,
        work,
    };
    bench(criterion, &case, setup, |operands, stopwatch: &mut Stopwatch| {
        stopwatch.time(|| call(black_box(operands)));
    });
}

/// A kernel's geometry in some network.
#[derive(Clone, Copy)]
struct Shape<K> {
    kernel: K,
    /// Whether a network needs its input gradient: all but the first layer do.
    needs_dx: bool,
}

/// Every geometry that the layers of this name have, once.
fn shapes<K: PartialEq>(
    networks: &[Network<f32>],
    name: &str,
    kernel_of: fn(&dyn Layer<f32>) -> K,
) -> Vec<Shape<K>> {
    let mut shapes: Vec<Shape<K>> = Vec::new();
    for network in networks {
        let working: Vec<&Arc<dyn Layer<f32>>> =
            network.layers().iter().filter(|layer| !layer.is_identity()).collect();
        for (place, layer) in working.iter().enumerate().filter(|(_, layer)| layer.name() == name) {
            let kernel = kernel_of(&***layer);
            match shapes.iter_mut().find(|shape| shape.kernel == kernel) {
                Some(shape) => shape.needs_dx |= place > 0,
                None => shapes.push(Shape { kernel, needs_dx: place > 0 }),
            }
        }
    }
    shapes
}

/// From what the layer says of itself; no network here has a stride.
fn conv_of(layer: &dyn Layer<f32>) -> Conv2d {
    let (x, y) = (layer.input(), layer.output());
    let [c_out, _, kh, kw] = layer.params()[0].shape[..] else {
        unreachable!("a convolution's weight has four axes")
    };
    let pad = [(y.h + kh - 1 - x.h) / 2, (y.w + kw - 1 - x.w) / 2];
    let conv =
        Conv2d::new([x.c, x.h, x.w], c_out, [kh, kw], [1, 1], pad).expect("a layer's geometry is sound");
    assert_eq!((conv.h_out(), conv.w_out()), (y.h, y.w), "{} has a stride: measure it too", layer.spec());
    conv
}

fn fed(rows: bool, inputs: usize, x: &[f32]) -> Input<'_, f32> {
    if rows { Input::Rows(RowView::new(inputs, x)) } else { Input::Block(x) }
}

fn dense_of(layer: &dyn Layer<f32>) -> Dense {
    Dense::new(layer.input().features(), layer.output().features()).expect("a layer's geometry is sound")
}

fn pool_of(layer: &dyn Layer<f32>) -> Pool2d {
    let (x, y) = (layer.input(), layer.output());
    let window = [x.h / y.h, x.w / y.w];
    let pool = Pool2d::new([x.c, x.h, x.w], window, window).expect("a layer's geometry is sound");
    assert_eq!((pool.h_out(), pool.w_out()), (y.h, y.w), "{} overlaps: measure it too", layer.spec());
    pool
}
