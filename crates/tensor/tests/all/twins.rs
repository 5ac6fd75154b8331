//! Every fast kernel against its slow twin, over odd sizes, both layouts and every instruction set of this machine.
//!
//! Operands are small integers, so `f32` sums are exact in any order and results must be equal, not close.

use byhand_tensor::{
    Block, Conv2d, ConvPool2d, Dense, Input, Isa, LANES, Number, Pool2d, PoolOptions, RowView, Scalar, Tiles,
    activation, pack, pack_gradient, reference, softmax, unpack,
};
use ndarray::{Array2, ArrayView2};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

const BLOCKS: [fn(usize) -> Block; 2] = [Block::tiled, Block::single];
const SAMPLES: [usize; 9] = [0, 1, 2, 5, 8, 9, 16, 17, 33];

fn integers(rng: &mut impl Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-3..=3) as f32).collect()
}

fn packed(block: Block, features: usize, rows: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; block.len(features)];
    pack(ArrayView2::from_shape((block.samples(), features), rows).unwrap(), block, &mut out);
    out
}

fn packed_gradient(block: Block, features: usize, rows: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; block.len(features)];
    pack_gradient(ArrayView2::from_shape((block.samples(), features), rows).unwrap(), block, &mut out);
    out
}

fn rows(block: Block, features: usize, x: &[f32]) -> Vec<f32> {
    let x: Array2<f32> = unpack(block, features, x);
    x.into_raw_vec_and_offset().0
}

/// Lanes without a sample have a gradient of zero, of four lanes or eight if samples are so few: more are not read.
fn assert_dead(block: Block, features: usize, dx: &[f32], at: &str) {
    let read = [4, 8].into_iter().find(|lanes| block.samples() <= *lanes).unwrap_or(0);
    for s in block.samples()..if block.lanes() == 1 || block.is_empty() { 0 } else { read } {
        let dead = (0..features).filter(|f| dx[f * 16 + s] != 0.0);
        assert_eq!(dead.count(), 0, "lane {s} of dx of {at}");
    }
}

/// Runs `check` for both layouts, several batch sizes and every instruction set.
fn everywhere(check: impl Fn(Block, &mut ChaCha8Rng)) {
    for isa in Isa::available() {
        for block in BLOCKS {
            for samples in SAMPLES {
                isa.with(|| check(block(samples), &mut ChaCha8Rng::seed_from_u64(samples as u64)));
            }
        }
    }
}

