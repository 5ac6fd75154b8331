//! Batch normalisation.

use crate::contract::{Describe, Kind, Layer, Mode, ParamSpec, Pass, Saved};
use crate::{LayerError, Shape};
use byhand_tensor::{Block, LANES, Loop, Scalar, vectorised};
use std::ops::Range;

/// Batch normalisation: each channel gets mean `b` and deviation `g` over all pixels of all samples of the minibatch. Of features
/// without pixels each is a channel.
///
/// # Formula
/// With `n` the samples times the pixels of a channel, and sums over them all, channel by channel:
/// ```text
/// m = sum of x / n      v = sum of (x - m)^2 / n      r = 1 / sqrt(v + eps)      y = g (x - m) r + b
/// ```
/// In evaluation `m` and `v` are the running ones, which are part of `theta` and no gradient moves: a training step makes them
/// `(1 - momentum)` times what they were plus `momentum` times those of its minibatch, `v` there divided by `n - 1`.
///
/// # Shapes
/// `y` has the shape of `x`, `g` and `b` have a number a channel, as have the running mean and variance.
///
/// # Backward
/// `m` and `v` depend on every `x`, so `dx` has three terms:
/// ```text
/// db = sum of dy
/// dg = sum of dy (x - m) r
/// dx = g r (dy - db / n - (x - m) r dg / n)
/// ```
/// In evaluation `m` and `v` are constants, and `dx = g r dy`.
///
/// # Memory
/// The tape holds `n`, and a channel's mean and sum of squares. Scratch: two sums a channel. The minibatch is the block that the layer is
/// handed; a training step that cuts a minibatch into several merges what their layers measured.
///
/// # Reference
/// Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift", 2015. Merging:
/// Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983.
///
/// ```
/// use byhand_layers::{BatchNorm, Describe, Shape};
/// let norm = BatchNorm::new(Shape::new(8, 26, 26), BatchNorm::EPS, BatchNorm::MOMENTUM)?;
/// assert_eq!((norm.spec(), norm.output()), ("batchnorm".to_owned(), Shape::new(8, 26, 26)));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNorm {
    shape: Shape,
    eps: f64,
    momentum: f64,
}

impl BatchNorm {
    /// What is added to a variance, if nobody says otherwise.
    pub const EPS: f64 = 1e-5;
    /// A minibatch's share of the running mean and variance, if nobody says otherwise.
    pub const MOMENTUM: f64 = 0.1;

    /// For samples of this shape.
    ///
    /// # Errors
    /// `eps` is not in `0 < eps < 1`, or `momentum` not in `0 <= momentum < 1`.
    pub fn new(shape: Shape, eps: f64, momentum: f64) -> Result<Self, LayerError> {
        let refused = |what, expected, found: f64| {
            Err(LayerError::Value { layer: "batchnorm", what, expected, found: found.to_string() })
        };
        if !(eps > 0.0 && eps < 1.0) {
            return refused("eps", "more than 0 and less than 1", eps);
        }
        if !(0.0..1.0).contains(&momentum) {
            return refused("the momentum", "at least 0 and less than 1", momentum);
        }
        Ok(Self { shape, eps, momentum })
    }

    /// All channels of a block.
    pub(crate) fn all(&self, block: Block) -> Part {
        Part { block, first: 0, count: self.shape.c, pixels: self.shape.h * self.shape.w }
    }

    /// Length of what is measured of a block: `n`, the means, the sums of squared distances from them.
    pub(crate) fn measured_len(&self) -> usize {
        1 + 2 * self.shape.c
    }

    /// The statistics that a pass over a block that is the minibatch normalises by.
    pub(crate) fn statistics<T: Scalar>(&self, pass: &Pass, theta: &[T], x: &[T], measured: &mut [T]) {
        match pass.mode {
            Mode::Train { .. } => self.measure(pass.block, x, measured),
            Mode::Eval => self.running(theta, measured),
        }
    }

    /// Measures a block.
    pub(crate) fn measure<T: Scalar>(&self, block: Block, x: &[T], measured: &mut [T]) {
        vectorised(Measure { part: self.all(block), x, measured });
    }

