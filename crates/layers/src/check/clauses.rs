//! The clauses of the contract that are not about the gradient's value.

use super::compare::{close, same_bits, show};
use super::report::{Clause, Report};
use super::run::{
    Data, Run, choose, forward, integers, lay, lay_gradient, numbers, param_len, reals, rng, rows, run,
    run_with, spread, train, uniform,
};
use super::{Checked, Options, gradients, state};
use crate::contract::{Describe, Kind, Layer, Mode, Pass};
use byhand_tensor::{Block, Isa, Scalar};
use rand::Rng;

/// One clause's check.
type Check = fn(&dyn Checked, &Options, &mut Report);

/// Every clause of a layer with its check.
pub(super) fn all() -> [(Clause, Check); 17] {
    [
        (Clause::Lengths, lengths),
        (Clause::Overwrite, overwrite),
        (Clause::Accumulate, accumulate),
        (Clause::WithoutDx, without_dx),
        (Clause::SampleIndependence, sample_independence),
        (Clause::DeadLanes, dead_lanes),
        (Clause::Layouts, layouts),
        (Clause::Adjoint, gradients::adjoint),
        (Clause::CentralDifference, gradients::central_difference),
        (Clause::FourPointDifference, gradients::four_point_difference),
        (Clause::DualNumbers, gradients::dual_numbers),
        (Clause::Oracle, gradients::oracle),
        (Clause::Zeros, zeros),
        (Clause::Convention, convention),
        (Clause::NanTravels, nan_travels),
        (Clause::EqualBits, equal_bits),
        (Clause::State, state::state),
    ]
}

fn lengths(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let clause = Clause::Lengths;
    let named = !layer.name().is_empty() && layer.spec().starts_with(layer.name());
    report.record(clause, None, f64::from(u8::from(!named)), 0.0, || {
        format!("expected a spec that starts with the name `{}`, found `{}`", layer.name(), layer.spec())
    });
    for make in [Block::tiled, Block::single] {
        for samples in 1..=40 {
            let (small, large) = (make(samples), make(samples + 1));
            let shrinks = layer.tape_len(small) > layer.tape_len(large)
                || layer.scratch_len(small) > layer.scratch_len(large);
            report.record(clause, None, f64::from(u8::from(shrinks)), 0.0, || {
                format!("{}: tape or scratch is longer than for one sample more", show(small))
            });
        }
    }
    // Slices have exactly the stated lengths: a layer that needs more panics here. No sample at all is a block too, and has no gradient.
    let mut computes = |isa, block: Block| {
        let data = reals(layer, block.samples(), &mut rng(options.seed));
        let run: Run<f32> = run(layer, train(block), &data);
        let lengths = (run.y.len(), run.dtheta.len());
        let expected = (block.len(layer.output().features()), param_len(layer));
        let is_right = lengths == expected
            && (block.samples() > 0 || run.dtheta.iter().all(|&gradient| gradient == 0.0));
        report.record(clause, Some(isa), f64::from(u8::from(!is_right)), 0.0, || {
            format!("{}: lengths of y and dtheta, and no gradient without samples", show(block))
        });
    };
    options.each(&mut computes);
    Options { samples: vec![0], ..options.clone() }.each(computes);
}

fn overwrite(layer: &dyn Checked, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        let data = reals(layer, block.samples(), &mut rng(options.seed + 1));
        let poisoned = |poison| live(layer, block, &poisoned(layer, block, &data, poison));
        for ((what, a), (_, b)) in poisoned(f32::NAN).into_iter().zip(poisoned(3.0)) {
            let what = format!("{what} in memory full of NaN against memory full of 3");
            same_bits(report, Clause::Overwrite, Some(isa), &what, block, &b, &a);
            let finite = a.iter().all(|value| value.is_finite());
            report.record(Clause::Overwrite, Some(isa), f64::from(u8::from(!finite)), 0.0, || {
                format!("{what}, {}: expected finite numbers", show(block))
            });
        }
    });
}

fn poisoned(layer: &dyn Layer<f32>, block: Block, data: &Data, poison: f32) -> Run<f32> {
    let x = lay(block, layer.input().features(), &data.x);
    let dy = lay_gradient(block, layer.output().features(), &data.dy);
    run_with(layer, train(block), &numbers(&data.theta), &x, &dy, poison, vec![0.0; data.theta.len()], true)
}

