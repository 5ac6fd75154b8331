//! Max pooling that gives each of several equal maxima the whole gradient.
//!
//! No gradient check on random numbers finds it, since random numbers do not tie. A flat background is all ties, and four fifths of
//! a digit's image is background.

use byhand_layers::MaxPool2d;

use super::prelude::*;
use crate::places::Windows;

#[derive(Debug)]
struct PoolAllTies;

impl Mistake for PoolAllTies {
    type Right = MaxPool2d;

    fn shown() -> Result<MaxPool2d, LayerError> {
        MaxPool2d::new(Shape::new(3, 6, 6), [2, 2], [2, 2])
    }

    fn backward<T: Scalar>(pool: &MaxPool2d, call: Backward<'_, T>) {
        let Backward { pass, saved, dy, dx: Some(dx), .. } = call else { return };
        let windows = Windows::of_max(pool, pass.block);
        dx.fill(T::ZERO);
        for window in windows.live() {
            let y = windows.y(window);
            for x in windows.inputs(window) {
                // <wrong>
                if saved.x[x] == saved.y[y] {
                    dx[x] += dy[y];
                }
                // </wrong>
            }
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "pool-all-ties",
    notebook: "A, B",
    mistake: "every input equal to the window's maximum gets the whole gradient, not the first alone",
    wrong: "for every (p, q) with x[c, i*s0 + p, j*s1 + q] == y[c, i, j]:  dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]",
    right: "for the first of them alone:  dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]",
    symptom: "on flat backgrounds the gradient is up to four times too large, like a larger, uneven learning rate; no check on random numbers sees it",
    caught_by: &[Check::Clause(Clause::TieSum), Check::Clause(Clause::Convention)],
    example: Example { layers: "conv(8,3) relu pool(2) dense(10)", layer: Some(2), batch_size: 32, parts: 1 },
    source: include_str!("pool_all_ties.rs"),
    make: Make::layer::<PoolAllTies>(),
};