    /// Makes of what was measured of two blocks what would be measured of both.
    pub(crate) fn merge<T: Scalar>(&self, a: &mut [T], b: &[T]) {
        let ([n_a, a @ ..], [n_b, b @ ..]) = (a, b) else { unreachable!("measured_len is at least 1") };
        let n = *n_a + *n_b;
        let (mean_a, squares_a) = a.split_at_mut(self.shape.c);
        let (mean_b, squares_b) = b.split_at(self.shape.c);
        for (((mean, squares), &mean_b), &squares_b) in
            mean_a.iter_mut().zip(squares_a).zip(mean_b).zip(squares_b)
        {
            let apart = mean_b - *mean;
            *mean += apart * (*n_b / n);
            *squares += squares_b + apart * apart * (*n_a * *n_b / n);
        }
        *n_a = n;
    }

    /// Normalises some channels by what was measured; with `relu` what is below 0 becomes 0.
    pub(crate) fn normalise<T: Scalar>(
        &self,
        part: Part,
        theta: &[T],
        measured: &[T],
        x: &[T],
        y: &mut [T],
        relu: bool,
    ) {
        let norm = self;
        if relu {
            vectorised(Normalise::<T, true> { part, norm, theta, measured, x, y });
        } else {
            vectorised(Normalise::<T, false> { part, norm, theta, measured, x, y });
        }
    }

    /// Adds the sums of `dy` and of `dy (x - m)` over some channels, channel by channel. With `relu` a ReLU stands behind what was normalised,
    /// and `dy` is the gradient of that.
    pub(crate) fn sums<T: Scalar>(
        &self,
        part: Part,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        relu: bool,
        sums: &mut [T],
    ) {
        let (norm, Saved { x, tape: measured, .. }) = (self, saved);
        if relu {
            vectorised(Sums::<T, true> { part, norm, theta, measured, x, dy, sums });
        } else {
            vectorised(Sums::<T, false> { part, norm, theta, measured, x, dy, sums });
        }
    }

    /// Adds the gradient of the parameters that a block has, whose `sums` these are.
    pub(crate) fn add_params<T: Scalar>(&self, measured: &[T], sums: &[T], dtheta: &mut [T]) {
        let channels = self.shape.c;
        for channel in 0..channels {
            dtheta[channel] += sums[channels + channel] * self.r(measured, channel);
            dtheta[channels + channel] += sums[channel];
        }
    }

    /// `dx` of some channels, by the sums of the whole minibatch; `relu` as in [`sums`](Self::sums).
    pub(crate) fn input_gradient<T: Scalar>(
        &self,
        part: Part,
        theta: &[T],
        saved: Saved<'_, T>,
        sums: &[T],
        dy: &[T],
        relu: bool,
        dx: &mut [T],
    ) {
        let (norm, Saved { x, tape: measured, .. }) = (self, saved);
        if relu {
            vectorised(Back::<T, true> { part, norm, theta, measured, sums, x, dy, dx });
        } else {
            vectorised(Back::<T, false> { part, norm, theta, measured, sums, x, dy, dx });
        }
    }

    /// What it is in evaluation, channel by channel: `(s, t)` of `y = s x + t`.
    pub(crate) fn constants<T: Scalar>(&self, theta: &[T]) -> Vec<(T, T)> {
        let mut measured = vec![T::ZERO; self.measured_len()];
        self.running(theta, &mut measured);
        let constants = |channel: usize| {
            let Affine { mean, scale, shift, .. } = self.affine(theta, &measured, channel);
            (scale, shift - scale * mean)
        };
        (0..self.shape.c).map(constants).collect()
    }

    /// The running mean and variance as if they had been measured, channel by channel, of one number.
    pub(crate) fn running<T: Scalar>(&self, theta: &[T], measured: &mut [T]) {
        measured[0] = T::ONE;
        measured[1..].copy_from_slice(&theta[2 * self.shape.c..]);
    }

    /// One over a channel's deviation.
    fn r<T: Scalar>(&self, measured: &[T], channel: usize) -> T {
        let variance = measured[1 + self.shape.c + channel] / measured[0];
        T::ONE / (variance + T::from_f64(self.eps)).sqrt()
    }

    /// What becomes of a channel's numbers.
    fn affine<T: Scalar>(&self, theta: &[T], measured: &[T], channel: usize) -> Affine<T> {
        let r = self.r(measured, channel);
        Affine {
            mean: measured[1 + channel],
            r,
            scale: theta[channel] * r,
            shift: theta[self.shape.c + channel],
        }
    }
}