fn accumulate(layer: &dyn Checked, options: &Options, report: &mut Report) {
    if param_len(layer) == 0 {
        return;
    }
    if let Kind::Bilinear { exact: true } = layer.kind() {
        options.each(|isa, block| accumulates::<f32>(layer, options, Some(isa), block, 0.0, report));
    } else {
        options.blocks().for_each(|block| accumulates::<f64>(layer, options, None, block, 1e-12, report));
    }
}

fn accumulates<T: Scalar>(
    layer: &dyn Layer<T>,
    options: &Options,
    isa: Option<Isa>,
    block: Block,
    limit: f64,
    report: &mut Report,
) {
    let rng = &mut rng(options.seed + 2);
    let data = integers(layer, block.samples(), rng);
    let before = integers(layer, 1, rng).theta;
    let from_zero: Run<T> = run(layer, train(block), &data);
    let x = lay(block, layer.input().features(), &data.x);
    let dy = lay_gradient(block, layer.output().features(), &data.dy);
    let (theta, poison) = (numbers(&data.theta), T::from_f64(f64::NAN));
    let added = run_with(layer, train(block), &theta, &x, &dy, poison, numbers(&before), true);
    let expected: Vec<f64> = from_zero.dtheta.iter().zip(&before).map(|(d, b)| d.to_f64() + b).collect();
    let found: Vec<f64> = added.dtheta.iter().map(|d| d.to_f64()).collect();
    close(report, Clause::Accumulate, isa, "dtheta added to what was there", block, &expected, &found, limit);
}

fn without_dx(layer: &dyn Checked, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        let data = reals(layer, block.samples(), &mut rng(options.seed + 3));
        let x = lay(block, layer.input().features(), &data.x);
        let dy = lay_gradient(block, layer.output().features(), &data.dy);
        let theta = numbers(&data.theta);
        let run = |with_dx| {
            let dtheta = vec![0.0; theta.len()];
            run_with::<f32>(layer, train(block), &theta, &x, &dy, f32::NAN, dtheta, with_dx).dtheta
        };
        same_bits(report, Clause::WithoutDx, Some(isa), "dtheta without dx", block, &run(true), &run(false));
    });
}

fn sample_independence(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    let clause = Clause::SampleIndependence;
    options.each(|isa, block| {
        let n = block.samples();
        let rng = &mut rng(options.seed + 4);
        let data = reals(layer, n, rng);
        let of = |run: &Run<f32>, sample: usize| {
            let y = rows(block, outputs, &run.y)[sample * outputs..][..outputs].to_vec();
            (y, rows(block, inputs, &run.dx)[sample * inputs..][..inputs].to_vec())
        };
        let expected: Run<f32> = run(layer, train(block), &data);
        let alone: &[usize] = if layer.kind().is_batch() { &[] } else { &[0, n / 2, n - 1] };
        for &sample in alone {
            let mut others = reals(layer, n, rng);
            others.theta.clone_from(&data.theta);
            let (x, dy) = (sample * inputs..(sample + 1) * inputs, sample * outputs..(sample + 1) * outputs);
            others.x[x.clone()].copy_from_slice(&data.x[x]);
            others.dy[dy.clone()].copy_from_slice(&data.dy[dy]);
            let found: Run<f32> = run(layer, train(block), &others);
            let ((y, dx), (y_found, dx_found)) = (of(&expected, sample), of(&found, sample));
            let what = |name| format!("{name} of sample {sample} when the others change");
            same_bits(report, clause, Some(isa), &what("y"), block, &y, &y_found);
            same_bits(report, clause, Some(isa), &what("dx"), block, &dx, &dx_found);
        }
        // In evaluation nothing depends on a sample's place: reverse them.
        let reverse = |rows: &[f64], features| rows.chunks(features).rev().flatten().copied().collect();
        let reversed =
            Data { theta: data.theta.clone(), x: reverse(&data.x, inputs), dy: reverse(&data.dy, outputs) };
        let expected: Run<f32> = run(layer, Pass::eval(block), &data);
        let found: Run<f32> = run(layer, Pass::eval(block), &reversed);
        for (what, features, expected, found) in
            [("y", outputs, &expected.y, &found.y), ("dx", inputs, &expected.dx, &found.dx)]
        {
            let found: Vec<f64> = reverse(&rows(block, features, found), features);
            let what = format!("{what} with the samples in reverse order");
            same_bits(report, clause, Some(isa), &what, block, &rows(block, features, expected), &found);
        }
    });
}