#[test]
fn convolution() {
    // [channels, rows, columns], output channels, kernel, stride, padding
    let shapes = [
        ([1, 28, 28], 8, [3, 3], [1, 1], [0, 0]),
        ([2, 12, 12], 5, [5, 5], [1, 1], [0, 0]),
        ([3, 7, 10], 4, [3, 2], [1, 1], [1, 1]),
        ([2, 9, 11], 3, [3, 3], [2, 3], [1, 2]),
        ([1, 5, 17], 9, [1, 4], [1, 1], [0, 3]),
        ([5, 6, 6], 1, [6, 6], [1, 1], [0, 0]),
        ([1, 8, 8], 2, [2, 2], [3, 3], [0, 0]),
        ([4, 14, 14], 6, [3, 3], [1, 1], [1, 1]),
        // More rows than the first cache holds.
        ([4, 28, 28], 6, [3, 3], [2, 2], [1, 1]),
        // Strides that reach beyond the image, and so far that their multiples wrap.
        ([2, 5, 6], 3, [3, 2], [7, 1 << 20], [1, 0]),
        ([1, 5, 6], 2, [2, 3], [1 << 60, usize::MAX], [0, 1]),
        ([1, 3, 40], 4, [3, 7], [1, 1], [2, 6]),
        // A first layer whose kernel is larger than the largest block of taps.
        ([2, 11, 14], 3, [7, 9], [1, 1], [0, 0]),
        // Borders of two and of four columns, for groups that are no multiple of those computed at once.
        ([6, 9, 11], 5, [5, 5], [1, 1], [0, 0]),
        ([5, 9, 11], 6, [5, 5], [1, 1], [2, 2]),
        // By Winograd's filtering: odd sizes, every padding, fewer pixels than lanes.
        ([23, 5, 7], 26, [3, 3], [1, 1], [1, 1]),
        ([16, 9, 6], 33, [3, 3], [1, 1], [0, 2]),
        ([18, 3, 3], 16, [3, 3], [1, 1], [0, 0]),
        ([16, 1, 2], 17, [3, 3], [1, 1], [2, 1]),
    ];
    for (input, c_out, kernel, stride, pad) in shapes {
        let conv = Conv2d::new(input, c_out, kernel, stride, pad).unwrap();
        everywhere(|block, rng| {
            let n = block.samples();
            let (w, b) = (integers(rng, conv.weight_len()), integers(rng, c_out));
            let (x, dy) = (integers(rng, n * conv.inputs()), integers(rng, n * conv.outputs()));
            let mut want_y = vec![0.0; dy.len()];
            let mut want_dx = vec![0.0; x.len()];
            let mut want_dw = integers(rng, w.len());
            let mut want_db = integers(rng, b.len());
            let (mut dw, mut db) = (want_dw.clone(), want_db.clone());
            reference::conv2d(&conv, &w, Some(&b), &x, &mut want_y);
            reference::conv2d_backward_input(&conv, &w, &dy, &mut want_dx);
            reference::conv2d_backward_params(&conv, &x, &dy, &mut want_dw, Some(&mut want_db));

            let (x, dy) = (packed(block, conv.inputs(), &x), packed_gradient(block, conv.outputs(), &dy));
            let at = format!("{conv:?} {block:?} {}", Isa::active());
            let mut scratch = vec![f32::NAN; conv.scratch_len(block)];
            let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
            conv.forward(block, &w, Some(&b), &x, &mut y, &mut scratch);
            scratch.fill(f32::NAN);
            conv.backward_input(0..conv.c_in(), block, &w, &dy, &mut dx, &mut scratch);
            assert_dead(block, conv.inputs(), &dx, &at);
            scratch.fill(f32::NAN);
            conv.backward_params(block, &x, &dy, &mut dw, Some(&mut db), &mut scratch);
            assert_eq!(rows(block, conv.outputs(), &y), want_y, "y of {at}");
            assert_eq!(rows(block, conv.inputs(), &dx), want_dx, "dx of {at}");
            assert_eq!(dw, want_dw, "dw of {at}");
            assert_eq!(db, want_db, "db of {at}");
        });
    }
}

