//! Every public function that takes a block or slices, as a table: what it reads, what it writes, and how it is called.

use byhand_tensor::{
    Block, Conv2d, ConvPool2d, Dense, Input, Kept, Pool2d, PoolOptions, RowView, Scalar, Tiles, activation,
    pack, pack_gradient, reference, softmax, unpack,
};
use ndarray::{Array2, ArrayView2};

pub(crate) type Lens = Box<dyn Fn(Block) -> Vec<usize>>;
pub(crate) type Run<T> = Box<dyn Fn(Block, &[&[T]], &mut [&mut [T]])>;

/// A public function with its geometry: the lengths of the slices that it reads and of those that it writes, and the call.
pub(crate) struct Operation<T> {
    pub(crate) name: String,
    pub(crate) reads: Lens,
    pub(crate) writes: Lens,
    /// Whether the last slice is scratch, and then whether each number of it is asked for.
    pub(crate) scratch: Option<bool>,
    pub(crate) takes_block: bool,
    pub(crate) run: Run<T>,
}

impl<T: Scalar> Operation<T> {
    fn new(
        name: String,
        reads: impl Fn(Block) -> Vec<usize> + 'static,
        writes: impl Fn(Block) -> Vec<usize> + 'static,
        run: impl Fn(Block, &[&[T]], &mut [&mut [T]]) + 'static,
    ) -> Self {
        let (reads, writes, run) = (Box::new(reads), Box::new(writes), Box::new(run));
        Self { name, reads, writes, scratch: None, takes_block: true, run }
    }

    /// Without one: only lengths differ.
    fn without_block(self) -> Self {
        Self { takes_block: false, ..self }
    }

    /// The last slice is scratch, all of which is asked for.
    fn with_scratch(self) -> Self {
        Self { scratch: Some(true), ..self }
    }

    /// The last slice is scratch for several functions, and this one may ask for less.
    fn with_common_scratch(self) -> Self {
        Self { scratch: Some(false), ..self }
    }
}

/// On which geometries the functions are called.
pub(crate) struct Geometries {
    pub(crate) convs: &'static [ConvGeometry],
    pub(crate) pools: &'static [PoolGeometry],
    /// Inputs and outputs.
    pub(crate) denses: &'static [(usize, usize)],
    /// Features of what has no other geometry.
    pub(crate) features: &'static [usize],
}

/// [channels, rows, columns], output channels, kernel, stride, padding.
pub(crate) type ConvGeometry = ([usize; 3], usize, [usize; 2], [usize; 2], [usize; 2]);

/// [channels, rows, columns], window, stride, dilation, padding, whether sizes round up.
pub(crate) type PoolGeometry = ([usize; 3], [usize; 2], [usize; 2], [usize; 2], [usize; 4], bool);

/// The table of all operations on these geometries.
pub(crate) fn operations<T: Scalar>(on: &Geometries) -> Vec<Operation<T>> {
    let mut all = Vec::new();
    convolutions(on.convs, &mut all);
    poolings(on.pools, &mut all);
    denses(on.denses, &mut all);
    others(on.features, &mut all);
    all
}

