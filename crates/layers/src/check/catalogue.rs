//! Configurations of every layer, chosen to catch the classic bugs.

use super::Checked;
use crate::{
    AvgPool2d, BatchNorm, Branches, Chain, Conv2d, ConvOptions, Dense, Dropout, ExactGelu, Flatten, Gelu,
    GlobalAvgPool, GlobalMaxPool, LayerError, LeakyRelu, Linear, LogSoftmax, MaxPool2d, Padding, PoolOptions,
    Relu, Shape, Sigmoid, Silu, Tanh,
};
use std::sync::Arc;

/// At least one configuration of every layer: rows and columns that differ, unequal kernel, stride and padding per axis, stride
/// remainders of two, overlapping windows and gaps between them, sizes across vector widths, and square ones, because a
/// transposed gradient only fits there.
///
/// ```
/// use byhand_layers::check::{Options, catalogue, check_layer};
/// let dense = catalogue().into_iter().find(|layer| layer.name() == "dense").unwrap();
/// check_layer(&*dense, &Options::quick()).assert();
/// ```
pub fn catalogue() -> Vec<Box<dyn Checked>> {
    let made = configurations();
    made.unwrap_or_else(|error| unreachable!("a configuration of the catalogue is refused: {error}"))
}

fn configurations() -> Result<Vec<Box<dyn Checked>>, LayerError> {
    let conv = |input: [usize; 3], c_out, kernel, stride, pad, bias| {
        let ([c, h, w], pad) = (input, Padding::axes(pad));
        let options = ConvOptions { kernel, stride, pad, bias, ..ConvOptions::square(1) };
        Conv2d::new(Shape::new(c, h, w), c_out, options)
    };
    let three = ConvOptions::square(3);
    let sides = Padding::Sides([2, 0, 1, 1]);
    let pool = |window, stride, pad| PoolOptions { stride, pad, ..PoolOptions::new(window) };
    let odd = Shape::new(3, 5, 7);
    // Without kinks, so that differences hold.
    let same = || conv([3, 5, 7], 3, [3, 3], [1, 1], [1, 1], false);
    let norm = || BatchNorm::new(odd, 0.1, 0.1);
    let block: Vec<Arc<dyn Checked>> =
        vec![Arc::new(same()?), Arc::new(norm()?), Arc::new(Silu::new(odd)), Arc::new(same()?)];
    let dropped: Vec<Arc<dyn Checked>> =
        vec![Arc::new(Dropout::new(odd, 0.3)?), Arc::new(same()?), Arc::new(norm()?)];
    let half = || conv([3, 5, 7], 4, [3, 3], [2, 2], [1, 1], false);
    let few = |channels| conv([3, 5, 7], channels, [1, 1], [1, 1], [0, 0], true);
    let chain = |layers: Vec<Arc<dyn Checked>>| Chain::new(odd, layers);
    let inner =
        Branches::residual(chain(vec![Arc::new(few(3)?), Arc::new(Tanh::new(odd))])?, chain(vec![])?)?;
    Ok(vec![
        Box::new(conv([2, 6, 6], 2, [3, 3], [1, 1], [0, 0], true)?),
        Box::new(conv([1, 12, 17], 5, [5, 3], [1, 1], [0, 0], true)?),
        Box::new(conv([2, 9, 13], 3, [2, 3], [3, 4], [1, 0], true)?),
        Box::new(conv([3, 5, 7], 4, [3, 5], [1, 1], [1, 2], false)?),
        Box::new(conv([1, 20, 20], 2, [3, 3], [2, 2], [1, 1], true)?),
        Box::new(conv([2, 4, 9], 3, [3, 5], [1, 2], [1, 2], false)?),
        Box::new(conv([17, 2, 3], 18, [1, 1], [1, 1], [0, 0], true)?),
        Box::new(conv([23, 5, 7], 26, [3, 3], [1, 1], [1, 1], true)?),
        Box::new(Conv2d::new(odd, 2, ConvOptions { pad: sides, stride: [2, 1], ..three })?),
        Box::new(Conv2d::new(odd, 2, ConvOptions { pad: Padding::Same, dilation: [2, 3], ..three })?),
        Box::new(Conv2d::new(
            Shape::new(2, 9, 9),
            2,
            ConvOptions { dilation: [2, 2], stride: [3, 3], ..three },
        )?),
        Box::new(Conv2d::new(
            Shape::new(4, 6, 5),
            6,
            ConvOptions { groups: 2, pad: Padding::axes([0, 1]), ..three },
        )?),
        Box::new(Conv2d::new(Shape::new(5, 4, 4), 5, ConvOptions { groups: 5, bias: false, ..three })?),
        Box::new(MaxPool2d::new(Shape::new(3, 6, 6), [2, 2], [2, 2])?),
        Box::new(MaxPool2d::new(Shape::new(2, 7, 8), [3, 2], [2, 1])?),
        Box::new(MaxPool2d::new(Shape::new(2, 8, 11), [2, 3], [3, 3])?),
        Box::new(MaxPool2d::with_options(odd, pool([3, 3], [2, 2], Padding::axes([1, 1])))?),
        Box::new(MaxPool2d::with_options(
            Shape::new(2, 6, 7),
            PoolOptions { ceil: true, ..pool([3, 2], [2, 2], sides) },
        )?),
        Box::new(MaxPool2d::with_options(
            Shape::new(2, 6, 6),
            PoolOptions { dilation: [2, 3], ..pool([2, 2], [1, 1], Padding::Same) },
        )?),
        Box::new(AvgPool2d::new(Shape::new(3, 6, 6), [2, 2], [2, 2])?),
        Box::new(AvgPool2d::new(Shape::new(2, 7, 8), [4, 2], [1, 2])?),
        Box::new(AvgPool2d::new(Shape::new(2, 8, 11), [2, 3], [3, 3])?),
        Box::new(AvgPool2d::with_options(odd, pool([3, 3], [2, 2], Padding::axes([1, 1])), true)?),
        Box::new(AvgPool2d::with_options(Shape::new(2, 4, 4), pool([2, 2], [1, 1], Padding::Same), false)?),
        Box::new(AvgPool2d::with_options(
            Shape::new(2, 6, 7),
            PoolOptions {
                ceil: true,
                dilation: [1, 2],
                ..pool([2, 2], [3, 2], Padding::Sides([0, 1, 1, 0]))
            },
            true,
        )?),
        // Not square: every pixel has the same gradient, so that a transposed one is none.
        Box::new(GlobalAvgPool::new(Shape::new(3, 2, 8))?),
        Box::new(GlobalAvgPool::new(odd)?),
        Box::new(GlobalMaxPool::new(odd)?),
        Box::new(BatchNorm::new(odd, BatchNorm::EPS, 0.1)?),
        Box::new(BatchNorm::new(Shape::new(2, 4, 4), BatchNorm::EPS, 0.1)?),
        // Of two samples a feature has the values 1 and -1, whatever they are, if little is added to its variance.
        Box::new(BatchNorm::new(Shape::flat(5), 0.1, 0.1)?),
        Box::new(Branches::residual(chain(block)?, chain(vec![])?)?),
        Box::new(Branches::residual(chain(dropped)?, chain(vec![])?)?),
        Box::new(Branches::residual(chain(vec![Arc::new(half()?)])?, chain(vec![Arc::new(half()?)])?)?),
        Box::new(Branches::concat(vec![
            chain(vec![])?,
            chain(vec![Arc::new(few(2)?)])?,
            chain(vec![Arc::new(inner)])?,
        ])?),
        Box::new(Dense::new(6, 6, true)?),
        Box::new(Dense::new(17, 5, true)?),
        Box::new(Dense::new(7, 33, false)?),
        Box::new(Dense::new(300, 10, true)?),
        Box::new(Dense::new(48, 7, true)?),
        Box::new(Relu::new(odd)),
        Box::new(LeakyRelu::new(odd, 0.01)?),
        Box::new(LeakyRelu::new(Shape::flat(16), 0.25)?),
        Box::new(Gelu::new(odd)),
        Box::new(ExactGelu::new(odd)),
        Box::new(Silu::new(odd)),
        Box::new(Tanh::new(odd)),
        Box::new(Sigmoid::new(odd)),
        Box::new(Linear::new(odd)),
        Box::new(LogSoftmax::new(odd)),
        Box::new(LogSoftmax::new(Shape::flat(10))),
        Box::new(Flatten::new(odd)),
        Box::new(Dropout::new(odd, 0.5)?),
        Box::new(Dropout::new(Shape::flat(16), 0.3)?),
    ])
}
