//! Windows that slide over a plane: sizes in, sizes out, and what can be wrong with them.

use crate::error::{GeometryError, MAX_ELEMENTS};
use std::ops::Range;

/// Output size along one axis: `(input + 2 pad - window) / stride + 1`, rounded down.
#[inline]
pub(crate) fn windows(input: usize, window: usize, stride: usize, pad: usize) -> usize {
    (input + 2 * pad - window) / stride + 1
}

/// Windows along one axis of an image.
///
/// Window `i` has the taps `u < taps`, which see the pixels `i * stride + u * dilation - before`; a tap that sees no pixel is in the
/// padding.
///
/// ```
/// use byhand_tensor::{Slide, Windows};
/// let windows = Windows::new("pool", "rows", 5, Slide { taps: 3, stride: 2, pad: [1, 1], ..Slide::default() })?;
/// assert_eq!(windows.count(), 3);
/// assert_eq!((windows.seen(0), windows.seen(1), windows.seen(2)), (1..3, 0..3, 0..2));
/// assert_eq!(windows.pixel(1, 0), 1);
/// # Ok::<(), byhand_tensor::GeometryError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    // Kernels rely on what `new` checked: nobody outside can change it.
    input: usize,
    slide: Slide,
    count: usize,
}

/// How a window looks along one axis, and how it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slide {
    /// Taps of a window.
    pub taps: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels from one tap to the next.
    pub dilation: usize,
    /// Pixels of padding before and behind the image.
    pub pad: [usize; 2],
    /// Whether the number of windows is rounded up: a last window may then stick out of the padded image, if it begins in the image or
    /// in the padding before it.
    pub ceil: bool,
}

impl Default for Slide {
    /// One tap, from pixel to pixel, without padding.
    fn default() -> Self {
        Self { taps: 1, stride: 1, dilation: 1, pad: [0, 0], ceil: false }
    }
}

impl Slide {
    /// Pixels from the first to the last tap, both counted; the largest number, where that is larger than any.
    fn reach(&self) -> usize {
        self.dilation.saturating_mul(self.taps.saturating_sub(1)).saturating_add(1)
    }
}

impl Windows {
    /// Windows over `input` pixels. `kernel` and `axis` (`rows` or `columns`) are for the error.
    ///
    /// # Errors
    /// A size is zero; the padding before or behind the image is as large as a window's reach, `dilation * (taps - 1) + 1`; a window
    /// reaches beyond the padded image (rounded up: so far beyond it that there is no window); or there is a window that sees no pixel.
    pub fn new(
        kernel: &'static str,
        axis: &'static str,
        input: usize,
        slide: Slide,
    ) -> Result<Self, GeometryError> {
        let Slide { taps, stride, dilation, pad: [before, behind], ceil } = slide;
        for (what, size) in [("the window", taps), ("the stride", stride), ("the dilation", dilation)] {
            if size == 0 {
                return Err(GeometryError::Zero { kernel, what });
            }
        }
        let reach = slide.reach();
        if let Some(pad) = [before, behind].into_iter().find(|&pad| pad >= reach) {
            return Err(GeometryError::PadTooLarge { kernel, axis, window: reach, pad });
        }
        let too_large =
            || GeometryError::WindowTooLarge { kernel, axis, window: reach, input, pad: slide.pad };
        // A padded image of more pixels than that is refused in any case, and no sum below wraps.
        let padded = input.saturating_add(before).saturating_add(behind);
        if reach.max(padded) > 4 * MAX_ELEMENTS {
            let what = "a row or column with its padding";
            let limit = 4 * MAX_ELEMENTS;
            let error = GeometryError::TooLarge { kernel, what, limit };
            return Err(if padded > limit { error } else { too_large() });
        }
        // A longer stride has the same one window, and would only make numbers large.
        let stride = stride.min(padded.max(reach));
        let up = if ceil { stride - 1 } else { 0 };
        let room = (padded + up).checked_sub(reach).ok_or_else(too_large)?;
        let count = room / stride + 1;
        let is_behind = (count - 1) * stride >= input + before;
        let count = if ceil && is_behind { count - 1 } else { count };
        let windows = Self { input, slide: Slide { stride, ..slide }, count };
        // Only where taps lie further apart than the image is long can a window step over it.
        let mut before_image = (0..count).take_while(|i| dilation > input && i * stride < before);
        if before_image.any(|i| windows.seen(i).is_empty()) {
            return Err(GeometryError::Unseeing { kernel, axis, dilation, input });
        }
        Ok(windows)
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Pixels of the image.
    #[inline]
    pub fn input(&self) -> usize {
        self.input
    }

    /// How a window looks and goes; its stride is no longer than the padded image or its reach.
    #[inline]
    pub fn slide(&self) -> Slide {
        self.slide
    }

    /// The taps of window `i` that see a pixel.
    #[inline]
    pub fn seen(&self, i: usize) -> Range<usize> {
        let Slide { taps, stride, dilation, pad: [before, _], .. } = self.slide;
        let start = i * stride;
        if start >= before && start + self.slide.reach() <= self.input + before {
            return 0..taps;
        }
        let first = before.saturating_sub(start).div_ceil(dilation).min(taps);
        let end = (self.input + before).saturating_sub(start).div_ceil(dilation).min(taps);
        first..end.max(first)
    }

    /// The taps of window `i` that lie in the image or in its padding: all but those that stick out of a last window.
    #[inline]
    pub fn within(&self, i: usize) -> usize {
        let Slide { taps, stride, dilation, pad: [before, behind], .. } = self.slide;
        (before + self.input + behind).saturating_sub(i * stride).div_ceil(dilation).min(taps)
    }

    /// The pixel that tap `u` of window `i` sees, one of those [seen](Self::seen).
    #[inline]
    pub fn pixel(&self, i: usize, u: usize) -> usize {
        i * self.slide.stride + u * self.slide.dilation - self.slide.pad[0]
    }

    /// Whether every tap of every window sees a pixel, and taps are neighbours.
    pub fn is_plain(&self) -> bool {
        let Slide { taps, stride, dilation, pad, .. } = self.slide;
        pad == [0, 0] && dilation == 1 && (self.count - 1) * stride + taps <= self.input
    }

    /// Whether no pixel is seen by two windows.
    #[inline]
    pub(crate) fn are_disjoint(&self) -> bool {
        self.slide.stride >= self.slide.reach()
    }
}

/// Checks that no size of `[channels, rows, columns]` is zero.
pub(crate) fn check_input(kernel: &'static str, input: [usize; 3]) -> Result<(), GeometryError> {
    for (what, size) in ["input channels", "input rows", "input columns"].into_iter().zip(input) {
        if size == 0 {
            return Err(GeometryError::Zero { kernel, what });
        }
    }
    Ok(())
}
