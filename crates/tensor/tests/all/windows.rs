//! Windows along one axis of an image.

use byhand_tensor::{Slide, Windows};

/// Against the definition, tap by tap.
#[test]
fn windows_are_what_they_say() {
    let mut made = 0;
    for (input, taps, stride, dilation) in (1..7)
        .flat_map(|a| (1..5).flat_map(move |b| (1..5).flat_map(move |c| (1..4).map(move |d| (a, b, c, d)))))
    {
        for (before, behind, ceil) in
            (0..4).flat_map(|a| (0..4).flat_map(move |b| [false, true].map(|c| (a, b, c))))
        {
            let slide = Slide { taps, stride, dilation, pad: [before, behind], ceil };
            let (reach, padded) = (dilation * (taps - 1) + 1, before + input + behind);
            let sees = |i: usize| {
                (0..taps)
                    .filter(|u| (before..before + input).contains(&(i * stride + u * dilation)))
                    .collect::<Vec<_>>()
            };
            // As many as fit; rounded up, one more if it begins before the image's end.
            let fitting = (0..).take_while(|i| i * stride + reach <= padded).count();
            let next = fitting * stride;
            let sticks_out = next < padded && next + reach > padded && next < before + input;
            let room = (padded + stride).checked_sub(reach + 1);
            let one_more = ceil && room.is_some_and(|room| room / stride + 1 > fitting) && sticks_out;
            let count = fitting + usize::from(one_more);
            let valid = before.max(behind) < reach && count > 0 && (0..count).all(|i| !sees(i).is_empty());
            match Windows::new("pool", "rows", input, slide) {
                Err(error) => assert!(!valid, "{input} {slide:?}: {error}"),
                Ok(windows) => {
                    assert!(valid, "{input} {slide:?}");
                    assert_eq!(windows.count(), count, "{input} {slide:?}");
                    for i in 0..count {
                        assert_eq!(windows.seen(i).collect::<Vec<_>>(), sees(i), "{input} {slide:?} {i}");
                        let within = (0..taps).filter(|u| i * stride + u * dilation < padded).count();
                        assert_eq!(windows.within(i), within, "{input} {slide:?} {i}");
                    }
                    let plain = pad_free(slide) && (0..count).all(|i| sees(i).len() == taps);
                    assert_eq!(windows.is_plain(), plain, "{input} {slide:?}");
                    made += 1;
                }
            }
        }
    }
    assert!(made > 1000, "{made}");
}

fn pad_free(slide: Slide) -> bool {
    slide.pad == [0, 0] && slide.dilation == 1
}