#[test]
fn dense() {
    for (inputs, outputs) in
        [(1, 1), (17, 10), (784, 10), (196, 16), (50, 50), (33, 7), (16, 31), (100, 3), (96, 40), (430, 390)]
    {
        let dense = Dense::new(inputs, outputs).unwrap();
        everywhere(|block, rng| {
            let n = block.samples();
            let (w, b) = (integers(rng, inputs * outputs), integers(rng, outputs));
            let (x, dy) = (integers(rng, n * inputs), integers(rng, n * outputs));
            let mut want_y = vec![0.0; dy.len()];
            let mut want_dx = vec![0.0; x.len()];
            let mut want_dw = integers(rng, w.len());
            let mut want_db = integers(rng, b.len());
            let (dw, db) = (want_dw.clone(), want_db.clone());
            reference::dense(&dense, &w, Some(&b), &x, &mut want_y);
            reference::dense_backward_input(&dense, &w, &dy, &mut want_dx);
            reference::dense_backward_params(&dense, &x, &dy, &mut want_dw, Some(&mut want_db));

            let (images, x) = (x.clone(), packed(block, inputs, &x));
            let dy = packed_gradient(block, outputs, &dy);
            let at = format!("{dense:?} {block:?} {}", Isa::active());
            let mut scratch = vec![f32::NAN; dense.scratch_len(block)];
            let mut dx = vec![f32::NAN; x.len()];
            dense.backward_input(0..inputs, block, &w, &dy, Tiles::new(block, &mut dx), &mut scratch);
            assert_eq!(rows(block, inputs, &dx), want_dx, "dx of {at}");
            assert_dead(block, inputs, &dx, &at);
            // As rows alone, and as some features of longer ones.
            let longer = inputs.next_multiple_of(32) + 48;
            let mut padded = vec![f32::NAN; n * longer];
            for (row, image) in padded.chunks_exact_mut(longer).zip(images.chunks_exact(inputs)) {
                row[16..16 + inputs].copy_from_slice(image);
            }
            let apart = RowView::new(longer, &padded).features(16..16 + inputs);
            let fed = [
                Some(Input::Block(&x)),
                dense.takes_rows(inputs).then(|| Input::Rows(RowView::new(inputs, &images))),
                (dense.takes_rows(longer) && block.lanes() == LANES).then_some(Input::Rows(apart)),
            ];
            for x in fed.into_iter().flatten() {
                let mut y = vec![f32::NAN; dy.len()];
                scratch.fill(f32::NAN);
                dense.forward(block, &w, Some(&b), x, Tiles::new(block, &mut y), &mut scratch);
                assert_eq!(rows(block, outputs, &y), want_y, "y of {at}, {x:?}");
                let (mut dw, mut db) = (dw.clone(), db.clone());
                scratch.fill(f32::NAN);
                dense.backward_params(0..outputs, block, x, &dy, &mut dw, Some(&mut db), &mut scratch);
                assert_eq!(dw, want_dw, "dw of {at}, {x:?}");
                assert_eq!(db, want_db, "db of {at}, {x:?}");
            }
        });
    }
}

#[test]
fn pooling() {
    // windows that tile, overlap, leave a rest, differ by axis
    let shapes = [
        ([8, 26, 26], [2, 2], [2, 2]),
        ([2, 7, 9], [3, 2], [2, 1]),
        ([1, 5, 6], [2, 3], [3, 2]),
        ([3, 4, 4], [4, 4], [4, 4]),
        ([2, 5, 8], [1, 1], [2, 3]),
        ([2, 5, 8], [2, 2], [1 << 60, usize::MAX]),
    ];
    let plain = shapes.map(|(input, window, stride)| (input, PoolOptions::new(window, stride)));
    // padding on all sides or on some, a rest rounded up, taps apart, windows that only see a corner
    let with = |window, stride, dilation, pad, ceil, counts_pad| PoolOptions {
        dilation,
        pad,
        ceil,
        counts_pad,
        ..PoolOptions::new(window, stride)
    };
    let general = [
        ([2, 7, 7], with([3, 3], [2, 2], [1, 1], [1; 4], false, true)),
        ([2, 7, 6], with([3, 3], [2, 2], [1, 1], [1; 4], true, false)),
        ([1, 4, 5], with([3, 2], [1, 1], [1, 1], [2, 0, 2, 1], false, false)),
        ([3, 5, 8], with([2, 4], [3, 2], [1, 1], [0, 1, 1, 3], true, true)),
        ([2, 6, 7], with([3, 2], [1, 2], [2, 3], [0, 0, 3, 1], false, true)),
        ([1, 2, 3], with([2, 3], [4, 5], [3, 2], [2, 1, 2, 4], true, false)),
        ([1, 4, 4], with([2, 2], [2, 2], [1, 1], [0, 0, 1, 1], true, true)),
    ];
    for (input, options) in plain.into_iter().chain(general) {
        let pool = Pool2d::with_options(input, options).unwrap();
        everywhere(|block, rng| {
            let n = block.samples();
            // few values: many ties
            let (x, dy) = (integers(rng, n * pool.inputs()), integers(rng, n * pool.outputs()));
            let mut want = [vec![0.0; dy.len()], vec![0.0; dy.len()], vec![0.0; dy.len()]];
            let mut want_dx = [vec![0.0; x.len()], vec![0.0; x.len()]];
            let [max, tape, avg] = &mut want;
            reference::max_pool2d(&pool, &x, max, tape);
            reference::avg_pool2d(&pool, &x, avg);
            reference::max_pool2d_backward(&pool, &dy, tape, &mut want_dx[0]);
            reference::avg_pool2d_backward(&pool, &dy, &mut want_dx[1]);

            let (x, dy) = (packed(block, pool.inputs(), &x), packed_gradient(block, pool.outputs(), &dy));
            let mut got = [vec![f32::NAN; dy.len()], vec![f32::NAN; dy.len()], vec![f32::NAN; dy.len()]];
            let mut got_dx = [vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]];
            let [max, tape, avg] = &mut got;
            pool.max_forward(block, &x, max, tape);
            pool.avg_forward(block, &x, avg);
            pool.max_backward(block, &dy, tape, &mut got_dx[0]);
            pool.avg_backward(block, &dy, &mut got_dx[1]);
            let at = format!("{pool:?} {block:?} {}", Isa::active());
            for i in 0..3 {
                assert_eq!(
                    rows(block, pool.outputs(), &got[i]),
                    want[i],
                    "maximum, tape, average: number {i} of {at}"
                );
            }
            for i in 0..2 {
                assert_eq!(
                    rows(block, pool.inputs(), &got_dx[i]),
                    want_dx[i],
                    "dx of max, average: number {i} of {at}"
                );
            }
        });
    }
}

