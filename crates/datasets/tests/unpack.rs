//! Tiles against a naive twin, bit for bit, over many sizes, crops, shifts and numbers of lanes.

use byhand_datasets::unpack::{
    Crop, LANES, Shift, unpack_features, unpack_sample, unpack_tile, unpack_tile_shifted,
};
use byhand_datasets::{Augment, Normalize};
use ndarray::{Array3, ArrayView3};
use proptest::prelude::*;

/// What a pixel of a tile is, by definition.
fn naive(
    images: ArrayView3<'_, u8>,
    index: u32,
    shift: Shift,
    normalize: Normalize,
    crop: Crop,
    f: usize,
) -> f32 {
    let (_, h, w) = images.dim();
    let y = crop.y - shift.dy + (f / crop.w) as i32;
    let x = crop.x - shift.dx + (f % crop.w) as i32;
    let inside = (0..h as i32).contains(&y) && (0..w as i32).contains(&x);
    normalize.apply(if inside { images[[index as usize, y as usize, x as usize]] } else { 0 })
}

fn images(n: usize, h: usize, w: usize) -> Array3<u8> {
    Array3::from_shape_fn((n, h, w), |(i, y, x)| (i * 101 + y * 37 + x * 11 + 1) as u8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tiles_and_samples_equal_the_naive_twin(
        (h, w) in (1usize..31, 1usize..31),
        (y, x) in (-9i32..9, -9i32..9),
        (ch, cw) in (1usize..31, 1usize..31),
        full: bool,
        indices in prop::collection::vec(0u32..5, 1..=LANES),
        moves in prop::collection::vec((-12i32..12, -12i32..12), LANES),
        shifted: bool,
        cut in 0usize..=100,
    ) {
        let images = images(5, h, w);
        let crop = if full { Crop::full((h, w)) } else { Crop { y, x, h: ch, w: cw } };
        let normalize = Normalize::mean_std(0.1307, 0.3081);
        let shifts: Vec<Shift> = moves[..indices.len()].iter().map(|&(dy, dx)| Shift { dy, dx }).collect();
        let shifts = if shifted { &shifts[..] } else { &[] };

        let mut tile = vec![f32::NAN; crop.features() * LANES];
        unpack_tile_shifted(images.view(), &indices, shifts, normalize, crop, &mut tile);
        for f in 0..crop.features() {
            for lane in 0..LANES {
                let live = lane.min(indices.len() - 1);
                let shift = shifts.get(live).copied().unwrap_or_default();
                let expected = naive(images.view(), indices[live], shift, normalize, crop, f);
                prop_assert_eq!(tile[f * LANES + lane].to_bits(), expected.to_bits(), "feature {}, lane {}", f, lane);
            }
        }

        // At once, and in two parts.
        let mut sample = vec![f32::NAN; crop.features()];
        let mut parts = sample.clone();
        unpack_sample(images.view(), indices[0], normalize, crop, &mut sample);
        let cut = crop.features() * cut / 100;
        for part in [0..cut, cut..crop.features()] {
            let out = &mut parts[part.clone()];
            unpack_features(images.view(), indices[0], normalize, crop, part, out);
        }
        for (f, (x, part)) in sample.iter().zip(&parts).enumerate() {
            let expected = naive(images.view(), indices[0], Shift::default(), normalize, crop, f);
            prop_assert_eq!(x.to_bits(), expected.to_bits(), "feature {}", f);
            prop_assert_eq!(part.to_bits(), expected.to_bits(), "feature {} of a part", f);
        }
    }

    #[test]
    fn shifts_alone_agree_with_warping(shift in 0u8..5, seed: u64, step: u64, sample in 0u64..1000) {
        let images = images(3, 9, 12);
        let augment = Augment { shift, ..Augment::default() };
        let mut warped = vec![0; 9 * 12];
        augment.warp(seed, step, sample, images.index_axis(ndarray::Axis(0), 2), &mut warped);
        let mut tile = vec![0.0; 9 * 12 * LANES];
        let (normalize, crop) = (Normalize::centered(), Crop::full((9, 12)));
        augment.unpack_tile(seed, step, sample, images.view(), &[2], normalize, crop, &mut [], &mut tile);
        for (x, &p) in tile.iter().step_by(LANES).zip(&warped) {
            prop_assert_eq!(*x, normalize.apply(p));
        }
    }
}

#[test]
fn the_last_image_ends_in_the_middle_of_a_block() {
    let images = images(2, 3, 3);
    let mut tile = vec![f32::NAN; 9 * LANES];
    unpack_tile(images.view(), &[1], Normalize { scale: 1.0, shift: 0.0 }, Crop::full((3, 3)), &mut tile);
    let expected: Vec<f32> = images.iter().skip(9).map(|&p| f32::from(p)).collect();
    assert_eq!(tile.iter().step_by(LANES).copied().collect::<Vec<_>>(), expected);
}

#[test]
fn crops_pad_and_centre() {
    assert_eq!(Crop::center((28, 28), 24, 20), Crop { y: 2, x: 4, h: 24, w: 20 });
    assert_eq!(Crop::center((28, 28), 32, 32), Crop { y: -2, x: -2, h: 32, w: 32 });
}

#[test]
#[should_panic(expected = "17 samples for a tile of 1 to 16")]
fn too_many_samples() {
    unpack_tile(images(1, 1, 1).view(), &[0; 17], Normalize::unit(), Crop::full((1, 1)), &mut [0.0; 16]);
}

#[test]
#[should_panic(expected = "sample 5 of a data set of 5")]
fn a_sample_that_is_not_there() {
    unpack_tile(images(5, 1, 1).view(), &[5], Normalize::unit(), Crop::full((1, 1)), &mut [0.0; 16]);
}

#[test]
#[should_panic(expected = "a tile of 15 numbers for 1 features x 16")]
fn a_tile_of_the_wrong_length() {
    unpack_tile(images(1, 1, 1).view(), &[0], Normalize::unit(), Crop::full((1, 1)), &mut [0.0; 15]);
}

#[test]
fn augmentation_is_a_function_of_seed_step_and_sample() {
    let images = images(1, 28, 28);
    let image = images.index_axis(ndarray::Axis(0), 0);
    let augment = Augment { shift: 2, rotate: 0.3, scale: 0.2, shear: 0.2 };
    let warp = |seed, step, sample| {
        let mut out = vec![0; 784];
        augment.warp(seed, step, sample, image, &mut out);
        out
    };
    let first = warp(1, 2, 3);
    assert_eq!(first, warp(1, 2, 3));
    assert!([warp(0, 2, 3), warp(1, 0, 3), warp(1, 2, 0)].iter().all(|other| *other != first));
}

#[test]
fn the_default_augmentation_changes_nothing() {
    let images = images(1, 5, 7);
    let augment = Augment::default();
    assert!(augment.is_identity());
    let mut out = vec![0; 35];
    augment.warp(1, 2, 3, images.index_axis(ndarray::Axis(0), 0), &mut out);
    assert_eq!(out, images.as_slice().unwrap());
}

#[test]
fn tiles_of_warped_samples_are_warped_samples() {
    let images = images(4, 28, 28);
    let augment = Augment { shift: 1, rotate: 0.3, scale: 0.2, shear: 0.2 };
    let (normalize, crop) = (Normalize::unit(), Crop::center((28, 28), 24, 24));
    let mut scratch = vec![0; augment.scratch_len((28, 28))];
    let mut tile = vec![0.0; crop.features() * LANES];
    let indices = [3, 0, 2];
    augment.unpack_tile(5, 6, 100, images.view(), &indices, normalize, crop, &mut scratch, &mut tile);
    for (lane, &index) in indices.iter().enumerate() {
        let mut warped = Array3::zeros((1, 28, 28));
        let image = images.index_axis(ndarray::Axis(0), index as usize);
        augment.warp(5, 6, 100 + lane as u64, image, warped.as_slice_mut().unwrap());
        let mut expected = vec![0.0; crop.features()];
        unpack_sample(warped.view(), 0, normalize, crop, &mut expected);
        assert_eq!(tile.iter().skip(lane).step_by(LANES).copied().collect::<Vec<_>>(), expected);
    }
}
