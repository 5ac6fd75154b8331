//! Convolution whose weights are drawn anew, standard normal, for every image that passes, in training and prediction alike.
//!
//! Backward is right, and adds to the gradient of weights that no forward pass ever reads: the update moves numbers that the next
//! pass throws away. A layer has no state here, so the draw is a function of the image and, in training, of (seed, step, place in
//! the minibatch); the tape holds the weights of each image.

use byhand_layers::init::Init;
use byhand_layers::{Conv2d, ConvOptions, ParamSpec};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::prelude::*;

#[derive(Debug)]
struct ConvNewWeights;

impl Mistake for ConvNewWeights {
    type Right = Conv2d;

    fn shown() -> Result<Conv2d, LayerError> {
        let options = ConvOptions { kernel: [3, 2], ..ConvOptions::square(1) };
        Conv2d::new(Shape::new(2, 5, 7), 3, options)
    }

    fn forward<T: Scalar>(conv: &Conv2d, call: Forward<'_, T>) {
        let Forward { pass, theta, x, y, tape, scratch } = call;
        let (one, rest) = scratch.split_at_mut(conv.input().features());
        let (one_y, rest) = rest.split_at_mut(conv.output().features());
        // Every lane, so that dead ones hold finite numbers too.
        for (sample, w) in tape.chunks_exact_mut(param_len(conv)).enumerate() {
            gather(pass.block, sample, x, one);
            w.copy_from_slice(theta);
            // <wrong>
            let mut random = ChaCha8Rng::seed_from_u64(hash(pass.mode, sample, one));
            Init::Normal { std: 1.0 }.fill(1, 1, &mut random, conv.split_mut(w).weight);
            // </wrong>
            let call =
                Forward { pass: alone(pass), theta: w, x: one, y: one_y, tape: &mut [], scratch: rest };
            call.run(conv);
            scatter(pass.block, sample, one_y, y);
        }
    }

    fn backward<T: Scalar>(conv: &Conv2d, call: Backward<'_, T>) {
        let Backward { pass, theta: _, saved, dy, mut dx, dtheta, scratch } = call;
        let block = pass.block;
        let (one, rest) = scratch.split_at_mut(conv.input().features());
        let (one_dy, rest) = rest.split_at_mut(conv.output().features());
        if let Some(dx) = dx.as_deref_mut() {
            dx.fill(T::ZERO);
        }
        let weights = saved.tape.chunks_exact(param_len(conv)).enumerate();
        for (sample, theta) in weights.take(block.samples()) {
            gather(block, sample, saved.x, one);
            gather(block, sample, dy, one_dy);
            let mut one_dx = vec![T::ZERO; if dx.is_some() { one.len() } else { 0 }];
            let wanted = dx.is_some().then_some(&mut one_dx[..]);
            let saved = Saved { x: one, y: &[], tape: &[] };
            let pass = alone(pass);
            Backward { pass, theta, saved, dy: one_dy, dx: wanted, dtheta, scratch: rest }.run(conv);
            if let Some(dx) = dx.as_deref_mut() {
                scatter(block, sample, &one_dx, dx);
            }
        }
    }

    fn tape_len(conv: &Conv2d, block: Block) -> usize {
        block.len(param_len(conv))
    }

    fn scratch_len(conv: &Conv2d, _block: Block) -> usize {
        conv.input().features() + conv.output().features() + conv.scratch_len(Block::single(1))
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "conv-new-weights",
    notebook: "B",
    mistake: "the weights are drawn anew in every forward pass, in training and prediction alike",
    wrong: "forward:  w = normal(0, 1);  y = conv(x, w) + b",
    right: "once:     w = normal(0, 1) / sqrt(inputs);   forward:  y = conv(x, w) + b",
    symptom: "the convolution never learns; the dense layers learn what random filters leave, and the network loses to the one without \
              a convolution; predicting twice gives two answers",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::NanTravels),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example { layers: "conv(8,3) pool(2) dense(10)", layer: Some(0), batch_size: 32, parts: 1 },
    source: include_str!("conv_new_weights.rs"),
    make: Make::layer::<ConvNewWeights>(),
};

/// A number for one image and, in training, for its place in the run.
fn hash<T: Scalar>(mode: Mode, sample: usize, x: &[T]) -> u64 {
    // An odd number with its bits spread well: 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, next: u64| (hash ^ next).wrapping_mul(SPREAD).rotate_left(29);
    let hash = x.iter().fold(0, |hash, x| mix(hash, x.to_f64().to_bits()));
    match mode {
        Mode::Eval => hash,
        Mode::Train { seed, step, first_sample } => {
            [seed, step, first_sample + sample as u64].into_iter().fold(hash, mix)
        }
    }
}

fn param_len(conv: &Conv2d) -> usize {
    conv.params().iter().map(ParamSpec::len).sum()
}

/// The same pass over one sample.
fn alone(pass: Pass) -> Pass {
    Pass { block: Block::single(1), ..pass }
}

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
