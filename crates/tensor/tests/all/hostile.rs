//! Arguments that nobody should pass: no sample, sizes whose product wraps, strides beyond the image, slices too short or too long by
//! one. Whatever they are, a function computes or panics with a message of its own, and writes no number outside the slices it was lent.
//!
//! One [table](crate::operations) lists the operations: what they read, what they write, and how they are called.

use byhand_tensor::{
    Block, Buffer, Conv2d, ConvPool2d, Dense, Dual, Input, Isa, Pool2d, PoolOptions, RowView, Scalar, Tiles,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::operations::{Geometries, Operation, operations};

/// Numbers before and behind each slice that nobody may change, and what they are.
const GUARD: usize = 2048;
const CANARY: f64 = 12_345_678.0;

/// So many samples, or features, or pixels from one window to the next, that sixteen lanes of them wrap round to none.
const HUGE: usize = 1 << (usize::BITS - 4);

/// Geometries that lead to every kernel, and to every way that a kernel cuts its work.
const EVERY: Geometries = Geometries {
    convs: &[
        ([1, 8, 9], 9, [5, 5], [1, 1], [0, 0]),
        ([2, 6, 37], 5, [3, 3], [1, 1], [0, 0]),
        ([3, 7, 5], 4, [3, 2], [1, 1], [2, 1]),
        ([5, 6, 9], 6, [5, 5], [1, 1], [2, 2]),
        ([2, 9, 11], 3, [3, 3], [2, 3], [1, 2]),
        ([2, 5, 5], 3, [2, 3], [HUGE, usize::MAX], [1, 2]),
        ([1, 1, 1], 1, [1, 1], [1, 1], [0, 0]),
        // By Winograd's filtering.
        ([23, 5, 7], 26, [3, 3], [1, 1], [1, 1]),
    ],
    pools: &[
        ([3, 6, 38], [2, 2], [2, 2], [1, 1], [0; 4], false),
        ([2, 7, 9], [3, 2], [2, 1], [1, 1], [0; 4], false),
        ([2, 5, 8], [2, 2], [HUGE, usize::MAX], [1, 1], [0; 4], false),
        ([1, 1, 1], [1, 1], [1, 1], [1, 1], [0; 4], false),
        ([2, 6, 7], [3, 2], [2, 2], [1, 2], [2, 0, 1, 2], true),
        ([1, 1, 1], [2, 2], [HUGE, 1], [1, 1], [0, 1, 1, 0], true),
    ],
    denses: &[(1, 1), (17, 10), (48, 7), (80, 33), (144, 70), (430, 3)],
    features: &[1, 5, 33],
};

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

/// Every operation with sound arguments of every kind, with each slice too short and too long by one, and with blocks of more samples
/// than there is memory for.
fn attack<T: Scalar>(seen: &mut Seen, on: &str) {
    let samples = [0, 1, 9, 17, 2, 5, 8, 16, 33];
    for op in &operations::<T>(&EVERY) {
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