fn dead_lanes(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    options.each(|isa, block| {
        if block.len(1) == block.samples() {
            return;
        }
        let rng = &mut rng(options.seed + 5);
        let data = reals(layer, block.samples(), rng);
        let expected = live(layer, block, &run::<f32>(layer, train(block), &data));
        let garbage = uniform(block.len(inputs), rng);
        // Up to here vectors hold a live sample: x is finite, dy zero. Beyond, both may hold anything.
        let vectors = block.samples().next_multiple_of(vector_lanes(isa));
        let x = spread(block, inputs, |sample, feature| {
            let at = sample * inputs + feature;
            match sample {
                _ if sample < block.samples() => data.x[at] as f32,
                _ if sample < vectors => 100.0 * garbage[at] as f32,
                _ => f32::NAN,
            }
        });
        let dy = spread(block, outputs, |sample, feature| match sample {
            _ if sample < block.samples() => data.dy[sample * outputs + feature] as f32,
            _ if sample < vectors => 0.0,
            _ => f32::NAN,
        });
        let dtheta = vec![0.0; data.theta.len()];
        let found =
            run_with::<f32>(layer, train(block), &numbers(&data.theta), &x, &dy, f32::NAN, dtheta, true);
        // A sum of nothing but zeros may change its sign: compared as numbers.
        for ((what, expected), (_, found)) in expected.into_iter().zip(live(layer, block, &found)) {
            let what = format!("{what} with other numbers in the dead lanes");
            close(report, Clause::DeadLanes, Some(isa), &what, block, &expected, &found, 0.0);
        }
    });
}

/// Lanes that an instruction set's kernels take at a time.
fn vector_lanes(isa: Isa) -> usize {
    match isa {
        Isa::Portable | Isa::Neon => 4,
        Isa::Avx2 => 8,
        Isa::Wide | Isa::Avx512 => 16,
    }
}

fn layouts(layer: &dyn Checked, options: &Options, report: &mut Report) {
    for &samples in &options.samples {
        same_in_all_layouts::<f64>(layer, options, None, samples, 1e-12, reals, report);
    }
    if let Kind::Bilinear { exact: true } = layer.kind() {
        for &isa in &options.isas {
            for &samples in &options.samples {
                isa.with(|| {
                    same_in_all_layouts::<f32>(layer, options, Some(isa), samples, 0.0, integers, report)
                });
            }
        }
    }
}

fn same_in_all_layouts<T: Scalar>(
    layer: &dyn Layer<T>,
    options: &Options,
    isa: Option<Isa>,
    samples: usize,
    limit: f64,
    make: fn(&dyn Layer<T>, usize, &mut rand::rngs::ChaCha8Rng) -> Data,
    report: &mut Report,
) {
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    let data = make(layer, samples, &mut rng(options.seed + 6));
    let plain = |block: Block, run: Run<T>| {
        (rows(block, outputs, &run.y), rows(block, inputs, &run.dx), numbers_of(&run.dtheta))
    };
    for mode in [Mode::Eval, train(Block::single(1)).mode] {
        let tiled = Block::tiled(samples);
        let expected = plain(tiled, run(layer, Pass { block: tiled, mode }, &data));
        let single = Block::single(samples);
        let single_found = plain(single, run(layer, Pass { block: single, mode }, &data));
        // Each in a call of its own, all adding to one gradient, as the shards of a minibatch do.
        let (mut y, mut dx, mut dtheta) = (Vec::new(), Vec::new(), vec![T::ZERO; data.theta.len()]);
        for sample in 0..samples {
            let mode = match mode {
                Mode::Train { seed, step, first_sample } => {
                    Mode::Train { seed, step, first_sample: first_sample + sample as u64 }
                }
                Mode::Eval => mode,
            };
            let pass = Pass { block: Block::single(1), mode };
            let alone_x = numbers(&data.x[sample * inputs..][..inputs]);
            let alone_dy = numbers(&data.dy[sample * outputs..][..outputs]);
            let (theta, poison) = (numbers(&data.theta), T::from_f64(f64::NAN));
            let run = run_with(layer, pass, &theta, &alone_x, &alone_dy, poison, dtheta, true);
            y.extend(numbers_of(&run.y));
            dx.extend(numbers_of(&run.dx));
            dtheta = run.dtheta;
        }
        let one_by_one = (y, dx, numbers_of(&dtheta));
        let mut ways = vec![("one by one", single_found)];
        // What depends on the whole minibatch is not the same of each sample by itself.
        if !layer.kind().is_batch() || mode == Mode::Eval {
            ways.push(("each in a call of its own", one_by_one));
        }
        for (how, found) in ways {
            for (what, expected, found) in [
                ("y", &expected.0, &found.0),
                ("dx", &expected.1, &found.1),
                ("dtheta", &expected.2, &found.2),
            ] {
                let what = format!("{what} of samples {how} against samples in tiles");
                close(report, Clause::Layouts, isa, &what, tiled, expected, found, limit);
            }
        }
    }
}

