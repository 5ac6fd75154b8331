//! Dropout, with a mask that is a function of counters.

use crate::contract::{Describe, Kind, Layer, Mode, Pass, Saved, mix};
use crate::{LayerError, Shape};
use byhand_tensor::{LANES, Loop, Scalar, vectorised};

/// Inverted dropout: in training each number is set to zero with probability `p` and scaled by `1 / (1 - p)` else; in
/// evaluation `y = x`.
///
/// # Formula
/// `y = x * m`, where `m = 0` with probability `p` and `1 / (1 - p)` else, so that the expectation of `y` is `x`.
///
/// # Shapes
/// `y` has the shape of `x`; every sample and feature has an `m` of its own.
///
/// # Backward
/// ```text
/// dx = dy * m
/// ```
///
/// # Memory
/// No tape: `m` is a hash of (seed, step, place of the sample in the minibatch, feature), computed again in backward. It is the
/// same for every layout and every cut of the minibatch into blocks. A [`Network`](crate::Network) gives each of its layers a
/// seed of its own. No scratch.
///
/// # Reference
/// Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent neural networks from
/// overfitting", 2014; Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011 (counters).
///
/// ```
/// use byhand_layers::{Describe, Dropout, Shape};
/// assert_eq!(Dropout::new(Shape::flat(64), 0.5)?.spec(), "dropout(0.5)");
/// assert!(Dropout::new(Shape::flat(64), 1.0).is_err());
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Dropout {
    shape: Shape,
    p: f64,
}

impl Dropout {
    /// Dropout of samples of this shape with probability `p`.
    ///
    /// # Errors
    /// `p` is not in `0 <= p < 1`.
    pub fn new(shape: Shape, p: f64) -> Result<Self, LayerError> {
        if !(0.0..1.0).contains(&p) {
            return Err(LayerError::Value {
                layer: "dropout",
                what: "the probability",
                expected: "at least 0 and less than 1",
                found: p.to_string(),
            });
        }
        Ok(Self { shape, p })
    }

    /// `to = from * m`, in both directions.
    fn mask<T: Scalar>(&self, pass: &Pass, from: &[T], to: &mut [T]) {
        let Mode::Train { seed, step, first_sample } = pass.mode else {
            return to.copy_from_slice(from);
        };
        let kept = T::from_f64(1.0 / (1.0 - self.p));
        let threshold = (self.p * 2f64.powi(32)) as u32;
        let stream = mix(seed ^ mix(step));
        let (lanes, features) = (pass.block.lanes(), self.shape.features());
        for tile in 0..pass.block.tiles() {
            let mut keys = [[0; LANES]; 2];
            for lane in 0..lanes {
                let key = mix(stream ^ mix(first_sample + (tile * lanes + lane) as u64));
                [keys[0][lane], keys[1][lane]] = [key as u32, (key >> 32) as u32];
            }
            let here = tile * features * lanes..(tile + 1) * features * lanes;
            let (from, to) = (&from[here.clone()], &mut to[here]);
            vectorised(Mask { lanes, keys, threshold, kept, from, to });
        }
    }
}

/// `to = from * m` for samples side by side, of these keys: their lower halves and their upper.
struct Mask<'a, T> {
    lanes: usize,
    keys: [[u32; LANES]; 2],
    threshold: u32,
    kept: T,
    from: &'a [T],
    to: &'a mut [T],
}

impl<T: Scalar> Loop for Mask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { lanes, keys, threshold, kept, from, to } = self;
        let m = |feature, lane| {
            let key = [keys[0][lane], keys[1][lane]];
            if hash(key, feature as u32) < threshold { T::ZERO } else { kept }
        };
        if lanes == 1 {
            for (feature, (from, to)) in from.iter().zip(to).enumerate() {
                *to = *from * m(feature, 0);
            }
        } else {
            let rows = from.as_chunks::<LANES>().0.iter().zip(to.as_chunks_mut::<LANES>().0);
            for (feature, (from, to)) in rows.enumerate() {
                for lane in 0..LANES {
                    to[lane] = from[lane] * m(feature, lane);
                }
            }
        }
    }
}

