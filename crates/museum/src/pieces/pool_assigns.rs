//! Max pooling that assigns where overlapping windows must add.

use byhand_layers::MaxPool2d;

use super::prelude::*;
use crate::places::Windows;

#[derive(Debug)]
struct PoolAssigns;

impl Mistake for PoolAssigns {
    type Right = MaxPool2d;

    fn shown() -> Result<MaxPool2d, LayerError> {
        MaxPool2d::new(Shape::new(2, 7, 8), [3, 2], [2, 1])
    }

    fn backward<T: Scalar>(pool: &MaxPool2d, call: Backward<'_, T>) {
        let Backward { pass, saved, dy, dx: Some(dx), .. } = call else { return };
        let windows = Windows::of_max(pool, pass.block);
        dx.fill(T::ZERO);
        for window in windows.live() {
            let y = windows.y(window);
            if let Some(x) = windows.first(window, saved.x, saved.y[y]) {
                // <wrong>
                dx[x] = dy[y];
                // </wrong>
            }
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "pool-assigns",
    notebook: "A",
    mistake: "`=` where windows that overlap need `+=`",
    wrong: "dx[first maximum of window (i, j)]  = dy[i, j]",
    right: "dx[first maximum of window (i, j)] += dy[i, j]",
    symptom: "none until windows overlap; then one input can be the maximum of several, and all but the last window's gradient is lost",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example {
        layers: "conv(8,3) relu pool(3,stride=2) dense(10)",
        layer: Some(2),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("pool_assigns.rs"),
    make: Make::layer::<PoolAssigns>(),
};