fn convolutions<T: Scalar>(geometries: &[ConvGeometry], all: &mut Vec<Operation<T>>) {
    for &(input, c_out, kernel, stride, pad) in geometries {
        let conv = Conv2d::new(input, c_out, kernel, stride, pad).unwrap();
        let name = format!("conv {input:?} {c_out} {kernel:?} {stride:?} {pad:?}");
        let (w, some) = (conv.weight_len(), 0..conv.c_in() / 2);
        let [x, y] = [conv.inputs(), conv.outputs()];
        let plane = x / conv.c_in();
        for bias in [0, 1] {
            all.push(
                Operation::new(
                    format!("forward of {name}, {bias} bias"),
                    move |block| [vec![w, block.len(x)], vec![c_out; bias]].concat(),
                    move |block| vec![block.len(y), conv.scratch_len(block)],
                    move |block, r, m| {
                        let [y, scratch] = m else { unreachable!() };
                        conv.forward(block, r[0], r.get(2).copied(), r[1], y, scratch);
                    },
                )
                .with_scratch(),
            );
            all.push(
                Operation::new(
                    format!("parameter gradient of {name}, {bias} bias"),
                    move |block| vec![block.len(x), block.len(y)],
                    move |block| [vec![w], vec![c_out; bias], vec![conv.scratch_len(block)]].concat(),
                    move |block, r, m| {
                        let (dw, rest) = m.split_first_mut().unwrap();
                        let (scratch, db) = rest.split_last_mut().unwrap();
                        let db = db.first_mut().map(|db| &mut **db);
                        conv.backward_params(block, r[0], r[1], dw, db, scratch);
                    },
                )
                .with_scratch(),
            );
        }
        for inputs in [0..conv.c_in(), some.clone(), 0..0] {
            let channels = inputs.len();
            all.push(
                Operation::new(
                    format!("input gradient of {name}, channels {inputs:?}"),
                    move |block| vec![w, block.len(y)],
                    move |block| vec![block.len(channels * plane), conv.scratch_len(block)],
                    move |block, r, m| {
                        let [dx, scratch] = m else { unreachable!() };
                        conv.backward_input(inputs.clone(), block, r[0], r[1], dx, scratch);
                    },
                )
                .with_scratch(),
            );
        }
        for (window, relu) in [([2, 2], true), ([1, 3], false)] {
            let Ok(chain) = ConvPool2d::new(conv, window, relu) else { continue };
            let name = format!("{name} pool {window:?}");
            let y = chain.pool().outputs();
            all.push(
                Operation::new(
                    format!("forward of {name}"),
                    move |block| vec![w, c_out, block.len(x)],
                    move |block| vec![block.len(y), chain.tape_len(block), chain.scratch_len(block)],
                    move |block, r, m| {
                        let [y, tape, scratch] = m else { unreachable!() };
                        chain.forward(block, r[0], Some(r[1]), r[2], y, tape, scratch);
                    },
                )
                .with_scratch(),
            );
            // Of the input, of the parameters, of both.
            for (inputs, params) in [(None, true), (Some(0..conv.c_in()), true), (Some(some.clone()), false)]
            {
                let dx = inputs.as_ref().map(|inputs| inputs.len() * plane);
                all.push(
                    Operation::new(
                        format!("backward of {name}, channels {inputs:?}, parameters {params}"),
                        move |block| vec![w, block.len(x), block.len(y), block.len(y)],
                        move |block| {
                            let dx = dx.map(|dx| block.len(dx));
                            let params = if params { vec![w, c_out] } else { vec![] };
                            [dx.into_iter().collect(), params, vec![chain.scratch_len(block)]].concat()
                        },
                        move |block, r, m| {
                            let mut m = m.iter_mut().map(|m| &mut **m);
                            let dx = inputs.clone().map(|inputs| (inputs, m.next().unwrap()));
                            let (dw, db) = if params { (m.next(), m.next()) } else { (None, None) };
                            chain.backward(block, r[0], r[1], r[2], r[3], dx, dw, db, m.next().unwrap());
                        },
                    )
                    .with_scratch(),
                );
            }
        }
    }
}

fn poolings<T: Scalar>(geometries: &[PoolGeometry], all: &mut Vec<Operation<T>>) {
    for &(input, window, stride, dilation, pad, ceil) in geometries {
        let options = PoolOptions { dilation, pad, ceil, ..PoolOptions::new(window, stride) };
        let pool = Pool2d::with_options(input, options).unwrap();
        let name = format!("pool {input:?} {options:?}");
        let (x, y) = (pool.inputs(), pool.outputs());
        all.push(Operation::new(
            format!("maximum of {name}"),
            move |block| vec![block.len(x)],
            move |block| vec![block.len(y); 2],
            move |block, r, m| {
                let [y, tape] = m else { unreachable!() };
                pool.max_forward(block, r[0], y, tape);
            },
        ));
        all.push(Operation::new(
            format!("gradient of the maximum of {name}"),
            move |block| vec![block.len(y); 2],
            move |block| vec![block.len(x)],
            move |block, r, m| pool.max_backward(block, r[0], r[1], m[0]),
        ));
        all.push(Operation::new(
            format!("average of {name}"),
            move |block| vec![block.len(x)],
            move |block| vec![block.len(y)],
            move |block, r, m| pool.avg_forward(block, r[0], m[0]),
        ));
        all.push(Operation::new(
            format!("gradient of the average of {name}"),
            move |block| vec![block.len(y)],
            move |block| vec![block.len(x)],
            move |block, r, m| pool.avg_backward(block, r[0], m[0]),
        ));
    }
}