/// With few pixels and few gradients, so that many products have a factor of 0 and some sums no other.
fn zeros(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let (inputs, clause) = (layer.input().features(), Clause::Zeros);
    options.each(|isa, block| {
        let rng = &mut rng(options.seed + 15);
        let mut data = reals(layer, block.samples(), rng);
        for (values, one_in) in [(&mut data.x, 4), (&mut data.dy, 8 * block.samples())] {
            values
                .iter_mut()
                .filter(|_| !(rng.next_u32() as usize).is_multiple_of(one_in))
                .for_each(|value| *value = 0.0);
        }
        let tiled = Block::tiled(block.samples());
        let exact: Run<f64> = run(layer, train(tiled), &data);
        let found: Run<f32> = run(layer, train(block), &data);
        for (what, exact, found) in [
            ("dx", rows(tiled, inputs, &exact.dx), rows(block, inputs, &found.dx)),
            ("dtheta", exact.dtheta, numbers_of(&found.dtheta)),
        ] {
            let lost = (0..exact.len()).find(|&i| exact[i] == 0.0 && found[i] != 0.0);
            report.record(clause, Some(isa), f64::from(u8::from(lost.is_some())), 0.0, || {
                let i = lost.unwrap_or(0);
                format!("{what}, {}: expected 0, found {:e} at index {i}", show(block), found[i])
            });
        }
    });
}

fn convention(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let clause = Clause::Convention;
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    options.each(|isa, block| {
        let n = block.samples();
        let mut data = integers(layer, n, &mut rng(options.seed + 7));
        match layer.kind() {
            Kind::Rectifying => {
                let at = |x: f64| -> Run<f32> {
                    run(layer, train(block), &Data { x: vec![x; n * inputs], ..data.clone() })
                };
                // The slope below 0 is what forward makes of -1, and no backward pass has a say in it.
                let below = rows(block, outputs, &at(-1.0).y);
                let expected = below.iter().zip(&data.dy).map(|(&y, &dy)| f64::from(-y as f32 * dy as f32));
                let expected: Vec<f64> = expected.collect();
                for zero in [0.0, -0.0] {
                    let dx = rows(block, inputs, &at(zero).dx);
                    let what = "dx at the kink against the slope below it";
                    close(report, clause, Some(isa), what, block, &expected, &dx, 0.0);
                }
            }
            Kind::Selecting => {
                // On a falling ramp the first number of every window is its only maximum.
                let ramp = (0..n * inputs).map(|i| -((i % inputs) as f64)).collect();
                let unique: Run<f32> = run(layer, train(block), &Data { x: ramp, ..data.clone() });
                for level in [0.0, -0.25] {
                    data.x.fill(level);
                    let tied: Run<f32> = run(layer, train(block), &data);
                    let (dx, expected) = (rows(block, inputs, &tied.dx), rows(block, inputs, &unique.dx));
                    let sums = |rows: &[f64], features| -> Vec<f64> {
                        rows.chunks(features).map(|row| row.iter().sum()).collect()
                    };
                    let (dy, what) =
                        (sums(&data.dy, outputs), "sum of dx of a sample against the sum of its dy");
                    close(report, Clause::TieSum, Some(isa), what, block, &dy, &sums(&dx, inputs), 0.0);
                    let what = "dx where all are equal against dx where the first is largest";
                    close(report, clause, Some(isa), what, block, &expected, &dx, 0.0);
                }
            }
            Kind::Bilinear { .. } | Kind::Smooth | Kind::Batch | Kind::Composed { .. } => {}
        }
    });
}