#[test]
fn max_pooling_lets_nan_travel() {
    let pool = Pool2d::new([1, 2, 2], [2, 2], [2, 2]).unwrap();
    for isa in Isa::available() {
        for place in 0..4 {
            let mut x = vec![1.0f32; 4];
            x[place] = f32::NAN;
            let (mut y, mut tape) = ([0.0], [0.0]);
            isa.with(|| pool.max_forward(Block::single(1), &x, &mut y, &mut tape));
            assert!(y[0].is_nan() && tape[0] == place as f32, "{isa}: NaN at {place} gave {y:?}, {tape:?}");
        }
    }
}

#[test]
fn activations_softmax_and_log_sum_exp() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let x: Vec<f32> = (0..103).map(|_| rng.random_range(-4.0..4.0)).collect();
    let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
    for isa in Isa::available() {
        isa.with(|| {
            activation::relu(&x, &mut y);
            activation::relu_backward(&y, &x, &mut dx);
            for i in 0..x.len() {
                assert_eq!(y[i], reference::relu(x[i]));
                assert_eq!(dx[i], if x[i] > 0.0 { x[i] } else { 0.0 });
            }
            activation::tanh(&x, &mut y);
            activation::sigmoid(&x, &mut dx);
            for i in 0..x.len() {
                assert_eq!(y[i], Number::tanh(x[i]), "the vector function has the bits of the scalar one");
                assert_eq!(dx[i], reference::sigmoid(x[i]));
            }
            activation::normal_cdf(&x, &mut y);
            activation::normal_density(&x, &mut dx);
            for i in 0..x.len() {
                assert_eq!(y[i], Number::normal_cdf(x[i]));
                assert_eq!(dx[i], reference::normal_density(x[i]));
            }
        });
    }
    for features in [1, 5, 10] {
        everywhere(|block, rng| {
            let x: Vec<f32> = (0..block.samples() * features).map(|_| rng.random_range(-9.0..9.0)).collect();
            let packed = packed(block, features, &x);
            let (mut lse, mut y) = (vec![f32::NAN; block.len(1)], vec![f32::NAN; packed.len()]);
            softmax::log_sum_exp(block, features, &packed, &mut lse);
            softmax::softmax(block, features, &packed, &mut y);
            let (lse, y) = (rows(block, 1, &lse), rows(block, features, &y));
            for (s, x) in x.chunks(features).enumerate() {
                let want: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                assert!((f64::from(lse[s]) - reference::log_sum_exp(&want)).abs() < 2e-6);
                for (y, want) in y[s * features..].iter().zip(reference::softmax(&want)) {
                    assert!((f64::from(*y) - want).abs() < 1e-6);
                }
            }
        });
    }
}

