//! The check of a loss: its gradient against its value, and the clauses a loss keeps.

use super::Options;
use super::compare::{close, same_bits, show};
use super::report::{Clause, Report, guarded};
use super::run::{choose, lay, numbers, rng, rows, spread, uniform};
use crate::Shape;
use crate::loss::{Labels, Loss, LossStats, Target, TargetRows};
use byhand_tensor::{Block, Isa, Scalar};
use rand::Rng;
use rand::rngs::ChaCha8Rng;

/// Tests a loss over `classes` outputs: its gradient against differences of its value in f64, f32 against f64, dead lanes,
/// layouts, sample independence, labels against one-hot rows, and extreme logits.
pub fn check_loss<L: Loss<f32> + Loss<f64>>(loss: &L, classes: usize, options: &Options) -> Report {
    let mut report = Report::new(format!("{loss:?}"), Shape::flat(classes));
    let checks: [(Clause, Check<L>); 11] = [
        (Clause::Overwrite, overwrite),
        (Clause::SampleIndependence, sample_independence),
        (Clause::DeadLanes, dead_lanes),
        (Clause::Layouts, layouts),
        (Clause::CentralDifference, central_difference),
        (Clause::FourPointDifference, four_point_difference),
        (Clause::Oracle, oracle),
        (Clause::NanTravels, nan_travels),
        (Clause::EqualBits, equal_bits),
        (Clause::Targets, targets),
        (Clause::Extremes, extremes),
    ];
    for (clause, check) in checks {
        guarded(&mut report, clause, |report| check(loss, classes, options, report));
    }
    report
}

/// One clause's check.
type Check<L> = fn(&L, usize, &Options, &mut Report);

/// `1 / N` of a minibatch larger than any block here, so that a loss that forgets it is found out.
const SCALE: f64 = 1.0 / 64.0;

/// Logits and targets, as rows.
#[derive(Clone)]
struct Case {
    logits: Vec<f64>,
    labels: Vec<u16>,
    /// One-hot rows for even samples, weights of any sum for odd ones.
    soft: Vec<f64>,
}

impl Case {
    fn new(classes: usize, samples: usize, rng: &mut ChaCha8Rng) -> Self {
        let logits = uniform(samples * classes, rng).iter().map(|z| 4.0 * z).collect();
        let labels: Vec<u16> = (0..samples).map(|_| (rng.next_u32() as usize % classes) as u16).collect();
        let mut soft = one_hot(&labels, classes);
        for row in soft.chunks_mut(classes).skip(1).step_by(2) {
            row.iter_mut().zip(uniform(classes, rng)).for_each(|(row, weight)| *row = weight.abs());
        }
        Self { logits, labels, soft }
    }
}

/// Statistics and the rows of the gradient, and the gradient as it lies in memory.
struct Outcome<T> {
    stats: LossStats,
    rows: Vec<f64>,
    laid: Vec<T>,
}

fn call<T: Scalar, L: Loss<T>>(
    loss: &L,
    classes: usize,
    block: Block,
    logits: &[T],
    target: Target<'_, T>,
) -> Outcome<T> {
    let mut laid = vec![T::from_f64(f64::NAN); logits.len()];
    let stats = loss.value_and_gradient(block, logits, target, T::from_f64(SCALE), &mut laid);
    Outcome { stats, rows: rows(block, classes, &laid), laid }
}

/// The case with its labels.
fn with_labels<T: Scalar, L: Loss<T>>(loss: &L, classes: usize, block: Block, case: &Case) -> Outcome<T> {
    call(loss, classes, block, &lay(block, classes, &case.logits), Labels(&case.labels).into())
}

/// The case with its rows.
fn with_rows<T: Scalar, L: Loss<T>>(loss: &L, classes: usize, block: Block, case: &Case) -> Outcome<T> {
    let soft = numbers::<T>(&case.soft);
    call(loss, classes, block, &lay(block, classes, &case.logits), TargetRows(&soft).into())
}

