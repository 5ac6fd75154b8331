//! The contract of a layer: what it says of itself, and its two pure functions, forward and backward.
//!
//! A layer of one's own is a struct, what it says of itself, and the two functions:
//!
//! ```
//! # #[cfg(feature = "proofs")] {
//! use byhand_layers::check::{Options, check_layer};
//! use byhand_layers::{Describe, Kind, Layer, Pass, Saved, Scalar, Shape};
//!
//! /// `y = x^2`, number by number; `dx = 2 x dy`.
//! #[derive(Debug)]
//! struct Square(Shape);
//!
//! impl Describe for Square {
//!     fn name(&self) -> &'static str {
//!         "square"
//!     }
//!     fn kind(&self) -> Kind {
//!         Kind::Smooth
//!     }
//!     fn input(&self) -> Shape {
//!         self.0
//!     }
//! }
//!
//! impl<T: Scalar> Layer<T> for Square {
//!     fn forward(&self, _: &Pass, _: &[T], x: &[T], y: &mut [T], _: &mut [T], _: &mut [T]) {
//!         y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * x);
//!     }
//!
//!     fn backward(
//!         &self, _: &Pass, _: &[T], saved: Saved<'_, T>, dy: &[T], dx: Option<&mut [T]>, _: &mut [T], _: &mut [T],
//!     ) {
//!         let dx = dx.into_iter().flatten();
//!         dx.zip(dy).zip(saved.x).for_each(|((dx, &dy), &x)| *dx = (x + x) * dy);
//!     }
//! }
//!
//! // Every clause, on every instruction set; its gradient by three proofs.
//! check_layer(&Square(Shape::new(2, 3, 5)), &Options::quick()).assert();
//! # }
//! ```
//!
//! The clauses, each of which `check::check_layer` tests (with the feature `proofs`):
//!
//! 1. A layer holds geometry and hyper-parameters, nothing else. Parameters come in as one flat slice `theta`, ordered as
//!    [`Describe::params`] says; memory is lent by the caller.
//! 2. `x`, `y`, `dy`, `dx` have length `block.len(features)`, `tape` and `scratch` exactly what [`Describe::tape_len`] and
//!    [`Describe::scratch_len`] state. Both never shrink as a block of the same layout grows.
//! 3. `forward` overwrites `y` and `tape` and reads neither first. `scratch` is garbage in, garbage out.
//! 4. `backward` **adds** to `dtheta` and **overwrites** `dx`; asked for no `dx` it adds the same bits to `dtheta`.
//! 5. Sample `i` of `y` and of `dx` depends on sample `i` of `x` and `dy` alone. Batch normalisation is the one exception, and only in
//!    training: the block that it is handed is its minibatch.
//! 6. Lanes without a sample change nothing in what belongs to a sample, nor in `dtheta`. In a vector that also holds a sample they
//!    hold finite numbers in `x` ([`pack`](byhand_tensor::pack)) and zero in `dy` ([`pack_gradient`](byhand_tensor::pack_gradient)); in
//!    vectors without one they may hold anything, since kernels leave them out. A layer that sums over samples sums over live lanes
//!    ([`Block::live`]) and may leave anything in the others.
//! 7. NaN travels: an output that depends on a number of `x` or `theta` that is NaN is NaN, and a NaN in the `dy` of an output that
//!    depends on parameters reaches `dtheta`. All else that these clauses say of gradients holds where `x`, `theta` and `dy` are finite.
//!    Where they are not, a gradient may be infinite by one way of computing it and NaN by another (with or without `dx`, in one pass with
//!    its neighbours or by itself, in one layout or another): one multiplies a gradient of zero by an infinite number, which makes a NaN,
//!    where the other leaves the product out.
//! 8. Only `remember` moves state, and it moves nothing else. A running mean and variance move towards what a minibatch says of all
//!    numbers like it: its mean, and the sum of squared distances from that divided by `n - 1`, not `n`.

use crate::Shape;
use byhand_tensor::{Block, Scalar};
use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

/// Whether a pass is for training, and then which random numbers it draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// No randomness: dropout is the identity.
    Eval,
    /// Random numbers are a function of these counters, the sample's place in the minibatch and the feature. They do not
    /// depend on how the minibatch is cut into blocks, nor on any thread.
    Train {
        /// Seed of the run.
        seed: u64,
        /// Number of the training step.
        step: u64,
        /// Place of the block's first sample in the minibatch.
        first_sample: u64,
    },
}

impl Mode {
    /// The same mode with a seed of its own for layer `index`, so that two dropout layers draw different masks.
    fn for_layer(self, index: usize) -> Self {
        match self {
            Self::Eval => self,
            Self::Train { seed, step, first_sample } => {
                Self::Train { seed: mix(seed ^ mix(index as u64)), step, first_sample }
            }
        }
    }
}

/// What a forward pass and its backward pass have in common: the layout of the samples, and the mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pass {
    /// Number and layout of the samples.
    pub block: Block,
    /// Evaluation or training.
    pub mode: Mode,
}

impl Pass {
    /// A pass without randomness.
    pub fn eval(block: Block) -> Self {
        Self { block, mode: Mode::Eval }
    }

    /// A pass of training step `step` over the samples of the minibatch from `first_sample` on.
    pub fn train(block: Block, seed: u64, step: u64, first_sample: u64) -> Self {
        Self { block, mode: Mode::Train { seed, step, first_sample } }
    }

    /// The pass of layer `index` of a chain, or of its branch `index`.
    pub(crate) fn for_layer(&self, index: usize) -> Self {
        Self { block: self.block, mode: self.mode.for_layer(index) }
    }
}