impl<T: Scalar> Layer<T> for BatchNorm {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        self.statistics(pass, theta, x, tape);
        self.normalise(self.all(pass.block), theta, tape, x, y, false);
    }

    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        let all = self.all(pass.block);
        scratch.fill(T::ZERO);
        self.sums(all, theta, saved, dy, false, scratch);
        self.add_params(saved.tape, scratch, dtheta);
        if let Some(dx) = dx {
            // In evaluation mean and variance are constants.
            if pass.mode == Mode::Eval {
                scratch.fill(T::ZERO);
            }
            self.input_gradient(all, theta, saved, scratch, dy, false, dx);
        }
    }

    fn remember(&self, _block: Block, measured: &[T], theta: &mut [T]) {
        let channels = self.shape.c;
        let (new, old) = (T::from_f64(self.momentum), T::from_f64(1.0 - self.momentum));
        let n = measured[0];
        let others = if n > T::ONE { n - T::ONE } else { T::ONE };
        let (means, variances) = theta[2 * channels..].split_at_mut(channels);
        for channel in 0..channels {
            let (mean, squares) = (measured[1 + channel], measured[1 + channels + channel]);
            means[channel] = old * means[channel] + new * mean;
            variances[channel] = old * variances[channel] + new * (squares / others);
        }
    }
}

impl Describe for BatchNorm {
    fn name(&self) -> &'static str {
        "batchnorm"
    }

    fn spec(&self) -> String {
        let mut arguments = Vec::new();
        if self.eps != Self::EPS {
            arguments.push(format!("eps={}", self.eps));
        }
        if self.momentum != Self::MOMENTUM {
            arguments.push(format!("momentum={}", self.momentum));
        }
        if arguments.is_empty() {
            "batchnorm".to_owned()
        } else {
            format!("batchnorm({})", arguments.join(","))
        }
    }

    fn kind(&self) -> Kind {
        Kind::Batch
    }

    fn input(&self) -> Shape {
        self.shape
    }

    fn params(&self) -> Vec<ParamSpec> {
        let tensors = [
            ("weight", 1.0, false),
            ("bias", 0.0, false),
            ("running_mean", 0.0, true),
            ("running_var", 1.0, true),
        ];
        let tensor = |(name, start, is_state)| {
            let tensor = ParamSpec::new(name, vec![self.shape.c], 1, 1);
            ParamSpec { start: Some(start), is_state, ..tensor }
        };
        tensors.map(tensor).into()
    }

    fn tape_len(&self, _block: Block) -> usize {
        self.measured_len()
    }

    fn scratch_len(&self, _block: Block) -> usize {
        2 * self.shape.c
    }
}

/// What becomes of a channel's numbers: `(x - mean) scale + shift`, where `scale` is `g r`.
#[derive(Clone, Copy)]
struct Affine<T> {
    mean: T,
    r: T,
    scale: T,
    shift: T,
}

impl<T: Scalar> Affine<T> {
    #[inline(always)]
    fn of(self, x: T) -> T {
        (x - self.mean) * self.scale + self.shift
    }

    /// The gradient before a ReLU, if there is one, by that behind it. What the forward pass made of `x` is made again: to read it would
    /// take longer.
    #[inline(always)]
    fn before_relu<const RELU: bool>(self, dy: T, x: T) -> T {
        if !RELU || self.of(x) > T::ZERO { dy } else { T::ZERO }
    }
}

/// Some neighbouring channels of a block, by themselves: what is handed along holds no others.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) block: Block,
    /// The first of the channels, among all of the layer.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Pixels of a channel: they lie side by side.
    pub(crate) pixels: usize,
}

