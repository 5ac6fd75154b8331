//! Arguments that nobody should pass: no sample, sizes whose product wraps, strides beyond the image, slices too short or too long by
//! one. Whatever they are, a function computes or panics with a message of its own, and writes no number outside the slices it was lent.
//!
//! One table lists the operations: what they read, what they write, and how they are called. Everything else is said once.

use byhand_tensor::{
    Block, Buffer, Conv2d, ConvPool2d, Dense, Dual, Input, Isa, Kept, Pool2d, PoolOptions, RowView, Scalar,
    Tiles, activation, pack, pack_gradient, reference, softmax, unpack,
};
use ndarray::{Array2, ArrayView2};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Numbers before and behind each slice that nobody may change, and what they are.
const GUARD: usize = 2048;
const CANARY: f64 = 12_345_678.0;

/// So many samples, or features, or pixels from one window to the next, that sixteen lanes of them wrap round to none.
const HUGE: usize = 1 << (usize::BITS - 4);

type Lens = Box<dyn Fn(Block) -> Vec<usize>>;
type Run<T> = Box<dyn Fn(Block, &[&[T]], &mut [&mut [T]])>;

/// A public function with its geometry: the lengths of the slices that it reads and of those that it writes, and the call.
struct Operation<T> {
    name: String,
    reads: Lens,
    writes: Lens,
    /// Whether the last slice is scratch, and then whether each number of it is asked for.
    scratch: Option<bool>,
    takes_block: bool,
    run: Run<T>,
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

/// A slice between two guards.
struct Guarded<T>(Vec<T>, usize);

impl<T: Scalar> Guarded<T> {
    fn new(len: usize) -> Self {
        let mut numbers = vec![T::from_f64(CANARY); GUARD + len + GUARD];
        for (i, number) in numbers[GUARD..][..len].iter_mut().enumerate() {
            *number = T::from_f64((i % 7) as f64 - 3.0);
        }
        Self(numbers, len)
    }

    fn get(&mut self) -> &mut [T] {
        &mut self.0[GUARD..][..self.1]
    }

    /// Numbers outside that changed.
    fn changed(&self) -> usize {
        let outside = self.0[..GUARD].iter().chain(&self.0[GUARD + self.1..]);
        outside.filter(|&&number| number != T::from_f64(CANARY)).count()
    }
}

/// What was seen.
#[derive(Default)]
struct Seen {
    calls: usize,
    refused: usize,
    /// Numbers changed that were nobody's to change.
    changed: usize,
    failures: Vec<String>,
}

impl Seen {
    fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Calls `run`: whether it must be `refused`, with a message of its own, or must not, or may be.
    fn call(&mut self, at: &str, refused: Option<bool>, run: impl FnOnce()) {
        self.calls += 1;
        let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else {
            if refused == Some(true) {
                self.fail(format!("{at}: accepted"));
            }
            return;
        };
        self.refused += 1;
        let text = panic.downcast_ref::<String>().cloned();
        let text =
            text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default();
        let foreign =
            ["out of", "overflow", "divide", "chunk", "copy_from_slice", "unwrap", "split", "mid >"];
        if refused == Some(false) || foreign.iter().any(|word| text.contains(word)) {
            self.fail(format!("{at}: panicked: {text}"));
        }
    }