#[test]
fn instruction_sets_with_fused_multiply_add_give_equal_bits() {
    let direct = Conv2d::new([3, 11, 13], 6, [3, 5], [1, 1], [1, 2]).unwrap();
    let winograd = Conv2d::new([23, 11, 13], 26, [3, 3], [1, 1], [1, 2]).unwrap();
    let layers = [(direct, Dense::new(83, 21).unwrap()), (winograd, Dense::new(83, 53).unwrap())];
    let blocks = [37, 8, 7, 0].map(Block::tiled).into_iter().chain([Block::single(2)]);
    for ((conv, dense), block) in
        layers.iter().flat_map(|layer| blocks.clone().map(move |block| (layer, block)))
    {
        let bits = |isa: Isa| {
            isa.with(|| {
                let rng = &mut ChaCha8Rng::seed_from_u64(3);
                let mut random = |len| (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect::<Vec<_>>();
                let (w, b) = (random(conv.weight_len()), random(conv.c_out()));
                let (v, c) = (random(dense.inputs() * dense.outputs()), random(dense.outputs()));
                let x = random(block.samples() * conv.inputs());
                let dy = random(block.samples() * conv.outputs());
                let p = random(block.samples() * dense.inputs());
                let dq = random(block.samples() * dense.outputs());
                let (x, p) = (packed(block, conv.inputs(), &x), packed(block, dense.inputs(), &p));
                let (dy, dq) = (
                    packed_gradient(block, conv.outputs(), &dy),
                    packed_gradient(block, dense.outputs(), &dq),
                );
                let mut all: Vec<f32> = Vec::new();
                let mut scratch = vec![0.0; conv.scratch_len(block).max(dense.scratch_len(block))];
                let mut y = vec![0.0; dy.len()];
                conv.forward(block, &w, Some(&b), &x, &mut y, &mut scratch);
                all.extend(rows(block, conv.outputs(), &y));
                let mut dx = vec![0.0; x.len()];
                conv.backward_input(0..conv.c_in(), block, &w, &dy, &mut dx, &mut scratch);
                all.extend(rows(block, conv.inputs(), &dx));
                let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; b.len()]);
                conv.backward_params(block, &x, &dy, &mut dw, Some(&mut db), &mut scratch);
                all.extend(dw.iter().chain(&db));
                let mut q = vec![0.0; dq.len()];
                dense.forward(block, &v, Some(&c), Input::Block(&p), Tiles::new(block, &mut q), &mut scratch);
                all.extend(rows(block, dense.outputs(), &q));
                let mut dp = vec![0.0; p.len()];
                dense.backward_input(
                    0..dense.inputs(),
                    block,
                    &v,
                    &dq,
                    Tiles::new(block, &mut dp),
                    &mut scratch,
                );
                all.extend(rows(block, dense.inputs(), &dp));
                let (mut dv, mut dc) = (vec![0.0; v.len()], vec![0.0; c.len()]);
                let p = Input::Block(&p);
                dense.backward_params(
                    0..dense.outputs(),
                    block,
                    p,
                    &dq,
                    &mut dv,
                    Some(&mut dc),
                    &mut scratch,
                );
                all.extend(dv.iter().chain(&dc));
                all.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            })
        };
        let fused: Vec<Isa> = Isa::available().into_iter().filter(|isa| isa.is_fused()).collect();
        for pair in fused.windows(2) {
            assert_eq!(bits(pair[0]), bits(pair[1]), "{} and {} on {block:?}", pair[0], pair[1]);
        }
    }
}