fn overwrite<L: Loss<f32>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        let case = Case::new(classes, block.samples(), &mut rng(options.seed));
        let logits: Vec<f32> = lay(block, classes, &case.logits);
        let poisoned = |poison| {
            let mut dlogits = vec![poison; logits.len()];
            loss.value_and_gradient(block, &logits, Labels(&case.labels).into(), SCALE as f32, &mut dlogits);
            dlogits
        };
        let (a, b) = (poisoned(3.0), poisoned(f32::NAN));
        same_bits(report, Clause::Overwrite, Some(isa), "dlogits in memory full of NaN", block, &a, &b);
        let finite = b.iter().all(|d| d.is_finite());
        report.record(Clause::Overwrite, Some(isa), f64::from(u8::from(!finite)), 0.0, || {
            format!("dlogits, {}: expected finite numbers", show(block))
        });
    });
}

fn sample_independence<L: Loss<f32>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        let n = block.samples();
        let rng = &mut rng(options.seed + 1);
        let case = Case::new(classes, n, rng);
        let expected: Outcome<f32> = with_labels(loss, classes, block, &case);
        for sample in [0, n / 2, n - 1] {
            let mut other = Case::new(classes, n, rng);
            let row = sample * classes..(sample + 1) * classes;
            other.logits[row.clone()].copy_from_slice(&case.logits[row.clone()]);
            other.labels[sample] = case.labels[sample];
            let found: Outcome<f32> = with_labels(loss, classes, block, &other);
            let what = format!("gradient of sample {sample} when the others change");
            let (expected, found) = (&expected.rows[row.clone()], &found.rows[row]);
            same_bits(report, Clause::SampleIndependence, Some(isa), &what, block, expected, found);
        }
    });
}

fn dead_lanes<L: Loss<f32>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        if block.len(1) == block.samples() {
            return;
        }
        let rng = &mut rng(options.seed + 2);
        let case = Case::new(classes, block.samples(), rng);
        let expected: Outcome<f32> = with_labels(loss, classes, block, &case);
        let garbage = uniform(block.len(classes), rng);
        let logits = spread(block, classes, |sample, class| {
            let at = sample * classes + class;
            if sample < block.samples() { case.logits[at] as f32 } else { 50.0 * garbage[at] as f32 }
        });
        let found = call(loss, classes, block, &logits, Labels(&case.labels).into());
        let mut compare = |what: &str, same: bool| {
            report.record(Clause::DeadLanes, Some(isa), f64::from(u8::from(!same)), 0.0, || {
                format!("{what}, {}", show(block))
            });
        };
        compare("loss changes with the dead lanes", found.stats == expected.stats);
        compare("gradient changes with the dead lanes", found.laid == expected.laid);
        let samples = block.tiles() * block.lanes();
        let dead = (block.samples()..samples)
            .flat_map(|s| (0..classes).map(move |class| block.index(classes, s, class)));
        let zero = dead.into_iter().all(|index| found.laid[index] == 0.0);
        compare("the gradient is not zero in dead lanes", zero);
    });
}

fn layouts<L: Loss<f64>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    for &samples in &options.samples {
        let case = Case::new(classes, samples, &mut rng(options.seed + 3));
        let (tiled, single) = (Block::tiled(samples), Block::single(samples));
        let expected: Outcome<f64> = with_rows(loss, classes, tiled, &case);
        let found: Outcome<f64> = with_rows(loss, classes, single, &case);
        let what = "gradient of samples one by one against samples in tiles";
        close(report, Clause::Layouts, None, what, tiled, &expected.rows, &found.rows, 1e-14);
        let what = "loss of samples one by one against samples in tiles";
        close(report, Clause::Layouts, None, what, tiled, &[expected.stats.loss], &[found.stats.loss], 1e-14);
    }
}

fn central_difference<L: Loss<f64>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    differences(loss, classes, options, report, Clause::CentralDifference, 1e-7, |slope| slope(1e-5));
}

