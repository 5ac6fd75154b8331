//! Max pooling that unpacks its shape as `w, h`, and so lays its output out in rows of `h_out` numbers.

use byhand_layers::MaxPool2d;

use super::prelude::*;
use crate::places::{Window, Windows};

#[derive(Debug)]
struct PoolSwapsAxes;

impl Mistake for PoolSwapsAxes {
    type Right = MaxPool2d;

    fn shown() -> Result<MaxPool2d, LayerError> {
        MaxPool2d::new(Shape::new(2, 6, 14), [2, 2], [2, 2])
    }

    fn forward<T: Scalar>(pool: &MaxPool2d, call: Forward<'_, T>) {
        let Forward { pass, x, y, .. } = call;
        let windows = Windows::of_max(pool, pass.block);
        for window in windows.every_lane() {
            let inputs = windows.inputs(window).map(|place| x[place]);
            let max = inputs.reduce(|max, x| if x > max || x.is_nan() { x } else { max });
            y[swapped(&windows, window)] = max.unwrap_or(T::ZERO);
        }
    }

    fn backward<T: Scalar>(pool: &MaxPool2d, call: Backward<'_, T>) {
        let Backward { pass, saved, dy, dx: Some(dx), .. } = call else { return };
        let windows = Windows::of_max(pool, pass.block);
        dx.fill(T::ZERO);
        for window in windows.live() {
            let y = swapped(&windows, window);
            if let Some(x) = windows.first(window, saved.x, saved.y[y]) {
                dx[x] += dy[y];
            }
        }
    }
}

/// Where it puts a window's output.
fn swapped(windows: &Windows, [sample, c, i, j]: Window) -> usize {
    // <wrong>
    let [w_out, h_out] = windows.output();
    // </wrong>
    windows.y_at(sample, (c * h_out + i) * w_out + j)
}

pub(super) const PIECE: Piece = Piece {
    name: "pool-swaps-axes",
    notebook: "D",
    mistake: "height and width change places when the shape is unpacked",
    wrong: "w_out, h_out = shape;  y[(c*h_out + i)*w_out + j] = max of window (i, j)",
    right: "h_out, w_out = shape;  y[(c*h_out + i)*w_out + j] = max of window (i, j)",
    symptom: "none on square images; on wide ones rows run into each other and part of y is never written, on tall ones it reaches outside",
    caught_by: &[Check::Clause(Clause::Overwrite), Check::Clause(Clause::TieSum), Check::Twin],
    example: Example {
        layers: "conv(8,7x3) relu pool(2) dense(10)",
        layer: Some(2),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("pool_swaps_axes.rs"),
    make: Make::layer::<PoolSwapsAxes>(),
};
