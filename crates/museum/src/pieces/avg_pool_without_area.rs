//! Average pooling that hands the whole gradient of a window to each of its inputs.

use byhand_layers::AvgPool2d;

use super::prelude::*;
use crate::places::Windows;

#[derive(Debug)]
struct AvgPoolWithoutArea;

impl Mistake for AvgPoolWithoutArea {
    type Right = AvgPool2d;

    fn shown() -> Result<AvgPool2d, LayerError> {
        AvgPool2d::new(Shape::new(2, 7, 8), [2, 2], [2, 2])
    }

    fn backward<T: Scalar>(pool: &AvgPool2d, call: Backward<'_, T>) {
        let Backward { pass, dy, dx: Some(dx), .. } = call else { return };
        let windows = Windows::of_avg(pool, pass.block);
        dx.fill(T::ZERO);
        for window in windows.live() {
            for x in windows.inputs(window) {
                // <wrong>
                dx[x] += dy[windows.y(window)];
                // </wrong>
            }
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "avg-pool-without-area",
    notebook: "classic",
    mistake: "the gradient of a mean is not divided by the number of its terms",
    wrong: "dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]",
    right: "dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j] / (k0*k1)",
    symptom: "everything below the pool learns at four times the rate, or more",
    caught_by: EVERY_GRADIENT_CHECK,
    example: Example {
        layers: "conv(8,3) relu avgpool(2) dense(10)",
        layer: Some(2),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("avg_pool_without_area.rs"),
    make: Make::layer::<AvgPoolWithoutArea>(),
};