/// What the three passes of a convolution make of random numbers: y, dx, dw and db.
fn passes<T: Scalar>(conv: &Conv2d, block: Block, seed: u64) -> [Vec<f64>; 4] {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut random = |rows: usize, columns: usize| {
        Array2::from_shape_fn((rows, columns), |_| T::from_f64(f64::from(rng.random_range(-1.0f32..1.0))))
    };
    let (w, b) = (random(1, conv.weight_len()), random(1, conv.c_out()));
    let (w, b) = (w.as_slice().unwrap(), b.as_slice().unwrap());
    let (inputs, outputs) = (random(block.samples(), conv.inputs()), random(block.samples(), conv.outputs()));
    let nan = |len| vec![T::from_f64(f64::NAN); len];
    let mut scratch = nan(conv.scratch_len(block));
    let (mut x, mut dy) = (nan(block.len(conv.inputs())), nan(block.len(conv.outputs())));
    pack(inputs.view(), block, &mut x);
    pack_gradient(outputs.view(), block, &mut dy);
    let (mut y, mut dx) = (nan(dy.len()), nan(x.len()));
    let (mut dw, mut db) = (vec![T::ZERO; w.len()], vec![T::ZERO; b.len()]);
    conv.forward(block, w, Some(b), &x, &mut y, &mut scratch);
    conv.backward_input(0..conv.c_in(), block, w, &dy, &mut dx, &mut scratch);
    conv.backward_params(block, &x, &dy, &mut dw, Some(&mut db), &mut scratch);
    let rows = |features, values: &[T]| unpack(block, features, values).into_raw_vec_and_offset().0;
    let (y, dx) = (rows(conv.outputs(), &y), rows(conv.inputs(), &dx));
    [y, dx, dw, db].map(|values| values.into_iter().map(Number::to_f64).collect())
}

/// The largest difference, relative to the largest number.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

#[test]
fn winograd_is_the_direct_convolution() {
    for (input, c_out, pad) in [
        ([23, 5, 7], 26, [1, 1]),
        ([16, 8, 8], 16, [0, 0]),
        ([40, 6, 3], 20, [2, 1]),
        // More output tiles than a band has.
        ([32, 28, 28], 32, [1, 1]),
    ] {
        let conv = Conv2d::new(input, c_out, [3, 3], [1, 1], pad).unwrap();
        assert!(conv.is_winograd() && !conv.direct().is_winograd());
        for block in [Block::single(2), Block::tiled(2)] {
            let exact = passes::<f64>(&conv.direct(), block, 7);
            for (what, (found, exact)) in
                ["y", "dx", "dw", "db"].into_iter().zip(passes::<f64>(&conv, block, 7).iter().zip(&exact))
            {
                let error = distance(found, exact);
                assert!(error < 1e-14, "{what} of {conv:?}, {block:?}, in f64: {error:e}");
            }
            for isa in Isa::available() {
                let found = isa.with(|| passes::<f32>(&conv, block, 7));
                for (what, (found, exact)) in
                    ["y", "dx", "dw", "db"].into_iter().zip(found.iter().zip(&exact))
                {
                    // A few units in the last place of the largest number.
                    let error = distance(found, exact);
                    assert!(error < 2e-6, "{what} of {conv:?}, {block:?}, on {isa}: {error:e}");
                }
            }
        }
    }
}

/// A sample by Winograd's filtering has the same outputs and the same gradient of its pixels alone as in a tile of any size.
#[test]
fn winograd_computes_a_sample_alone_as_in_a_tile() {
    let conv = Conv2d::new([23, 5, 7], 26, [3, 3], [1, 1], [1, 1]).unwrap();
    for isa in Isa::available() {
        isa.with(|| {
            for samples in [1, 4, 7, 16, 21] {
                let [alone, together] = [Block::single(samples), Block::tiled(samples)]
                    .map(|block| passes::<f32>(&conv, block, 9));
                for (what, (alone, together)) in ["y", "dx"].into_iter().zip(alone.iter().zip(&together)) {
                    assert!(alone == together, "{what} of {samples} samples on {isa}");
                }
            }
        });
    }
}