fn four_point_difference<L: Loss<f64>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    differences(loss, classes, options, report, Clause::FourPointDifference, 1e-9, |slope| {
        let h = 2e-3;
        (4.0 * slope(h) - slope(2.0 * h)) / 3.0
    });
}

/// The gradient against differences of `SCALE * loss`, relative to the larger of the two and a typical gradient.
fn differences<L: Loss<f64>>(
    loss: &L,
    classes: usize,
    options: &Options,
    report: &mut Report,
    clause: Clause,
    limit: f64,
    formula: impl Fn(&dyn Fn(f64) -> f64) -> f64,
) {
    for block in [Block::tiled(3), Block::single(2)] {
        let rng = &mut rng(options.seed + 4);
        let case = Case::new(classes, block.samples(), rng);
        for labelled in [true, false] {
            let at = |case: &Case| -> Outcome<f64> {
                if labelled {
                    with_labels(loss, classes, block, case)
                } else {
                    with_rows(loss, classes, block, case)
                }
            };
            let gradient = at(&case).rows;
            let typical = (gradient.iter().map(|d| d * d).sum::<f64>() / gradient.len() as f64).sqrt();
            for i in choose(40, gradient.len(), rng) {
                let value = |t: f64| {
                    let mut moved = case.clone();
                    moved.logits[i] += t;
                    SCALE * at(&moved).stats.loss
                };
                let expected = formula(&|h| (value(h) - value(-h)) / (2.0 * h));
                let scale = expected.abs().max(gradient[i].abs()).max(typical);
                let error =
                    if expected == gradient[i] { 0.0 } else { (expected - gradient[i]).abs() / scale };
                report.record(clause, None, error, limit, || {
                    format!("gradient [{i}], {}: expected {expected:e}, found {:e}", show(block), gradient[i])
                });
            }
        }
    }
}

/// Bounds: an exponential of a difference `d` errs by `(|d| + 8) u` relative to itself, a sum of `C` of them by `C u` more. So the
/// gradient errs by at most `SCALE (C + 2 max|d| + 16) u`, the loss of a sample by the same without `SCALE`, relative to `1 + loss`.
fn oracle<L: Loss<f32> + Loss<f64>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        let case = Case::new(classes, block.samples(), &mut rng(options.seed + 5));
        let (found, exact): (Outcome<f32>, Outcome<f64>) =
            (with_labels(loss, classes, block, &case), with_labels(loss, classes, block, &case));
        let bound = (classes as f64 + 2.0 * 8.0 + 16.0) / f64::from(1 << 24);
        let scaled = |rows: &[f64]| -> Vec<f64> { rows.iter().map(|d| d / SCALE).collect() };
        let (a, b) = (scaled(&exact.rows), scaled(&found.rows));
        close(report, Clause::Oracle, Some(isa), "gradient / scale against f64", block, &a, &b, bound);
        let (a, b) = ([exact.stats.loss], [found.stats.loss]);
        close(
            report,
            Clause::Oracle,
            Some(isa),
            "loss against f64",
            block,
            &a,
            &b,
            bound * block.samples() as f64,
        );
    });
}

fn nan_travels<L: Loss<f32>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        let rng = &mut rng(options.seed + 6);
        let mut case = Case::new(classes, block.samples(), rng);
        let expected: Outcome<f32> = with_labels(loss, classes, block, &case);
        let sample = block.samples() / 2;
        for class in 0..classes {
            let before = std::mem::replace(&mut case.logits[sample * classes + class], f64::NAN);
            let found: Outcome<f32> = with_labels(loss, classes, block, &case);
            case.logits[sample * classes + class] = before;
            let row = sample * classes..(sample + 1) * classes;
            let nan = found.stats.loss.is_nan() && found.rows[row.clone()][class].is_nan();
            let others = (0..found.rows.len()).filter(|i| !row.contains(i));
            let alone = others.into_iter().all(|i| found.rows[i] == expected.rows[i]);
            report.record(Clause::NanTravels, Some(isa), f64::from(u8::from(!(nan && alone))), 0.0, || {
                format!(
                    "{}: a NaN in output {class} of sample {sample}: expected a loss and gradient of NaN there and no other \
                     change, found a loss of {}",
                    show(block),
                    found.stats.loss
                )
            });
        }
    });
}

