//! Timings, not checks: `cargo test -p byhand-datasets --release --test speed -- --ignored --nocapture`.
#![allow(clippy::print_stderr)] // what a timing is for

use std::time::Instant;

use byhand_datasets::digits::{self, Part};
use byhand_datasets::unpack::{Crop, LANES, Shift, unpack_sample, unpack_tile, unpack_tile_shifted};
use byhand_datasets::{Augment, Normalize, batches};

#[test]
#[ignore = "a timing"]
fn drawing_the_built_in_digits() {
    let start = Instant::now();
    let train = digits::generate(Part::Train, 60_000, digits::SEED);
    let test = digits::generate(Part::Test, 10_000, digits::SEED);
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{} + {} digits: {seconds:.2} s", train.len(), test.len());
}

#[test]
#[ignore = "a timing"]
fn unpacking_an_epoch() {
    let data = digits::generate(Part::Train, 20_000, digits::SEED);
    let order = batches::epoch_order(0, 0, data.len());
    let mut out = vec![0.0; 28 * 28 * LANES];
    let full = Crop::full((28, 28));
    let inner = Crop { y: 2, x: 2, h: 24, w: 24 };
    let shifts = [Shift { dy: 1, dx: -2 }; LANES];
    let affine = Augment { shift: 2, rotate: 0.1, scale: 0.1, shear: 0.1 };
    let mut scratch = vec![0; affine.scratch_len((28, 28))];
    let n = Normalize::unit();

    let report = |what: &str, features: usize, work: &mut dyn FnMut(&[u32])| {
        // Short pieces, the quickest counts: what the machine does beside that is no matter.
        let mut best = f64::INFINITY;
        for part in order.chunks_exact(8 * LANES).cycle().take(5_000) {
            let start = Instant::now();
            part.chunks(LANES).for_each(&mut *work);
            best = best.min(start.elapsed().as_secs_f64() / part.len() as f64);
        }
        let (ns, gb) = (best * 1e9, (features * 4) as f64 / best / 1e9);
        eprintln!("{what:32} {ns:7.0} ns an image, {gb:5.1} GB/s of f32");
    };
    report("tile, 28x28", 784, &mut |i| unpack_tile(data.images(), i, n, full, &mut out));
    report("tile, 24x24 of 28x28", 576, &mut |i| {
        unpack_tile(data.images(), i, n, inner, &mut out[..576 * LANES])
    });
    report("tile, 28x28 shifted", 784, &mut |i| {
        unpack_tile_shifted(data.images(), i, &shifts[..i.len()], n, full, &mut out)
    });
    report("tile, 28x28 affine", 784, &mut |i| {
        affine.unpack_tile(0, 0, 0, data.images(), i, n, full, &mut scratch, &mut out)
    });
    report("samples, 28x28", 784, &mut |i| {
        i.iter().for_each(|&i| unpack_sample(data.images(), i, n, full, &mut out[..784]))
    });
}