/// Also of NaN, in lanes that nobody wrote to.
fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Some channels alone, in the scratch of all: what threads do who share a layer. By Winograd's filtering fewer channels have bands of
/// more tiles; of these sizes the bands of sixteen channels alone take more room than those of 32.
#[test]
fn channels_alone_have_the_bits_of_all_in_the_same_scratch() {
    for (input, c_out, kernel, pad) in [([32, 24, 24], 32, [3, 3], [1, 1]), ([4, 9, 8], 6, [3, 2], [1, 0])] {
        let conv = Conv2d::new(input, c_out, kernel, [1, 1], pad).unwrap();
        for block in [Block::single(1), Block::tiled(5)] {
            let rng = &mut ChaCha8Rng::seed_from_u64(5);
            let (w, x) = (integers(rng, conv.weight_len()), integers(rng, block.len(conv.inputs())));
            let dy = integers(rng, block.len(conv.outputs()));
            let mut scratch = vec![f32::NAN; conv.scratch_len(block)];
            let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
            conv.forward(block, &w, None, &x, &mut y, &mut scratch);
            conv.backward_input(0..conv.c_in(), block, &w, &dy, &mut dx, &mut scratch);
            for parts in 1..=conv.c_in().min(c_out) / 2 {
                let (outputs, inputs) = (parts..parts + c_out / 2, parts..parts + conv.c_in() / 2);
                let part = Conv2d::new(input, outputs.len(), kernel, [1, 1], pad).unwrap();
                let of = |len: usize, of: usize, range: &std::ops::Range<usize>| {
                    len / of * range.start..len / of * range.end
                };
                let mut y_part = vec![f32::NAN; block.len(part.outputs())];
                part.forward(block, &w[of(w.len(), c_out, &outputs)], None, &x, &mut y_part, &mut scratch);
                let whole = &y[of(y.len(), c_out, &outputs)];
                assert!(same_bits(&y_part, whole), "outputs {outputs:?} of {conv:?}, {block:?}");
                let mut dx_part = vec![f32::NAN; dx.len() / conv.c_in() * inputs.len()];
                conv.backward_input(inputs.clone(), block, &w, &dy, &mut dx_part, &mut scratch);
                let whole = &dx[of(dx.len(), conv.c_in(), &inputs)];
                assert!(same_bits(&dx_part, whole), "inputs {inputs:?} of {conv:?}, {block:?}");
            }
        }
    }
}

#[test]
fn scratch_does_not_grow_with_a_stride() {
    let conv = |stride| Conv2d::new([1, 5, 5], 1, [3, 3], [stride, stride], [0, 0]).unwrap();
    for block in [Block::tiled(1), Block::single(1)] {
        let lens = [5, 6, 1 << 20, usize::MAX].map(|stride| conv(stride).scratch_len(block));
        assert_eq!(lens, [lens[0]; 4]);
        let chain = [5, usize::MAX].map(|stride| ConvPool2d::new(conv(stride), [1, 1], true).unwrap());
        assert_eq!(chain[0].scratch_len(block), chain[1].scratch_len(block));
    }
}