    /// Calls an operation on slices of these lengths between guards, and looks at these afterwards, and at what it may only read.
    fn operate<T: Scalar>(
        &mut self,
        at: &str,
        op: &Operation<T>,
        block: Block,
        lens: &[Vec<usize>; 2],
        refused: Option<bool>,
    ) {
        let [mut reads, mut writes] =
            lens.each_ref().map(|lens| lens.iter().map(|&len| Guarded::new(len)).collect::<Vec<_>>());
        let before: Vec<Vec<T>> = reads.iter_mut().map(|read| read.get().to_vec()).collect();
        {
            let reads: Vec<&[T]> = reads.iter_mut().map(|read| &*read.get()).collect();
            let mut writes: Vec<&mut [T]> = writes.iter_mut().map(Guarded::get).collect();
            self.call(at, refused, || (op.run)(block, &reads, &mut writes));
        }
        let mut changed: usize = reads.iter().chain(&writes).map(Guarded::changed).sum();
        for (read, before) in reads.iter_mut().zip(&before) {
            changed += read.get().iter().zip(before).filter(|(a, b)| a != b).count();
        }
        self.changed += changed;
        if changed > 0 {
            self.fail(format!("{at}: {changed} numbers changed"));
        }
    }
}

/// Every public function that takes a block or slices, on geometries that lead to every kernel.
fn operations<T: Scalar>() -> Vec<Operation<T>> {
    let mut all = Vec::new();
    convolutions(&mut all);
    poolings(&mut all);
    denses(&mut all);
    others(&mut all);
    all
}

/// [channels, rows, columns], output channels, kernel, stride, padding.
type Geometry = ([usize; 3], usize, [usize; 2], [usize; 2], [usize; 2]);

fn convolutions<T: Scalar>(all: &mut Vec<Operation<T>>) {
    let geometries: [Geometry; 8] = [
        ([1, 8, 9], 9, [5, 5], [1, 1], [0, 0]),
        ([2, 6, 37], 5, [3, 3], [1, 1], [0, 0]),
        ([3, 7, 5], 4, [3, 2], [1, 1], [2, 1]),
        ([5, 6, 9], 6, [5, 5], [1, 1], [2, 2]),
        ([2, 9, 11], 3, [3, 3], [2, 3], [1, 2]),
        ([2, 5, 5], 3, [2, 3], [HUGE, usize::MAX], [1, 2]),
        ([1, 1, 1], 1, [1, 1], [1, 1], [0, 0]),
        // By Winograd's filtering.
        ([23, 5, 7], 26, [3, 3], [1, 1], [1, 1]),
    ];
    for (input, c_out, kernel, stride, pad) in geometries {
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

fn poolings<T: Scalar>(all: &mut Vec<Operation<T>>) {
    for (input, window, stride, dilation, pad, ceil) in [
        ([3, 6, 38], [2, 2], [2, 2], [1, 1], [0; 4], false),
        ([2, 7, 9], [3, 2], [2, 1], [1, 1], [0; 4], false),
        ([2, 5, 8], [2, 2], [HUGE, usize::MAX], [1, 1], [0; 4], false),
        ([1, 1, 1], [1, 1], [1, 1], [1, 1], [0; 4], false),
        ([2, 6, 7], [3, 2], [2, 2], [1, 2], [2, 0, 1, 2], true),
        ([1, 1, 1], [2, 2], [HUGE, 1], [1, 1], [0, 1, 1, 0], true),
    ] {
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

fn denses<T: Scalar>(all: &mut Vec<Operation<T>>) {
    for (inputs, outputs) in [(1, 1), (17, 10), (48, 7), (80, 33), (144, 70), (430, 3)] {
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

fn others<T: Scalar>(all: &mut Vec<Operation<T>>) {
    for features in [1, 5, 33] {
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

/// Every operation with sound arguments of every kind, with each slice too short and too long by one, and with blocks of more samples
/// than there is memory for.
fn attack<T: Scalar>(seen: &mut Seen, on: &str) {
    let samples = [0, 1, 9, 17, 2, 5, 8, 16, 33];
    for op in &operations::<T>() {
        for (i, block) in samples.into_iter().flat_map(|n| [Block::tiled(n), Block::single(n)]).enumerate() {
            let lens = [(op.reads)(block), (op.writes)(block)];
            let at = format!("{} of {block:?} on {on}", op.name);
            seen.operate(&at, op, block, &lens, Some(false));
            // Lengths are checked alike whatever the number of samples: a few are enough.
            let slices = if i < 8 { lens.each_ref().map(Vec::len) } else { [0; 2] };
            for (kind, slice) in (0..2).flat_map(|kind| (0..slices[kind]).map(move |slice| (kind, slice))) {
                for (how, change) in [("short", -1), ("long", 1)] {
                    let mut lens = lens.clone();
                    let Some(len) = lens[kind][slice].checked_add_signed(change) else { continue };
                    lens[kind][slice] = len;
                    let refused = match op.scratch.filter(|_| (kind, slice + 1) == (1, slices[1])) {
                        None => Some(true),
                        Some(_) if change > 0 => Some(false),
                        Some(is_exact) => is_exact.then_some(true),
                    };
                    let at = format!("{at}, slice {slice} of those {} too {how}", ["read", "written"][kind]);
                    seen.operate(&at, op, block, &lens, refused);
                }
            }
        }
        let counts = [&op.reads, &op.writes].map(|lens| lens(Block::single(1)).len());
        for samples in [HUGE, usize::MAX / 2 + 1, usize::MAX].into_iter().filter(|_| op.takes_block) {
            for block in [Block::tiled(samples), Block::single(samples)] {
                let at = format!("{} of {block:?} on {on}", op.name);
                seen.operate(&at, op, block, &counts.map(|count| vec![0; count]), Some(true));
            }
        }
    }
}

/// Runs `test` while panics print nothing.
fn silently(test: impl FnOnce(&mut Seen)) -> Seen {
    let mut seen = Seen::default();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    test(&mut seen);
    std::panic::set_hook(hook);
    seen
}

/// All in one test: what panics print is the process's.
#[test]
#[allow(clippy::print_stdout, reason = "the counts are what a reader of a run wants to know")]
fn hostile_arguments_are_refused_and_change_nothing() {
    let isas = Isa::available();
    let seen = silently(|seen| {
        for &isa in &isas {
            isa.with(|| attack::<f32>(seen, isa.name()));
        }
        attack::<f64>(seen, "f64");
        attack::<Dual>(seen, "dual numbers");
        sizes(seen);
    });
    let Seen { calls, refused, changed, failures } = seen;
    let names: Vec<&str> = isas.iter().map(|isa| isa.name()).collect();
    println!(
        "hostile: {calls} calls, {refused} of them refused; {} instruction sets ({}); crashes 0; numbers changed outside {changed}",
        isas.len(),
        names.join(", ")
    );
    let (count, first) = (failures.len(), &failures[..failures.len().min(20)]);
    assert_eq!(count, 0, "the first of them:\n{}", first.join("\n"));
}

/// Sizes that no slice has.
fn sizes(seen: &mut Seen) {
    let all = [0, 1, 3, 1 << 14, 1 << 20, 1 << 31, HUGE, usize::MAX / 2, usize::MAX];
    for a in all {
        for b in all {
            // Each is refused, or has sizes that can be told, whatever its operands would need.
            seen.call(&format!("{a}, {b}"), Some(false), || {
                let dense = Dense::new(a, b);
                let geometries = [
                    ([a, b, 1], 1, [1, 1], [1, 1], [0, 0]),
                    ([1, a, b], 1, [a, 1], [b, a], [0, 0]),
                    ([1, 5, 5], a, [b, 1], [1, 1], [b / 2, 0]),
                    ([1, 5, a], 1, [1, 3], [a, b], [0, 2]),
                    ([3, a, 4], b, [3, 3], [b, 1], [2, 2]),
                ];
                for (input, c_out, kernel, stride, pad) in geometries {
                    let Ok(conv) = Conv2d::new(input, c_out, kernel, stride, pad) else { continue };
                    for block in [Block::tiled(1), Block::single(1)] {
                        assert!(conv.scratch_len(block) < HUGE && block.len(conv.outputs()) < HUGE);
                        if let Ok(chain) = ConvPool2d::new(conv, [1, 1], false) {
                            assert!(chain.scratch_len(block) < HUGE);
                        }
                    }
                }
                for (window, dilation, pad, ceil) in [
                    ([1, b], [a, 1], [0; 4], true),
                    ([2, 2], [a, b], [a / 2, 0, b, 1], false),
                    ([a, 3], [1, b], [a.wrapping_sub(1), b, 1, 2], true),
                ] {
                    let options = PoolOptions { dilation, pad, ceil, ..PoolOptions::new(window, [b, a]) };
                    for input in [[1, 5, 6], [2, a, b]] {
                        let pool = Pool2d::with_options(input, options);
                        assert!(pool.is_err() || pool.unwrap().outputs() <= 1 << 28);
                    }
                }
                let pool = Pool2d::new([1, a, b], [1, b], [b, a]);
                assert!(pool.is_err() || a * b <= 1 << 28);
                assert!(dense.is_err() || dense.unwrap().scratch_len(Block::tiled(1)) < HUGE);
            });
        }
        // More than memory holds, or exactly what the formula says.
        for block in [Block::tiled(a), Block::single(a)] {
            let lanes = block.lanes() as u128;
            for features in all {
                let places = (a as u128).div_ceil(lanes) * lanes;
                let len = places * features as u128;
                let is_too_long = len > isize::MAX as u128 || places > usize::MAX as u128;
                seen.call(&format!("length of {block:?} for {features} features"), Some(is_too_long), || {
                    assert_eq!(block.len(features) as u128, len);
                });
            }
        }
    }
    seen.call("rows of no features", Some(true), || _ = RowView::new(0, &[1.0]));
    seen.call("rows of no features, of which there are none", Some(true), || _ = RowView::<f32>::new(0, &[]));
    seen.call("no tiles of a number", Some(true), || _ = Tiles::new(Block::tiled(0), &mut [1.0]));
    seen.call("samples kept beyond the last", Some(true), || {
        let dense = Dense::new(48, 3).unwrap();
        let (x, dy) = ([0.0; 48 * 16], [0.0; 3 * 16]);
        let mut kept = vec![0.0f32; dense.kept_len(Block::tiled(16), false)];
        dense.keep(Block::tiled(16), Input::Block(&x), &dy, usize::MAX - 7, &mut kept);
    });
    let buffer = catch_unwind(|| Buffer::<f32>::zeros(usize::MAX - 3).len());
    seen.call("a buffer of all memory", Some(false), || assert!(buffer.is_err()));
}