impl Part {
    /// Its channels.
    #[inline(always)]
    pub(crate) fn each(self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// Where a channel's numbers lie in a tile.
    #[inline(always)]
    pub(crate) fn run(self, tile: usize, channel: usize) -> Range<usize> {
        let len = self.pixels * self.block.lanes();
        let start = (tile * self.count + channel - self.first) * len;
        start..start + len
    }

    /// How many numbers a channel has in a tile.
    #[inline(always)]
    fn len(self, tile: usize) -> usize {
        self.pixels * if self.block.lanes() == LANES { self.block.live(tile) } else { 1 }
    }

    /// The sums of the `values` of a channel's numbers of `a` and `b` in a tile, in one order on every instruction set. Lanes without a
    /// sample are left out.
    #[inline(always)]
    fn sums<T: Scalar, const N: usize>(
        self,
        tile: usize,
        a: &[T],
        b: &[T],
        values: impl Fn(T, T) -> [T; N],
    ) -> [T; N] {
        // Two ways, so that an addition need not wait for the one before it.
        let mut even = [[T::ZERO; LANES]; N];
        let mut odd = [[T::ZERO; LANES]; N];
        let (a_pairs, a_rest) = a.as_chunks::<{ 2 * LANES }>();
        let (b_pairs, b_rest) = b.as_chunks::<{ 2 * LANES }>();
        for (a, b) in a_pairs.iter().zip(b_pairs) {
            for lane in 0..LANES {
                let values = values(a[lane], b[lane]);
                even.iter_mut().zip(values).for_each(|(sums, value)| sums[lane] += value);
            }
            for lane in 0..LANES {
                let values = values(a[LANES + lane], b[LANES + lane]);
                odd.iter_mut().zip(values).for_each(|(sums, value)| sums[lane] += value);
            }
        }
        for (place, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
            even.iter_mut().zip(values(a, b)).for_each(|(sums, value)| sums[place % LANES] += value);
        }
        let live = if self.block.lanes() == LANES { self.block.live(tile) } else { LANES };
        let mut totals = [T::ZERO; N];
        for ((total, even), odd) in totals.iter_mut().zip(&mut even).zip(&odd) {
            even.iter_mut().zip(odd).for_each(|(even, &odd)| *even += odd);
            even[live..].fill(T::ZERO);
            let mut half = LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    let other = even[lane + half];
                    even[lane] += other;
                }
                half /= 2;
            }
            *total = even[0];
        }
        totals
    }
}

struct Measure<'a, T> {
    part: Part,
    x: &'a [T],
    measured: &'a mut [T],
}

impl<T: Scalar> Loop for Measure<'_, T> {
    type Output = ();

    /// Tile by tile, so that the second pass reads from a near cache: a difference of the sum of squares and the square of the sum would be
    /// one of nearly equal numbers.
    #[inline(always)]
    fn run(self) {
        let Self { part, x, measured } = self;
        let (n, moments) = measured.split_at_mut(1);
        let (means, squares) = moments.split_at_mut(part.count);
        for channel in part.each() {
            let (mut n, mut mean, mut square) = (T::ZERO, T::ZERO, T::ZERO);
            for tile in 0..part.block.tiles() {
                let x = &x[part.run(tile, channel)];
                let own: T = T::from_f64(part.len(tile) as f64);
                let [sum] = part.sums(tile, x, x, |x, _| [x]);
                let own_mean = sum / own;
                let [own_square] = part.sums(tile, x, x, |x, _| [(x - own_mean) * (x - own_mean)]);
                let (all, apart) = (n + own, own_mean - mean);
                mean += apart * (own / all);
                square += own_square + apart * apart * (n * own / all);
                n = all;
            }
            (means[channel], squares[channel]) = (mean, square);
        }
        // 1 where there is no sample, so that nothing is divided by 0.
        n[0] = T::from_f64((part.block.samples() * part.pixels).max(1) as f64);
    }
}

struct Normalise<'a, T, const RELU: bool> {
    part: Part,
    norm: &'a BatchNorm,
    theta: &'a [T],
    measured: &'a [T],
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Scalar, const RELU: bool> Loop for Normalise<'_, T, RELU> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { part, norm, theta, measured, x, y } = self;
        for channel in part.each() {
            let affine = norm.affine(theta, measured, channel);
            for tile in 0..part.block.tiles() {
                let run = part.run(tile, channel);
                for (y, &x) in y[run.clone()].iter_mut().zip(&x[run]) {
                    let normalised = affine.of(x);
                    // NaN stays.
                    *y = if RELU && normalised < T::ZERO { T::ZERO } else { normalised };
                }
            }
        }
    }
}

struct Sums<'a, T, const RELU: bool> {
    part: Part,
    norm: &'a BatchNorm,
    theta: &'a [T],
    measured: &'a [T],
    x: &'a [T],
    dy: &'a [T],
    sums: &'a mut [T],
}