fn denses<T: Scalar>(sizes: &[(usize, usize)], all: &mut Vec<Operation<T>>) {
    for &(inputs, outputs) in sizes {
        let dense = Dense::new(inputs, outputs).unwrap();
        let (name, w) = (format!("dense {inputs}-{outputs}"), inputs * outputs);
        // x as a block, and where they may be, as rows.
        for rows in [false, true].into_iter().filter(|rows| !rows || dense.takes_rows(inputs)) {
            let name = format!("{name}, rows {rows}");
            let x_len = move |block: Block| {
                if rows { block.samples().saturating_mul(inputs) } else { block.len(inputs) }
            };
            all.push(
                Operation::new(
                    format!("forward of {name}"),
                    move |block| vec![w, outputs, x_len(block)],
                    move |block| vec![block.len(outputs), dense.scratch_len(block)],
                    move |block, r, m| {
                        let [y, scratch] = m else { unreachable!() };
                        dense.forward(
                            block,
                            r[0],
                            Some(r[1]),
                            fed(rows, inputs, r[2]),
                            Tiles::new(block, y),
                            scratch,
                        );
                    },
                )
                .with_common_scratch(),
            );
            for some in [0..outputs, outputs / 2..outputs, 0..0] {
                let count = some.len();
                all.push(
                    Operation::new(
                        format!("parameter gradient of {name}, outputs {some:?}"),
                        move |block| vec![x_len(block), block.len(outputs)],
                        move |block| vec![count * inputs, count, dense.scratch_len(block)],
                        move |block, r, m| {
                            let [dw, db, scratch] = m else { unreachable!() };
                            dense.backward_params(
                                some.clone(),
                                block,
                                fed(rows, inputs, r[0]),
                                r[1],
                                dw,
                                Some(db),
                                scratch,
                            );
                        },
                    )
                    .with_common_scratch(),
                );
            }
            all.push(Operation::new(
                format!("operands kept of {name}"),
                move |block| vec![x_len(block), block.len(outputs)],
                move |block| vec![dense.kept_len(block, rows)],
                move |block, r, m| dense.keep(block, fed(rows, inputs, r[0]), r[1], 0, m[0]),
            ));
            // What was kept twice, and a buffer in which nothing was.
            all.push(Operation::new(
                format!("weights moved by {name}"),
                move |block| {
                    [vec![dense.kept_len(block, rows)], vec![x_len(block); usize::from(rows)]].concat()
                },
                move |_| vec![w, outputs],
                move |block, r, m| {
                    let [w, b] = m else { unreachable!() };
                    let mut kept = Kept::new(block, block, r[0]);
                    if rows {
                        kept = kept.with_rows(RowView::new(inputs, r[1]));
                    }
                    let rate = Some(T::from_f64(0.5));
                    dense.apply(0..outputs, &[Kept::default(), kept, kept], rate, w, Some(b));
                },
            ));
        }
        for some in [0..inputs, inputs / 3..inputs, 0..0] {
            let count = some.len();
            all.push(
                Operation::new(
                    format!("input gradient of {name}, inputs {some:?}"),
                    move |block| vec![w, block.len(outputs)],
                    move |block| vec![block.len(count), dense.scratch_len(block)],
                    move |block, r, m| {
                        let [dx, scratch] = m else { unreachable!() };
                        dense.backward_input(some.clone(), block, r[0], r[1], Tiles::new(block, dx), scratch);
                    },
                )
                .with_common_scratch(),
            );
        }
    }
}

/// Samples as a block, or as rows.
fn fed<T>(rows: bool, inputs: usize, x: &[T]) -> Input<'_, T> {
    if rows { Input::Rows(RowView::new(inputs, x)) } else { Input::Block(x) }
}

