//! Convolution that draws new weights in every forward pass.

use byhand_layers::check::Clause;
use byhand_layers::init::Init;
use byhand_layers::{
    Block, Conv2d, ConvOptions, Describe, Kind, Layer, LayerError, Mode, ParamSpec, Pass, Saved, Scalar,
    Shape,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::geometry::conv_of;
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Convolution whose weights are drawn anew, standard normal, for every image that passes, in training and prediction alike.
///
/// # Wrong
/// ```text
/// forward:  w = normal(0, 1);  y = conv(x, w) + b
/// ```
/// # Right
/// ```text
/// once:     w = normal(0, 1) / sqrt(inputs)
/// forward:  y = conv(x, w) + b
/// ```
/// Backward is right, and adds to the gradient of weights that no forward pass ever reads: the update moves numbers that the next
/// pass throws away. A layer has no state here, so the draw is a function of the image and, in training, of (seed, step, place in
/// the minibatch).
///
/// # Symptom
/// It trains: the dense layers learn what random filters leave of a digit. It loses to the network without a convolution, which
/// is then taken for the better idea. Predicting twice gives two answers.
///
/// # Caught by
/// Everything that compares `dtheta` with a derivative: no output depends on the weights. A NaN in the weights that nobody sees.
#[derive(Clone, PartialEq, Debug)]
pub struct ConvNewWeights {
    right: Conv2d,
}

impl ConvNewWeights {
    /// As [`Conv2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, c_out: usize, options: ConvOptions) -> Result<Self, LayerError> {
        Ok(Self { right: Conv2d::new(input, c_out, options)? })
    }

    fn param_len(&self) -> usize {
        self.right.params().iter().map(ParamSpec::len).sum()
    }

    /// Features of the input and of the output.
    fn features(&self) -> (usize, usize) {
        (self.right.input().features(), self.right.output().features())
    }

    /// Weights for one image into `drawn`, which holds `theta`; the biases stay.
    fn draw<T: Scalar>(&self, mode: Mode, sample: usize, x: &[T], drawn: &mut [T]) {
        let mut seed =
            x.iter().fold(0u64, |hash, x| (hash ^ x.to_f64().to_bits()).wrapping_mul(PRIME).rotate_left(29));
        if let Mode::Train { seed: run, step, first_sample } = mode {
            for counter in [run, step, first_sample + sample as u64] {
                seed = (seed ^ counter).wrapping_mul(PRIME).rotate_left(29);
            }
        }
        let w = self.right.split_mut(drawn).weight;
        Init::Normal { std: 1.0 }.fill(1, 1, &mut ChaCha8Rng::seed_from_u64(seed), w);
    }
}

/// An odd number with its bits spread well (2^64 divided by the golden ratio).
const PRIME: u64 = 0x9E37_79B9_7F4A_7C15;

impl<T: Scalar> Layer<T> for ConvNewWeights {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        let (inputs, outputs) = self.features();
        let (one, rest) = scratch.split_at_mut(inputs);
        let (one_y, rest) = rest.split_at_mut(outputs);
        let alone = Pass { block: Block::single(1), ..*pass };
        // Every lane, so that dead ones hold finite numbers too.
        for (sample, drawn) in tape.chunks_exact_mut(self.param_len()).enumerate() {
            gather(pass.block, sample, x, one);
            drawn.copy_from_slice(theta);
            self.draw(pass.mode, sample, one, drawn);
            self.right.forward(&alone, drawn, one, one_y, &mut [], &mut rest[inputs..]);
            scatter(pass.block, sample, one_y, y);
        }
    }

    fn backward(
        &self,
        pass: &Pass,
        _theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        mut dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        let (inputs, outputs) = self.features();
        let (one, rest) = scratch.split_at_mut(inputs);
        let (one_dy, rest) = rest.split_at_mut(outputs);
        let (one_dx, rest) = rest.split_at_mut(inputs);
        let alone = Pass { block: Block::single(1), ..*pass };
        if let Some(dx) = dx.as_deref_mut() {
            dx.fill(T::ZERO);
        }
        for (sample, drawn) in
            saved.tape.chunks_exact(self.param_len()).take(pass.block.samples()).enumerate()
        {
            gather(pass.block, sample, saved.x, one);
            gather(pass.block, sample, dy, one_dy);
            let saved = Saved { x: one, y: &[], tape: &[] };
            let wanted = dx.is_some().then_some(&mut *one_dx);
            self.right.backward(&alone, drawn, saved, one_dy, wanted, dtheta, rest);
            if let Some(dx) = dx.as_deref_mut() {
                scatter(pass.block, sample, one_dx, dx);
            }
        }
    }
}

impl Describe for ConvNewWeights {
    fn name(&self) -> &'static str {
        self.right.name()
    }

    fn spec(&self) -> String {
        self.right.spec()
    }

    fn kind(&self) -> Kind {
        // Its own claim: a linear layer with weights.
        self.right.kind()
    }

    fn input(&self) -> Shape {
        self.right.input()
    }

    fn output(&self) -> Shape {
        self.right.output()
    }

    fn params(&self) -> Vec<ParamSpec> {
        self.right.params()
    }

    fn tape_len(&self, block: Block) -> usize {
        block.len(self.param_len())
    }

    fn scratch_len(&self, _block: Block) -> usize {
        let (inputs, outputs) = self.features();
        2 * inputs + outputs + self.right.scratch_len(Block::single(1))
    }

    fn flops(&self) -> u64 {
        self.right.flops()
    }
}

pub(crate) const PIECE: Piece = Piece {
    name: "conv-new-weights",
    notebook: "B",
    wrong_line: "the weights are drawn anew in every forward pass, in training and prediction alike",
    symptom: "the convolution never learns; the network loses to the one without it",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::NanTravels),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        let conv = ConvOptions { kernel: [3, 2], stride: [1, 1], pad: [0, 0], bias: true };
        let input = Shape::new(2, 5, 7);
        examine_layer(ConvNewWeights::new(input, 3, conv), Conv2d::new(input, 3, conv), options)
    },
    stand_in: StandIn::Layer(|right| Ok(Box::new(ConvNewWeights { right: conv_of(right)? }))),
};

/// The features of one sample out of a block.
fn gather<T: Scalar>(block: Block, sample: usize, from: &[T], to: &mut [T]) {
    let features = to.len();
    for (feature, to) in to.iter_mut().enumerate() {
        *to = from[block.index(features, sample, feature)];
    }
}

/// And back into it.
fn scatter<T: Scalar>(block: Block, sample: usize, from: &[T], to: &mut [T]) {
    for (feature, &from_feature) in from.iter().enumerate() {
        to[block.index(from.len(), sample, feature)] = from_feature;
    }
}
