//! Max pooling whose running maximum starts from a number thought small enough.

use byhand_layers::MaxPool2d;

use super::prelude::*;
use crate::places::Windows;

#[derive(Debug)]
struct PoolSentinel;

impl Mistake for PoolSentinel {
    type Right = MaxPool2d;

    fn shown() -> Result<MaxPool2d, LayerError> {
        MaxPool2d::new(Shape::new(2, 7, 8), [2, 2], [2, 2])
    }

    fn forward<T: Scalar>(pool: &MaxPool2d, call: Forward<'_, T>) {
        let Forward { pass, x, y, tape, .. } = call;
        let windows = Windows::of_max(pool, pass.block);
        for window in windows.every_lane() {
            // <wrong>
            let (mut max, mut place) = (T::from_f64(-99999.99), 0);
            for (k, x_at) in windows.inputs(window).enumerate() {
                if x[x_at] > max {
                    (max, place) = (x[x_at], k);
                }
            }
            // </wrong>
            let y_at = windows.y(window);
            (y[y_at], tape[y_at]) = (max, T::from_f64(place as f64));
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "pool-sentinel",
    notebook: "C",
    mistake: "the running maximum starts at -99999.99 instead of at the window's first number",
    wrong: "max = -99999.99;  for (p, q): if x > max: max = x",
    right: "max = the first of the window;  for the others: if x > max or x is NaN: max = x",
    symptom: "none while activations are moderate; a window of very negative numbers, or of NaN, gives -99999.99, and hides where the NaN came from",
    caught_by: &[Check::Clause(Clause::NanTravels), Check::Twin],
    example: Example { layers: "conv(8,3) pool(2) dense(10)", layer: Some(1), batch_size: 32, parts: 1 },
    source: include_str!("pool_sentinel.rs"),
    make: Make::layer::<PoolSentinel>(),
};
