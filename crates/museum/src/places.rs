//! Where the numbers of windows and convolutions lie in a block.

use byhand_layers::{
    AvgPool2d, Block, Conv2d, ConvOptions, Describe, MaxPool2d, Params, PoolOptions, Scalar, Shape,
};

use crate::mistake::Backward;

/// The places of a pool's numbers.
pub(crate) struct Windows {
    block: Block,
    x: Shape,
    y: Shape,
    window: [usize; 2],
    stride: [usize; 2],
}

/// One window: its sample, channel, row and column.
pub(crate) type Window = [usize; 4];

impl Windows {
    pub(crate) fn of_max(pool: &MaxPool2d, block: Block) -> Self {
        Self::of(pool.options(), pool, block)
    }

    pub(crate) fn of_avg(pool: &AvgPool2d, block: Block) -> Self {
        Self::of(pool.options(), pool, block)
    }

    /// Of windows without padding.
    fn of(options: PoolOptions, pool: &dyn Describe, block: Block) -> Self {
        let PoolOptions { window, stride, .. } = options;
        Self { block, x: pool.input(), y: pool.output(), window, stride }
    }

    /// Every window of each of the first `samples`, in the order of the outputs.
    pub(crate) fn all(&self, samples: usize) -> impl Iterator<Item = Window> + use<> {
        let y = self.y;
        (0..samples).flat_map(move |sample| positions(y).map(move |[c, i, j]| [sample, c, i, j]))
    }

    /// Every window of a live sample.
    pub(crate) fn live(&self) -> impl Iterator<Item = Window> + use<> {
        self.all(self.block.samples())
    }

    /// Every window of every lane.
    pub(crate) fn every_lane(&self) -> impl Iterator<Item = Window> + use<> {
        self.all(self.block.len(1))
    }

    /// Rows and columns of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        [self.y.h, self.y.w]
    }

    /// Offsets in a window, row by row.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        grid(self.window)
    }

    /// Place of a window's output.
    pub(crate) fn y(&self, window: Window) -> usize {
        let [sample, c, i, j] = window;
        self.y_at(sample, at(self.y, [c, i, j]))
    }

    /// Place of an output feature.
    pub(crate) fn y_at(&self, sample: usize, feature: usize) -> usize {
        self.block.index(self.y.features(), sample, feature)
    }

    /// Place of the input at an offset in a window.
    pub(crate) fn x(&self, window: Window, [p, q]: [usize; 2]) -> usize {
        let [sample, c, i, j] = window;
        self.x_at(sample, [c, self.stride[0] * i + p, self.stride[1] * j + q])
    }

    /// Place of the input in channel `c`, row `r`, column `t`.
    pub(crate) fn x_at(&self, sample: usize, [c, r, t]: [usize; 3]) -> usize {
        self.block.index(self.x.features(), sample, at(self.x, [c, r, t]))
    }

    /// Places of a window's inputs, row by row.
    pub(crate) fn inputs(&self, window: Window) -> impl Iterator<Item = usize> {
        self.offsets().map(move |offset| self.x(window, offset))
    }

    /// Place of the first input that equals the window's maximum.
    pub(crate) fn first<T: Scalar>(&self, window: Window, x: &[T], max: T) -> Option<usize> {
        self.inputs(window).find(|&place| x[place] == max)
    }
}

/// The input gradient of a convolution as a scatter,
/// `dx[c, i*s0 + p - p0, j*s1 + q - p1] += w[o, c, p, q] * dy[o, i, j]`, and what is not on the image left out: with the strides
/// `stride`, and with the weight at `weight([c, p, q])` for that at `[c, p, q]`.
pub(crate) fn scatter<T: Scalar>(
    conv: &Conv2d,
    call: Backward<'_, T>,
    stride: [usize; 2],
    weight: impl Fn([usize; 3]) -> [usize; 3],
) {
    let (block, theta, dy) = (call.pass.block, call.theta, call.dy);
    let Some(dx) = call.run_without_dx(conv) else { return };
    let (xs, ys, pad, ConvOptions { kernel, .. }) = (conv.input(), conv.output(), conv.pad(), conv.options());
    let Params { weight: w, .. } = conv.split(theta);
    dx.fill(T::ZERO);
    for sample in 0..block.samples() {
        for [o, i, j] in positions(ys) {
            let d = dy[block.index(ys.features(), sample, at(ys, [o, i, j]))];
            if d == T::ZERO {
                continue; // most places, behind a pool
            }
            for [c, p, q] in positions(Shape::new(xs.c, kernel[0], kernel[1])) {
                let place =
                    [(i * stride[0] + p).checked_sub(pad[0]), (j * stride[1] + q).checked_sub(pad[1])];
                if let [Some(r), Some(t)] = place
                    && r < xs.h
                    && t < xs.w
                {
                    let [c_of_w, p, q] = weight([c, p, q]);
                    let w = w[((o * xs.c + c_of_w) * kernel[0] + p) * kernel[1] + q];
                    dx[block.index(xs.features(), sample, at(xs, [c, r, t]))] += w * d;
                }
            }
        }
    }
}

/// Feature number of channel `c`, row `i`, column `j`.
fn at(shape: Shape, [c, i, j]: [usize; 3]) -> usize {
    (c * shape.h + i) * shape.w + j
}

/// All `[c, i, j]` of a shape, in the order in which they lie in memory.
fn positions(shape: Shape) -> impl Iterator<Item = [usize; 3]> {
    (0..shape.c).flat_map(move |c| grid([shape.h, shape.w]).map(move |[i, j]| [c, i, j]))
}

/// All `[p, q]` of a window, row by row.
fn grid([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |p| (0..columns).map(move |q| [p, q]))
}