fn others<T: Scalar>(features: &[usize], all: &mut Vec<Operation<T>>) {
    for &features in features {
        all.push(Operation::new(
            format!("softmax of {features}"),
            move |block| vec![block.len(features)],
            move |block| vec![block.len(features)],
            move |block, r, m| softmax::softmax(block, features, r[0], m[0]),
        ));
        all.push(Operation::new(
            format!("log-sum-exp of {features}"),
            move |block| vec![block.len(features)],
            move |block| vec![block.len(1)],
            move |block, r, m| softmax::log_sum_exp(block, features, r[0], m[0]),
        ));
        for (name, packs) in
            [("pack", pack::<T> as fn(ArrayView2<'_, T>, _, &mut [T])), ("pack of a gradient", pack_gradient)]
        {
            all.push(Operation::new(
                format!("{name}, {features} features"),
                |_| vec![],
                move |block| vec![block.len(features)],
                move |block, _, m| {
                    // Of more rows than memory holds an array of one will do.
                    let rows = Array2::from_elem((block.samples().min(1 << 10), features), T::ONE);
                    packs(rows.view(), block, m[0]);
                },
            ));
        }
        all.push(Operation::new(
            format!("unpack, {features} features"),
            move |block| vec![block.len(features)],
            |_| vec![],
            move |block, r, _| assert_eq!(unpack(block, features, r[0]).dim(), (block.samples(), features)),
        ));
    }
    type Of<T, const N: usize> = (&'static str, fn([&[T]; N], &mut [T]));
    let one: [Of<T, 1>; 5] = [
        ("relu", |[x], y| activation::relu(x, y)),
        ("tanh", |[x], y| activation::tanh(x, y)),
        ("sigmoid", |[x], y| activation::sigmoid(x, y)),
        ("normal distribution", |[x], y| activation::normal_cdf(x, y)),
        ("normal density", |[x], y| activation::normal_density(x, y)),
    ];
    let two: [Of<T, 2>; 3] = [
        ("gradient of relu", |[x, dy], dx| activation::relu_backward(x, dy, dx)),
        ("gradient of tanh", |[y, dy], dx| activation::tanh_backward(y, dy, dx)),
        ("gradient of sigmoid", |[y, dy], dx| activation::sigmoid_backward(y, dy, dx)),
    ];
    let features = 3;
    for (name, of) in one {
        let lens = move |block: Block| vec![block.len(features)];
        let run = move |_, r: &[&[T]], m: &mut [&mut [T]]| of([r[0]], m[0]);
        all.push(Operation::new(name.into(), lens, lens, run).without_block());
    }
    for (name, of) in two {
        let lens = move |block: Block| vec![block.len(features); 2];
        let write = move |block: Block| vec![block.len(features)];
        let run = move |_, r: &[&[T]], m: &mut [&mut [T]]| of([r[0], r[1]], m[0]);
        all.push(Operation::new(name.into(), lens, write, run).without_block());
    }
    slow_twins(all);
}

fn slow_twins<T: Scalar>(all: &mut Vec<Operation<T>>) {
    let conv = Conv2d::new([2, 5, 4], 3, [2, 3], [1, 2], [0, 1]).unwrap();
    let pool = Pool2d::new([2, 5, 4], [2, 2], [2, 1]).unwrap();
    let dense = Dense::new(7, 3).unwrap();
    let mut twin = |name: &str, reads: [Len; 3], writes: [Len; 2], run: Twin<T>| {
        let lens = |lens: &[Len]| {
            let lens: Vec<Len> = lens.iter().copied().filter(|len| !matches!(len, Len::None)).collect();
            move |block: Block| lens.iter().map(|len| len.of(block)).collect::<Vec<_>>()
        };
        let twins = Twins { conv, pool, dense };
        let run = move |_, r: &[&[T]], m: &mut [&mut [T]]| run(&twins, r, m);
        all.push(
            Operation::new(format!("reference {name}"), lens(&reads), lens(&writes), run).without_block(),
        );
    };
    use Len::{All, Each, None};
    let (x, y, w, b) = (Each(conv.inputs()), Each(conv.outputs()), All(conv.weight_len()), All(3));
    twin("conv", [w, b, x], [y, None], |t, r, m| reference::conv2d(&t.conv, r[0], Some(r[1]), r[2], m[0]));
    twin("dx of conv", [w, y, None], [x, None], |t, r, m| {
        reference::conv2d_backward_input(&t.conv, r[0], r[1], m[0]);
    });
    twin("dw of conv", [x, y, None], [w, b], |t, r, m| {
        let [dw, db] = m else { unreachable!() };
        reference::conv2d_backward_params(&t.conv, r[0], r[1], dw, Some(db));
    });
    let (x, y) = (Each(pool.inputs()), Each(pool.outputs()));
    twin("maximum", [x, None, None], [y, y], |t, r, m| {
        let [y, tape] = m else { unreachable!() };
        reference::max_pool2d(&t.pool, r[0], y, tape);
    });
    twin("dx of maximum", [y, y, None], [x, None], |t, r, m| {
        reference::max_pool2d_backward(&t.pool, r[0], r[1], m[0]);
    });
    twin("average", [x, None, None], [y, None], |t, r, m| reference::avg_pool2d(&t.pool, r[0], m[0]));
    twin("dx of average", [y, None, None], [x, None], |t, r, m| {
        reference::avg_pool2d_backward(&t.pool, r[0], m[0]);
    });
    let (x, y, w) = (Each(7), Each(3), All(21));
    twin("dense", [w, b, x], [y, None], |t, r, m| reference::dense(&t.dense, r[0], Some(r[1]), r[2], m[0]));
    twin("dx of dense", [w, y, None], [x, None], |t, r, m| {
        reference::dense_backward_input(&t.dense, r[0], r[1], m[0]);
    });
    twin("dw of dense", [x, y, None], [w, b], |t, r, m| {
        let [dw, db] = m else { unreachable!() };
        reference::dense_backward_params(&t.dense, r[0], r[1], dw, Some(db));
    });
}

/// A call of one.
type Twin<T> = fn(&Twins, &[&[T]], &mut [&mut [T]]);

/// The geometries of the slow twins.
#[derive(Clone, Copy)]
struct Twins {
    conv: Conv2d,
    pool: Pool2d,
    dense: Dense,
}

/// A slice of so many numbers, or of so many for each sample, or none.
#[derive(Clone, Copy)]
enum Len {
    All(usize),
    Each(usize),
    None,
}

impl Len {
    fn of(self, block: Block) -> usize {
        match self {
            Self::All(len) => len,
            Self::Each(features) => block.samples() * features,
            Self::None => 0,
        }
    }
}