impl<T: Scalar> Layer<T> for Dropout {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        self.mask(pass, x, y);
    }

    fn backward(
        &self,
        pass: &Pass,
        _theta: &[T],
        _saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        if let Some(dx) = dx {
            self.mask(pass, dy, dx);
        }
    }
}

impl Describe for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn spec(&self) -> String {
        format!("dropout({})", self.p)
    }

    fn kind(&self) -> Kind {
        let scale = 1.0 / (1.0 - self.p);
        Kind::Bilinear { exact: scale.log2().fract() == 0.0 }
    }

    fn input(&self) -> Shape {
        self.shape
    }
}

/// 32 random bits for a feature of the sample with this key: two rounds of Wellons' 32-bit mixer (`lowbias32`), one for each
/// half of the key, so that it vectorises on 32-bit lanes.
#[inline(always)]
fn hash(key: [u32; 2], feature: u32) -> u32 {
    let round = |z: u32| {
        let z = (z ^ (z >> 16)).wrapping_mul(0x7FEB_352D);
        let z = (z ^ (z >> 15)).wrapping_mul(0x846C_A68B);
        z ^ (z >> 16)
    };
    round(round(feature ^ key[0]) ^ key[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};
    use byhand_tensor::Block;

    #[test]
    fn keeps_the_contract() {
        for (shape, p) in [(Shape::flat(16), 0.5), (Shape::new(3, 5, 7), 0.75), (Shape::flat(9), 0.3)] {
            check_layer(&Dropout::new(shape, p).unwrap(), &Options::default()).assert();
        }
    }

    fn dropped(pass: Pass, features: usize, p: f64) -> Vec<bool> {
        let layer = Dropout::new(Shape::flat(features), p).unwrap();
        let x = vec![1.0f32; pass.block.len(features)];
        let mut y = vec![f32::NAN; x.len()];
        layer.forward(&pass, &[], &x, &mut y, &mut [], &mut []);
        y.iter().map(|&y| y == 0.0).collect()
    }

    fn agreement(a: &[bool], b: &[bool]) -> f64 {
        a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
    }

    #[test]
    fn drops_the_fraction_asked_for() {
        let n = 1000.0 * 64.0;
        for p in [0.1, 0.5, 0.8] {
            let dropped = dropped(Pass::train(Block::single(64), 1, 0, 0), 1000, p);
            let fraction = dropped.iter().filter(|&&d| d).count() as f64 / n;
            let sigma = (p * (1.0 - p) / n).sqrt();
            assert!((fraction - p).abs() < 5.0 * sigma, "p = {p}: dropped {fraction}");
        }
    }

    #[test]
    fn seed_step_sample_and_layer_draw_independent_masks() {
        let block = Block::single(1);
        let base = Pass::train(block, 1, 2, 3);
        let a = dropped(base, 40_000, 0.5);
        let others = [
            Pass::train(block, 2, 2, 3),
            Pass::train(block, 1, 3, 3),
            Pass::train(block, 1, 2, 4),
            base.for_layer(1),
        ];
        for other in others {
            let same = agreement(&a, &dropped(other, 40_000, 0.5));
            assert!((same - 0.5).abs() < 0.0125, "masks of {base:?} and {other:?} agree in {same}");
        }
        let next_feature = agreement(&a[1..], &a[..a.len() - 1]);
        assert!((next_feature - 0.5).abs() < 0.0125, "neighbouring features agree in {next_feature}");
    }

    #[test]
    fn evaluation_is_the_identity() {
        assert!(dropped(Pass::eval(Block::tiled(17)), 5, 0.5).iter().all(|&dropped| !dropped));
    }
}
