//! Tiles against a naive twin, bit for bit, over many sizes, crops, shifts and numbers of lanes.

use byhand_datasets::augment::blend;
use byhand_datasets::unpack::{
    Crop, LANES, Shift, unpack_features, unpack_sample, unpack_tile, unpack_tile_shifted,
};
use byhand_datasets::{Augment, Normalize};
use ndarray::{Array3, Array4, ArrayView4, s};
use proptest::prelude::*;

/// What a pixel of a tile is, by definition.
fn naive(
    images: ArrayView4<'_, u8>,
    index: u32,
    shift: Shift,
    normalize: Normalize,
    crop: Crop,
    f: usize,
) -> f32 {
    let (_, _, h, w) = images.dim();
    let (channel, f) = (f / crop.features(), f % crop.features());
    let y = crop.y - shift.dy + (f / crop.w) as i32;
    let x = crop.x - shift.dx + (f % crop.w) as i32;
    let inside = (0..h as i32).contains(&y) && (0..w as i32).contains(&x);
    normalize.apply(if inside { images[[index as usize, channel, y as usize, x as usize]] } else { 0 })
}

fn images(n: usize, channels: usize, (h, w): (usize, usize)) -> Array4<u8> {
    let level = |(i, c, y, x)| (i * 101 + c * 59 + y * 37 + x * 11 + 1) as u8;
    Array4::from_shape_fn((n, channels, h, w), level)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tiles_and_samples_equal_the_naive_twin(
        channels in 1usize..4,
        (h, w) in (1usize..31, 1usize..31),
        (y, x) in (-9i32..9, -9i32..9),
        (ch, cw) in (1usize..31, 1usize..31),
        full: bool,
        indices in prop::collection::vec(0u32..5, 1..=LANES),
        moves in prop::collection::vec((-12i32..12, -12i32..12), LANES),
        shifted: bool,
        cut in 0usize..=100,
    ) {
        let images = images(5, channels, (h, w));
        let crop = if full { Crop::full((h, w)) } else { Crop { y, x, h: ch, w: cw } };
        let normalize = Normalize::mean_std(0.1307, 0.3081);
        let shifts: Vec<Shift> = moves[..indices.len()].iter().map(|&(dy, dx)| Shift { dy, dx }).collect();
        let shifts = if shifted { &shifts[..] } else { &[] };

        let features = channels * crop.features();
        let mut tile = vec![f32::NAN; features * LANES];
        unpack_tile_shifted(images.view(), &indices, shifts, normalize, crop, &mut tile);
        for f in 0..features {
            for lane in 0..LANES {
                let live = lane.min(indices.len() - 1);
                let shift = shifts.get(live).copied().unwrap_or_default();
                let expected = naive(images.view(), indices[live], shift, normalize, crop, f);
                prop_assert_eq!(tile[f * LANES + lane].to_bits(), expected.to_bits(), "feature {}, lane {}", f, lane);
            }
        }

        // At once, and in two parts.
        let mut sample = vec![f32::NAN; features];
        let mut parts = sample.clone();
        unpack_sample(images.view(), indices[0], normalize, crop, &mut sample);
        let cut = features * cut / 100;
        for part in [0..cut, cut..features] {
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
    fn shifts_alone_agree_with_sampling_between_pixels(shift in 0u8..5, seed: u64, step: u64, sample in 0u64..1000) {
        let images = images(3, 2, (9, 12));
        let augment = Augment { shift, ..Augment::default() };
        let image = images.index_axis(ndarray::Axis(0), 2);
        let mut moved = vec![0; 2 * 9 * 12];
        augment.apply(seed, step, sample, image, &mut [], &mut moved);
        let mut tile = vec![0.0; 2 * 9 * 12 * LANES];
        let (normalize, crop) = (Normalize::centered(), Crop::full((9, 12)));
        let mut shifts = [Shift::default()];
        augment.shifts(seed, step, sample, &mut shifts);
        unpack_tile_shifted(images.view(), &[2], &shifts, normalize, crop, &mut tile);
        for (x, &p) in tile.iter().step_by(LANES).zip(&moved) {
            prop_assert_eq!(*x, normalize.apply(p));
        }
        // So small an angle moves no pixel by as much as would round to another value.
        let (nearly, mut sampled) = (Augment { rotate: 1e-6, ..augment }, vec![0; 2 * 9 * 12]);
        let mut scratch = vec![0; nearly.scratch_len((9, 12))];
        nearly.apply(seed, step, sample, image, &mut scratch, &mut sampled);
        prop_assert_eq!(sampled, moved);
    }
}

#[test]
fn the_last_image_ends_in_the_middle_of_a_block() {
    let images = images(2, 1, (3, 3));
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
    unpack_tile(images(1, 1, (1, 1)).view(), &[0; 17], Normalize::unit(), Crop::full((1, 1)), &mut [0.0; 16]);
}

#[test]
#[should_panic(expected = "sample 5 of a data set of 5")]
fn a_sample_that_is_not_there() {
    unpack_tile(images(5, 1, (1, 1)).view(), &[5], Normalize::unit(), Crop::full((1, 1)), &mut [0.0; 16]);
}

#[test]
#[should_panic(expected = "a tile of 15 numbers for 1 features x 16")]
fn a_tile_of_the_wrong_length() {
    unpack_tile(images(1, 1, (1, 1)).view(), &[0], Normalize::unit(), Crop::full((1, 1)), &mut [0.0; 15]);
}

/// What `augment` makes of the first of two images of 28x28, as sample `sample` of step `step`.
fn changed(augment: Augment, seed: u64, step: u64, sample: u64) -> Vec<u8> {
    let images = images(1, 1, (28, 28));
    let mut scratch = vec![0xa5; augment.scratch_len((28, 28))];
    let mut out = vec![0x5a; 784];
    augment.apply(seed, step, sample, images.index_axis(ndarray::Axis(0), 0), &mut scratch, &mut out);
    out
}

#[test]
fn augmentation_is_a_function_of_seed_step_and_sample() {
    let none = Augment::default();
    for augment in [
        Augment { shift: 2, rotate: 0.3, scale: 0.2, shear: 0.2, ..none },
        Augment { elastic: 2.0, ..none },
        Augment { erase: 14, ..none },
        Augment { shift: 3, flip: true, ..none },
    ] {
        let first = changed(augment, 1, 2, 3);
        assert_eq!(first, changed(augment, 1, 2, 3));
        let others = [changed(augment, 0, 2, 3), changed(augment, 1, 0, 3), changed(augment, 1, 2, 0)];
        assert!(others.iter().any(|other| *other != first), "{augment:?}");
    }
}

/// Each channel of an image is changed as that plane alone would be.
#[test]
fn channels_are_changed_alike() {
    let image = images(1, 3, (20, 17));
    let image = image.index_axis(ndarray::Axis(0), 0);
    let none = Augment::default();
    for augment in [
        Augment { shift: 2, flip: true, erase: 9, ..none },
        Augment { rotate: 0.5, scale: 0.2, shear: 0.3, elastic: 1.5, flip: true, erase: 5, ..none },
    ] {
        let mut scratch = vec![0xa5; augment.scratch_len((20, 17))];
        for sample in 0..20 {
            let (mut all, mut planes) = (vec![0x5a; 3 * 340], vec![0x5a; 3 * 340]);
            augment.apply(1, 2, sample, image, &mut scratch, &mut all);
            for (channel, out) in planes.chunks_exact_mut(340).enumerate() {
                let plane = image.slice(s![channel..channel + 1, .., ..]);
                augment.apply(1, 2, sample, plane, &mut scratch, out);
            }
            assert_eq!(all, planes, "{augment:?}, sample {sample}");
        }
    }
}

#[test]
fn the_default_augmentation_changes_nothing() {
    assert!(Augment::default().is_identity());
    assert_eq!(changed(Augment::default(), 1, 2, 3), images(1, 1, (28, 28)).into_raw_vec_and_offset().0);
}

/// A ramp goes up by 3 a column and 2 a row: between pixels it is a plane, so a move is seen to a part of a pixel.
fn ramp() -> Array3<u8> {
    Array3::from_shape_fn((1, 28, 28), |(_, y, x)| (3 * x + 2 * y) as u8)
}

#[test]
fn a_turn_goes_about_the_centre_and_keeps_it() {
    let (augment, image) = (Augment { rotate: 1.0, ..Augment::default() }, ramp());
    let mut scratch = vec![0; augment.scratch_len((28, 28))];
    for sample in 0..50 {
        let mut out = vec![0; 784];
        augment.apply(4, 0, sample, image.view(), &mut scratch, &mut out);
        let middle: u32 =
            [13 * 28 + 13, 13 * 28 + 14, 14 * 28 + 13, 14 * 28 + 14].map(|i| u32::from(out[i])).iter().sum();
        // The mean of the four pixels about the centre, 67.5.
        assert!(middle.abs_diff(270) <= 4, "sample {sample}: {middle}");
    }
}

#[test]
fn elastic_distortions_move_pixels_no_further_than_they_may() {
    let (augment, image) = (Augment { elastic: 1.5, ..Augment::default() }, ramp());
    let mut scratch = vec![0; augment.scratch_len((28, 28))];
    let mut furthest = 0;
    for sample in 0..50 {
        let mut out = vec![0; 784];
        augment.apply(4, 0, sample, image.view(), &mut scratch, &mut out);
        for (y, x) in (4..24).flat_map(|y| (4..24).map(move |x| (y, x))) {
            furthest = furthest.max(out[y * 28 + x].abs_diff(image[[0, y, x]]));
        }
    }
    // At most 1.5 pixels along each axis, at 2 and 3 a pixel, and half a unit of rounding.
    assert!((3..=8).contains(&furthest), "{furthest}");
}

#[test]
fn every_other_image_is_mirrored() {
    let (plain, augment) = (images(1, 1, (28, 28)), Augment { flip: true, ..Augment::default() });
    let mirrored: Vec<u8> = plain.slice(s![0, .., .., ..;-1]).iter().copied().collect();
    let is_mirrored = |sample| {
        let out = changed(augment, 7, 1, sample);
        assert!(out == mirrored || out == plain.as_slice().unwrap());
        out == mirrored
    };
    let count = (0..400).filter(|&sample| is_mirrored(sample)).count();
    assert!((150..250).contains(&count), "{count} of 400");
    // Between pixels too: the same draw, and an angle that moves no pixel.
    let nearly = Augment { rotate: 1e-6, ..augment };
    (0..8).for_each(|sample| assert_eq!(changed(nearly, 7, 1, sample), changed(augment, 7, 1, sample)));
}

#[test]
fn erasures_are_rectangles_of_zeros_of_at_most_that_size() {
    let white = Array3::from_elem((1, 28, 28), 255);
    let augment = Augment { erase: 9, ..Augment::default() };
    let mut sizes = std::collections::BTreeSet::new();
    for sample in 0..2_000 {
        let mut out = vec![0; 784];
        augment.apply(1, 1, sample, white.view(), &mut [], &mut out);
        let erased: Vec<(usize, usize)> =
            (0..784).filter(|&i| out[i] == 0).map(|i| (i / 28, i % 28)).collect();
        let side = |of: fn(&(usize, usize)) -> usize| {
            let (least, most) = (erased.iter().map(of).min()?, erased.iter().map(of).max()?);
            Some(most + 1 - least)
        };
        if let (Some(rows), Some(columns)) = (side(|at| at.0), side(|at| at.1)) {
            assert!(erased.len() == rows * columns && rows <= 9 && columns <= 9, "{rows} x {columns}");
            sizes.insert((rows, columns));
        }
    }
    assert_eq!(sizes.len(), 81, "every size there may be");
}

#[test]
fn a_minibatch_is_mixed_with_itself_in_another_order() {
    let augment = Augment { mixup: 0.4, ..Augment::default() };
    for n in [1, 2, 5, 64] {
        let mut partners: Vec<usize> = (0..n).map(|sample| augment.mix(3, 4, sample, n).0).collect();
        assert!(n == 1 || partners.iter().enumerate().all(|(sample, &partner)| sample != partner));
        partners.sort_unstable();
        assert!(partners.into_iter().eq(0..n));
    }
    let mut mixed = [0, 100, 255];
    blend(&mut mixed, &[255, 100, 0], 0.25);
    assert_eq!(mixed, [191, 100, 64]);
}