/// A gradient that is a sum of zeros alone is 0, not a rounding error: of channels without a pixel, of outputs without a gradient, and of
/// taps whose pixels and outputs are never both there.
#[test]
fn gradients_of_nothing_are_zero() {
    let shapes = [
        // By Winograd's filtering: output tiles that stick out, every padding, more tiles than a band has.
        ([23, 5, 7], 26, [3, 3], [1, 1], [1, 1]),
        ([16, 8, 8], 16, [3, 3], [1, 1], [0, 0]),
        ([31, 6, 3], 17, [3, 3], [1, 1], [2, 1]),
        ([16, 1, 1], 16, [3, 3], [1, 1], [2, 2]),
        ([32, 28, 28], 32, [3, 3], [1, 1], [1, 1]),
        // Directly: a first layer, strides, a kernel of one.
        ([1, 12, 17], 5, [5, 5], [1, 1], [0, 0]),
        ([3, 9, 13], 4, [2, 3], [3, 2], [1, 0]),
        ([17, 2, 3], 18, [1, 1], [1, 1], [0, 0]),
    ];
    for (input, c_out, kernel, stride, pad) in shapes {
        let conv = Conv2d::new(input, c_out, kernel, stride, pad).unwrap();
        for block in [1, 3].map(Block::single).into_iter().chain([3, 7, 17].map(Block::tiled)) {
            let rng = &mut ChaCha8Rng::seed_from_u64(11);
            let (pixels, places) = (input[1] * input[2], conv.outputs() / c_out);
            // Channel 0 has nothing, channel 1 one place in one sample, the others some of very different sizes.
            let mut sparse = |channels: usize, plane: usize| -> Vec<f32> {
                let mut all = vec![0.0; block.samples() * channels * plane];
                for (i, value) in all.iter_mut().enumerate() {
                    let (channel, some) =
                        (i / plane % channels, rng.random_range(0..8 * block.samples()) == 0);
                    if i == plane + plane / 2 || (some && (channel > 1 || channels == 1)) {
                        *value = rng.random_range(-1.0f32..1.0) * 10.0f32.powi(rng.random_range(-3..3));
                    }
                }
                all
            };
            let (x, dy) = (sparse(input[0], pixels), sparse(c_out, places));
            let exact = |values: &[f32]| -> Vec<f64> { values.iter().copied().map(f64::from).collect() };
            let mut want = vec![0.0; conv.weight_len()];
            reference::conv2d_backward_params(&conv, &exact(&x), &exact(&dy), &mut want, None);
            let zeros = want.iter().filter(|dw| **dw == 0.0).count();
            assert!(zeros > 0 && zeros < want.len(), "{conv:?}: {zeros} of {} are zero", want.len());
            let (x, dy) = (packed(block, conv.inputs(), &x), packed_gradient(block, conv.outputs(), &dy));
            for isa in Isa::available() {
                let mut dw = vec![0.0; want.len()];
                let mut scratch = vec![f32::NAN; conv.scratch_len(block)];
                isa.with(|| conv.backward_params(block, &x, &dy, &mut dw, None, &mut scratch));
                for (i, (dw, want)) in dw.iter().zip(&want).enumerate().filter(|(_, (_, want))| **want == 0.0)
                {
                    assert_eq!(f64::from(*dw), *want, "dw[{i}] of {conv:?}, {block:?}, {isa}");
                }
            }
        }
    }
}

#[test]
fn winograd_lets_nan_travel() {
    let conv = Conv2d::new([16, 5, 7], 16, [3, 3], [1, 1], [1, 1]).unwrap();
    for (isa, block) in
        Isa::available().into_iter().flat_map(|isa| [(isa, Block::single(2)), (isa, Block::tiled(2))])
    {
        let (w, mut x) = (vec![1.0f32; conv.weight_len()], vec![1.0; block.len(conv.inputs())]);
        x[block.index(conv.inputs(), 1, 2 * 7 + 3)] = f32::NAN;
        let mut y = vec![0.0; block.len(conv.outputs())];
        let mut scratch = vec![0.0; conv.scratch_len(block)];
        isa.with(|| conv.forward(block, &w, None, &x, &mut y, &mut scratch));
        let is_nan =
            |sample: usize, i: usize, j: usize| y[block.index(conv.outputs(), sample, i * 7 + j)].is_nan();
        for (i, j) in (0..5).flat_map(|i| (0..7).map(move |j| (i, j))) {
            let reached = (1..=3).contains(&i) && (2..=4).contains(&j);
            // The output tiles of 2x2 that the nine outputs lie in, and no further; and no other sample.
            let spread = (0..=3).contains(&i) && (2..=5).contains(&j);
            let nan = is_nan(1, i, j);
            assert!(
                (nan || !reached) && (!nan || spread) && !is_nan(0, i, j),
                "{i}, {j} of {block:?} on {isa}"
            );
        }
    }
}