fn equal_bits<L: Loss<f32>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    let fused: Vec<Isa> = options.isas.iter().copied().filter(|isa| isa.is_fused()).collect();
    let Some((first, others)) = fused.split_first() else { return };
    for block in options.blocks() {
        let case = Case::new(classes, block.samples(), &mut rng(options.seed + 7));
        let expected: Outcome<f32> = first.with(|| with_labels(loss, classes, block, &case));
        for &isa in others {
            let found: Outcome<f32> = isa.with(|| with_labels(loss, classes, block, &case));
            let what = format!("gradient against {first}");
            same_bits(report, Clause::EqualBits, Some(isa), &what, block, &expected.laid, &found.laid);
            let (a, b) = ([expected.stats.loss], [found.stats.loss]);
            same_bits(report, Clause::EqualBits, Some(isa), &format!("loss against {first}"), block, &a, &b);
        }
    }
}

fn targets<L: Loss<f32>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    options.each(|isa, block| {
        let n = block.samples();
        let mut case = Case::new(classes, n, &mut rng(options.seed + 8));
        // Sample 0 has equal outputs: the first counts.
        case.logits[..classes].fill(0.5);
        case.soft = one_hot(&case.labels, classes);
        let labelled: Outcome<f32> = with_labels(loss, classes, block, &case);
        let hot: Outcome<f32> = with_rows(loss, classes, block, &case);
        let clause = Clause::Targets;
        let what = "gradient with one-hot rows against labels";
        same_bits(report, clause, Some(isa), what, block, &labelled.laid, &hot.laid);
        let what = "loss with one-hot rows against labels";
        same_bits(report, clause, Some(isa), what, block, &[labelled.stats.loss], &[hot.stats.loss]);
        let largest =
            |row: &[f64]| (0..classes).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
        let rows = case.logits.chunks(classes).zip(&case.labels);
        let correct = rows.filter(|(row, label)| largest(row) == usize::from(**label)).count();
        for found in [labelled.stats.correct, hot.stats.correct] {
            report.record(clause, Some(isa), correct.abs_diff(found) as f64, 0.0, || {
                format!("{}: expected {correct} correct samples, found {found}", show(block))
            });
        }
    });
}

fn extremes<L: Loss<f32>>(loss: &L, classes: usize, options: &Options, report: &mut Report) {
    const LEVELS: [f64; 6] = [3e38, -3e38, 0.0, 1e-38, 90.0, -110.0];
    options.each(|isa, block| {
        let rng = &mut rng(options.seed + 9);
        let mut case = Case::new(classes, block.samples(), rng);
        for attempt in 0..8 {
            case.logits.fill_with(|| LEVELS[rng.next_u32() as usize % LEVELS.len()]);
            // A loss of log-probabilities is at least 0 where they are none above 0.
            let is_below = attempt % 2 == 0;
            if is_below {
                case.logits.iter_mut().for_each(|logit| *logit = -logit.abs());
            }
            let found: Outcome<f32> = with_labels(loss, classes, block, &case);
            let finite = found.stats.loss.is_finite() && (found.stats.loss >= 0.0 || !is_below);
            let finite = finite && found.laid.iter().all(|d| d.is_finite());
            report.record(Clause::Extremes, Some(isa), f64::from(u8::from(!finite)), 0.0, || {
                format!("{}: expected finite numbers, found a loss of {:e}", show(block), found.stats.loss)
            });
        }
    });
}

fn one_hot(labels: &[u16], classes: usize) -> Vec<f64> {
    let row = |label: u16| (0..classes).map(move |class| f64::from(u8::from(usize::from(label) == class)));
    labels.iter().flat_map(|&label| row(label)).collect()
}