/// What forward left for backward: its input, its output and the tape.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T> {
    /// The layer's input.
    pub x: &'a [T],
    /// The layer's output.
    pub y: &'a [T],
    /// What forward wrote down besides.
    pub tape: &'a [T],
}

/// One parameter tensor of a layer.
#[derive(Clone, PartialEq, Debug)]
pub struct ParamSpec {
    /// `weight` or `bias`; of a layer that is made of others with the place before it: `main.0.weight`.
    pub name: Cow<'static, str>,
    /// Its shape, as PyTorch writes it: `[out, in]` or `[out, in, kernel rows, kernel columns]`; `[out]` for a bias.
    pub shape: Vec<usize>,
    /// Inputs that one output sums over. Initialisers scale by it.
    pub fan_in: usize,
    /// Outputs that one input reaches (as if the stride were 1).
    pub fan_out: usize,
    /// What all its numbers start from, if no initialiser is asked.
    pub start: Option<f64>,
    /// No gradient moves it: running statistics. It goes with the parameters into checkpoints and model files.
    pub is_state: bool,
}

impl ParamSpec {
    /// A parameter tensor that an initialiser fills.
    pub fn new(name: &'static str, shape: Vec<usize>, fan_in: usize, fan_out: usize) -> Self {
        Self { name: name.into(), shape, fan_in, fan_out, start: None, is_state: false }
    }

    /// Numbers in the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What kind of function a layer is: which proofs `check::check_layer` may ask of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `y = f(x, theta)` is affine in `x` for fixed `theta` and linear in `theta` for fixed `x` (and linear in `x` when it has
    /// no parameters), so the adjoint identity `<dy, f(x)> = <dx, x>` holds. `exact`: every constant in it is a power of
    /// two, so on small integers f32 arithmetic does not round, in any order, and the identity holds with tolerance zero.
    Bilinear {
        /// Whether small integers stay integers (or halves, quarters, ...).
        exact: bool,
    },
    /// Differentiable everywhere.
    Smooth,
    /// Linear in pieces, element by element, with its kink at 0, where by convention the derivative is the one below 0.
    Rectifying,
    /// Each output is one of its inputs; among equals the first in row order is chosen and gets the whole gradient.
    Selecting,
    /// Differentiable everywhere; in training each output depends on all samples of the block, which is the minibatch.
    Batch,
    /// Made of other layers, which are proved by themselves. A kink of theirs is met with probability 0.
    Composed {
        /// One of them is of the kind `Batch`.
        batch: bool,
    },
}

impl Kind {
    /// Whether in training an output depends on all samples of the block.
    pub fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::Composed { batch: true })
    }
}

/// What a layer says of itself, whatever the scalar.
pub trait Describe: Any + Debug + Send + Sync {
    /// Its word in the layer-spec grammar: `conv`, `pool`, `dense`.
    fn name(&self) -> &'static str;

    /// The token of the layer-spec grammar that makes it: `conv(8,5)`, or its word alone.
    fn spec(&self) -> String {
        self.name().to_owned()
    }

    /// What kind of function it is.
    fn kind(&self) -> Kind;

    /// Shape of one input sample.
    fn input(&self) -> Shape;

    /// Shape of one output sample: that of an input sample, where nothing else is said.
    fn output(&self) -> Shape {
        self.input()
    }

    /// Its parameter tensors, in the order in which they lie in `theta`; a layer's state is behind its other tensors.
    fn params(&self) -> Vec<ParamSpec> {
        Vec::new()
    }

    /// Numbers that survive from forward to backward, besides `x` and `y`.
    fn tape_len(&self, _block: Block) -> usize {
        0
    }

    /// Numbers of working memory for either pass.
    fn scratch_len(&self, _block: Block) -> usize {
        0
    }

    /// Floating-point operations of the matrix product or convolution of one forward pass of one sample; a multiply-add
    /// counts 2. Element-wise work and comparisons count nothing.
    fn flops(&self) -> u64 {
        0
    }

    /// The same for the backward pass: one product for the parameters, one for `dx` where it is wanted.
    fn backward_flops(&self, with_dx: bool) -> u64 {
        self.flops() * (u64::from(!self.params().is_empty()) + u64::from(with_dx))
    }

    /// Whether `y` is always `x`, so that a network may leave the layer out.
    fn is_identity(&self) -> bool {
        false
    }
}

/// A layer that computes with `T`. See the [module](self) for the clauses that both functions keep.
pub trait Layer<T: Scalar>: Describe {
    /// `y = f(x, theta)`.
    ///
    /// # Panics
    /// If a slice has not the length that the layer stated.
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]);

    /// `dtheta += (df/dtheta)^T dy`, and `dx = (df/dx)^T dy` where it is wanted.
    ///
    /// # Panics
    /// If a slice has not the length that the layer stated.
    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    );

    /// Moves the [state](ParamSpec::is_state) in `theta` after a training step, by what the forward pass over the minibatch left on the tape.
    /// Where a minibatch is cut into parts, as `byhand_trainer` does, this is called of batch normalisations alone, whose parts are merged.
    fn remember(&self, _block: Block, _tape: &[T], _theta: &mut [T]) {}
}

/// Layer `index` of these, if there are so many and it is such a one.
pub(crate) fn layer_at<L: 'static, T: Scalar>(layers: &[Arc<dyn Layer<T>>], index: usize) -> Option<&L> {
    downcast(&**layers.get(index)?)
}

/// The layer, if it is such a one.
pub(crate) fn downcast<L: 'static, T: Scalar>(layer: &dyn Layer<T>) -> Option<&L> {
    let layer: &dyn Any = layer;
    layer.downcast_ref()
}

/// A bijection of 64-bit numbers that spreads every bit over all (the finaliser of SplitMix64: Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014).
pub(crate) fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
