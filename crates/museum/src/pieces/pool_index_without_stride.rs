//! Max pooling as the first notebook wrote it back: the gradient goes to `(i + p, j + q)`.
//!
//! The forward pass is right, so the network computes what it should; each index is in bounds, so nothing complains. Every window
//! `(i, j)` writes its gradient where window `(i/2, j/2)` lies. The same line has two more mistakes, which have rooms of their own:
//! `pool-all-ties` and `pool-assigns`.

use byhand_layers::MaxPool2d;

use super::prelude::*;
use crate::places::Windows;

#[derive(Debug)]
struct PoolIndexWithoutStride;

impl Mistake for PoolIndexWithoutStride {
    type Right = MaxPool2d;

    fn shown() -> Result<MaxPool2d, LayerError> {
        MaxPool2d::new(Shape::new(2, 7, 8), [2, 2], [2, 2])
    }

    fn backward<T: Scalar>(pool: &MaxPool2d, call: Backward<'_, T>) {
        let Backward { pass, saved, dy, dx: Some(dx), .. } = call else { return };
        let windows = Windows::of_max(pool, pass.block);
        dx.fill(T::ZERO);
        for window in windows.live() {
            let (y, [sample, c, i, j]) = (windows.y(window), window);
            for [p, q] in windows.offsets() {
                // <wrong>
                if saved.x[windows.x(window, [p, q])] == saved.y[y] {
                    dx[windows.x_at(sample, [c, i + p, j + q])] = dy[y];
                }
                // </wrong>
            }
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "pool-index-without-stride",
    notebook: "A",
    mistake: "the gradient of window (i, j) goes to (i + p, j + q) instead of (stride*i + p, stride*j + q)",
    wrong: "if x[c, i*s0 + p, j*s1 + q] == y[c, i, j]:  dx[c, i + p, j + q] = dy[c, i, j]",
    right: "the first maximum of window (i, j), at (p, q):  dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]",
    symptom: "only the top left quarter of the map gets a gradient; it still trains, to some per cent less, since the dense layer learns by itself",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Clause(Clause::TieSum),
        Check::Clause(Clause::Convention),
        Check::Twin,
    ],
    example: Example { layers: "conv(8,3) relu pool(2) dense(10)", layer: Some(2), batch_size: 32, parts: 1 },
    source: include_str!("pool_index_without_stride.rs"),
    make: Make::layer::<PoolIndexWithoutStride>(),
};
