//! Sliding windows over a plane: sizes in, sizes out, and what can be wrong with them.

use crate::error::GeometryError;

/// Output size along one axis: `(input + 2 pad - window) / stride + 1`, rounded down.
#[inline]
pub(crate) fn windows(input: usize, window: usize, stride: usize, pad: usize) -> usize {
    (input + 2 * pad - window) / stride + 1
}

/// Checks a window along both axes.
pub(crate) fn check_window(
    kernel: &'static str,
    input: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
) -> Result<(), GeometryError> {
    for (axis, i) in [("rows", 0), ("columns", 1)] {
        if window[i] == 0 {
            return Err(GeometryError::Zero { kernel, what: "the window" });
        }
        if stride[i] == 0 {
            return Err(GeometryError::Zero { kernel, what: "the stride" });
        }
        if pad[i] >= window[i] {
            return Err(GeometryError::PadTooLarge { kernel, axis, window: window[i], pad: pad[i] });
        }
        if window[i] > input[i] + 2 * pad[i] {
            return Err(GeometryError::WindowTooLarge {
                kernel,
                axis,
                window: window[i],
                input: input[i],
                pad: pad[i],
            });
        }
    }
    Ok(())
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