fn nan_travels(layer: &dyn Checked, options: &Options, report: &mut Report) {
    const PLACES: usize = 12;
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    let clause = Clause::NanTravels;
    for &isa in &options.isas {
        for block in [Block::tiled(3), Block::single(2)] {
            isa.with(|| {
                let rng = &mut rng(options.seed + 8);
                let data = reals(layer, block.samples(), rng);
                let y = |data: &Data| {
                    let x = lay(block, inputs, &data.x);
                    let (y, _) = forward::<f32>(layer, train(block), &numbers(&data.theta), &x, 0.0);
                    rows(block, outputs, &y)
                };
                let before = y(&data);
                let mut check = |what: String, large: &Data, nan: &Data| {
                    let (large, nan) = (y(large), y(nan));
                    let lost = (0..before.len()).find(|&i| large[i] != before[i] && !nan[i].is_nan());
                    let stray = (0..before.len()).find(|&i| {
                        large[i] == before[i] && nan[i].is_nan() && i >= outputs && !layer.kind().is_batch()
                    });
                    report.record(clause, Some(isa), f64::from(u8::from(lost.is_some())), 0.0, || {
                        let found = lost.map_or(0.0, |i| nan[i]);
                        format!("{}: a NaN {what} became {found:e} in y", show(block))
                    });
                    report.record(clause, Some(isa), f64::from(u8::from(stray.is_some())), 0.0, || {
                        format!("{}: a NaN {what} reached another sample", show(block))
                    });
                };
                // In sample 0 only: the others must not see it.
                for place in choose(PLACES, inputs, rng) {
                    let at = |value| {
                        let mut changed = data.clone();
                        changed.x[place] = value;
                        changed
                    };
                    check(format!("in feature {place} of x"), &at(1000.0), &at(f64::NAN));
                }
                for place in choose(PLACES, data.theta.len(), rng) {
                    let at = |value| {
                        let mut changed = data.clone();
                        changed.theta[place] = value;
                        changed
                    };
                    // What depends on theta may depend on it in every sample.
                    let (large, nan) = (y(&at(1000.0)), y(&at(f64::NAN)));
                    let lost = (0..before.len()).any(|i| large[i] != before[i] && !nan[i].is_nan());
                    report.record(clause, Some(isa), f64::from(u8::from(lost)), 0.0, || {
                        format!("{}: a NaN in theta[{place}] did not reach y", show(block))
                    });
                }
                if !data.theta.is_empty() {
                    let mut changed = data.clone();
                    changed.dy[outputs - 1] = f64::NAN;
                    let run: Run<f32> = run(layer, train(block), &changed);
                    let lost = !run.dtheta.iter().any(|d| d.is_nan());
                    report.record(clause, Some(isa), f64::from(u8::from(lost)), 0.0, || {
                        format!("{}: a NaN in dy did not reach dtheta", show(block))
                    });
                }
            });
        }
    }
}

fn equal_bits(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let fused: Vec<Isa> = options.isas.iter().copied().filter(|isa| isa.is_fused()).collect();
    let Some((first, others)) = fused.split_first() else { return };
    for block in options.blocks() {
        let data = reals(layer, block.samples(), &mut rng(options.seed + 9));
        let of = |isa: Isa| live(layer, block, &isa.with(|| run::<f32>(layer, train(block), &data)));
        let expected = of(*first);
        for &isa in others {
            for ((what, expected), (_, found)) in expected.iter().zip(of(isa)) {
                let what = format!("{what} against {first}");
                same_bits(report, Clause::EqualBits, Some(isa), &what, block, expected, &found);
            }
        }
    }
}

/// What a run computed for samples that there are: `y`, `dx` and `dtheta`, as rows.
fn live<T: Scalar>(
    layer: &(impl Describe + ?Sized),
    block: Block,
    run: &Run<T>,
) -> [(&'static str, Vec<f64>); 3] {
    [
        ("y", rows(block, layer.output().features(), &run.y)),
        ("dx", rows(block, layer.input().features(), &run.dx)),
        ("dtheta", numbers_of(&run.dtheta)),
    ]
}

fn numbers_of<T: Scalar>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}