impl<T: Scalar, const RELU: bool> Loop for Sums<'_, T, RELU> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { part, norm, theta, measured, x, dy, sums } = self;
        let (of_dy, of_products) = sums.split_at_mut(norm.shape.c);
        for channel in part.each() {
            let (affine, mut totals) =
                (norm.affine(theta, measured, channel), [of_dy[channel], of_products[channel]]);
            for tile in 0..part.block.tiles() {
                let run = part.run(tile, channel);
                let found = part.sums(tile, &x[run.clone()], &dy[run], |x, dy| {
                    let dy = affine.before_relu::<RELU>(dy, x);
                    [dy, dy * (x - affine.mean)]
                });
                totals[0] += found[0];
                totals[1] += found[1];
            }
            (of_dy[channel], of_products[channel]) = (totals[0], totals[1]);
        }
    }
}

struct Back<'a, T, const RELU: bool> {
    part: Part,
    norm: &'a BatchNorm,
    theta: &'a [T],
    measured: &'a [T],
    sums: &'a [T],
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Scalar, const RELU: bool> Loop for Back<'_, T, RELU> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { part, norm, theta, measured, sums, x, dy, dx } = self;
        let n = measured[0];
        for channel in part.each() {
            let affine = norm.affine(theta, measured, channel);
            let Affine { mean, r, scale, .. } = affine;
            let (shift, slope) = (sums[channel] / n, sums[norm.shape.c + channel] * r * r / n);
            for tile in 0..part.block.tiles() {
                let run = part.run(tile, channel);
                let dx = &mut dx[run.clone()];
                for ((dx, &x), &dy) in dx.iter_mut().zip(&x[run.clone()]).zip(&dy[run]) {
                    *dx = scale * (affine.before_relu::<RELU>(dy, x) - shift - (x - mean) * slope);
                }
                // A sample that is not there has no gradient.
                let live = part.block.live(tile);
                if live < part.block.lanes() {
                    dx.chunks_exact_mut(LANES).for_each(|lanes| lanes[live..].fill(T::ZERO));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    #[test]
    fn keeps_the_contract() {
        for (shape, eps) in [(Shape::new(3, 5, 7), 1e-5), (Shape::new(2, 4, 4), 1e-3), (Shape::flat(5), 0.1)]
        {
            check_layer(&BatchNorm::new(shape, eps, 0.1).unwrap(), &Options::default()).assert();
        }
    }

    /// Measured in parts and merged, whatever the parts, is measured at once.
    #[test]
    fn parts_merge_to_the_whole() {
        let norm = BatchNorm::new(Shape::new(2, 3, 1), 1e-5, 0.1).unwrap();
        let x: Vec<f64> = (0..7 * 6).map(|i| f64::from((i * 37 % 29) - 11) / 8.0).collect();
        let measure = |samples: Range<usize>| {
            let mut measured = vec![f64::NAN; 5];
            norm.measure(Block::single(samples.len()), &x[samples.start * 6..samples.end * 6], &mut measured);
            measured
        };
        let whole = measure(0..7);
        for cut in 1..7 {
            let mut merged = measure(0..cut);
            norm.merge(&mut merged, &measure(cut..7));
            assert!(merged.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-12), "{merged:?}, {whole:?}");
        }
    }

    #[test]
    fn the_running_variance_is_that_of_n_minus_one() {
        let norm = BatchNorm::new(Shape::flat(1), 1e-5, 0.5).unwrap();
        let mut measured = [0.0f64; 3];
        norm.measure(Block::single(3), &[1.0, 2.0, 6.0], &mut measured);
        let mut theta = [1.0, 0.0, 0.0, 1.0];
        norm.remember(Block::single(3), &measured, &mut theta);
        // Mean 3, squares 4 + 1 + 9 = 14 over 2; half of each, half of what was.
        assert_eq!(theta, [1.0, 0.0, 1.5, 4.0]);
    }

    #[test]
    fn refuses_what_would_divide_by_zero() {
        let message = BatchNorm::new(Shape::flat(1), 0.0, 0.1).unwrap_err().to_string();
        assert_eq!(message, "batchnorm: eps must be more than 0 and less than 1, found 0");
        assert!(BatchNorm::new(Shape::flat(1), 1e-5, 1.0).is_err());
    }
}
