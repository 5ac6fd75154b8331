//! Layers one after the other: the chain rule, in memory that is lent.

use crate::contract::{Describe, Layer, ParamSpec, Pass, Saved};
use crate::{LayerError, Shape};
use byhand_tensor::{Block, Scalar};
use std::sync::Arc;

/// Layers, each on what the one before it gives; with none of them the identity. A network is one, and so is each
/// [branch](crate::Branches) of a layer.
///
/// # Formula
/// `y = fn(... f2(f1(x)))`
///
/// # Backward
/// `dx = f1^T f2^T ... fn^T dy`, from right to left, with the derivative `f^T` of each layer at what it was given.
///
/// # Memory
/// Tape: of each layer its output and its tape. Scratch: the gradient of each output, and the most that a layer needs.
#[derive(Debug)]
pub struct Chain<L: ?Sized> {
    input: Shape,
    layers: Vec<Arc<L>>,
}

impl<L: Describe + ?Sized> Chain<L> {
    /// Of these layers, first to last, on an input of this shape.
    ///
    /// # Errors
    /// A layer does not take what the one before it gives: shapes must be equal, or both flat and equally long.
    pub fn new(input: Shape, layers: Vec<Arc<L>>) -> Result<Self, LayerError> {
        let mut found = input;
        for (index, layer) in layers.iter().enumerate() {
            let expected = layer.input();
            if !expected.takes(found) {
                return Err(LayerError::Chain { index, layer: layer.spec(), expected, found });
            }
            found = layer.output();
        }
        Ok(Self { input, layers })
    }

    /// Shape of an input sample.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of an output sample.
    pub fn output(&self) -> Shape {
        self.layers.last().map_or(self.input, |layer| layer.output())
    }

    /// All layers, first to last.
    pub fn layers(&self) -> &[Arc<L>] {
        &self.layers
    }

    /// The tensors of all layers, in the order in which they lie in `theta`; `0.weight` is that of layer 0.
    pub fn params(&self) -> Vec<ParamSpec> {
        let of_layer = |(index, layer): (usize, &Arc<L>)| {
            let named =
                move |param: ParamSpec| ParamSpec { name: format!("{index}.{}", param.name).into(), ..param };
            layer.params().into_iter().map(named)
        };
        self.layers.iter().enumerate().flat_map(of_layer).collect()
    }

    /// As the layer-spec grammar has it.
    pub(crate) fn spec(&self) -> String {
        if self.layers.is_empty() {
            return "linear".to_owned();
        }
        specs(&self.layers)
    }

    pub(crate) fn tape_len(&self, block: Block) -> usize {
        self.layers.iter().map(|layer| output_len(&**layer, block) + layer.tape_len(block)).sum()
    }

    pub(crate) fn scratch_len(&self, block: Block) -> usize {
        let gradients: usize = self.layers.iter().map(|layer| output_len(&**layer, block)).sum();
        gradients + self.layers.iter().map(|layer| layer.scratch_len(block)).max().unwrap_or(0)
    }

    /// The output that [`forward`](Self::forward) left in the tape.
    pub(crate) fn output_of<'a, T>(&self, block: Block, x: &'a [T], tape: &'a [T]) -> &'a [T] {
        let Some(last) = self.layers.last() else { return x };
        let end = self.tape_len(block) - last.tape_len(block);
        &tape[end - output_len(&**last, block)..end]
    }

    /// Runs all layers on `x`.
    pub(crate) fn forward<T: Scalar>(
        &self,
        pass: &Pass,
        theta: &[T],
        x: &[T],
        tape: &mut [T],
        scratch: &mut [T],
    ) where
        L: Layer<T>,
    {
        let (mut x, mut theta, mut tape) = (x, theta, tape);
        for (index, layer) in self.layers.iter().enumerate() {
            let (own, later) = theta.split_at(param_len(&**layer));
            let (y, rest) = tape.split_at_mut(output_len(&**layer, pass.block));
            let (own_tape, rest) = rest.split_at_mut(layer.tape_len(pass.block));
            let scratch = &mut scratch[..layer.scratch_len(pass.block)];
            layer.forward(&pass.for_layer(index), own, x, y, own_tape, scratch);
            (x, theta, tape) = (y, later, rest);
        }
    }

    /// Runs all layers backwards, after a forward pass that left this tape: adds to `dtheta`, and overwrites `dx`, if it is wanted.
    pub(crate) fn backward<T: Scalar>(
        &self,
        pass: &Pass,
        theta: &[T],
        x: &[T],
        tape: &[T],
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) where
        L: Layer<T>,
    {
        backward(&self.layers, 0, pass, theta, x, tape, dy, dx, dtheta, scratch);
    }

    /// Has all layers remember what a forward pass left on this tape.
    pub(crate) fn remember<T: Scalar>(&self, block: Block, tape: &[T], theta: &mut [T])
    where
        L: Layer<T>,
    {
        let (mut tape, mut theta) = (tape, theta);
        for layer in &self.layers {
            let (own_tape, later_tape) = tape[output_len(&**layer, block)..].split_at(layer.tape_len(block));
            let (own, later) = theta.split_at_mut(param_len(&**layer));
            layer.remember(block, own_tape, own);
            (tape, theta) = (later_tape, later);
        }
    }
}

/// The chain rule: the layers behind the first turn `dy` into the gradient of its output, and the first turns that into `dx`.
fn backward<T: Scalar, L: Layer<T> + ?Sized>(
    layers: &[Arc<L>],
    index: usize,
    pass: &Pass,
    theta: &[T],
    x: &[T],
    tape: &[T],
    dy: &[T],
    dx: Option<&mut [T]>,
    dtheta: &mut [T],
    scratch: &mut [T],
) {
    let Some((first, later)) = layers.split_first() else {
        return dx.into_iter().for_each(|dx| dx.copy_from_slice(dy));
    };
    let len = param_len(&**first);
    let ((theta, later_theta), (dtheta, later_dtheta)) = (theta.split_at(len), dtheta.split_at_mut(len));
    let (y, rest) = tape.split_at(output_len(&**first, pass.block));
    let (tape, later_tape) = rest.split_at(first.tape_len(pass.block));
    let (own_dy, scratch) = scratch.split_at_mut(y.len());
    let dy = if later.is_empty() {
        dy
    } else {
        backward(later, index + 1, pass, later_theta, y, later_tape, dy, Some(own_dy), later_dtheta, scratch);
        own_dy
    };
    let (saved, scratch) = (Saved { x, y, tape }, &mut scratch[..first.scratch_len(pass.block)]);
    first.backward(&pass.for_layer(index), theta, saved, dy, dx, dtheta, scratch);
}

/// Layers as the layer-spec grammar has them.
pub(crate) fn specs<L: Describe + ?Sized>(layers: &[Arc<L>]) -> String {
    layers.iter().map(|layer| layer.spec()).collect::<Vec<_>>().join(" ")
}

fn output_len(layer: &(impl Describe + ?Sized), block: Block) -> usize {
    block.len(layer.output().features())
}

fn param_len(layer: &(impl Describe + ?Sized)) -> usize {
    layer.params().iter().map(ParamSpec::len).sum()
}

/// Shares the layers.
impl<L: ?Sized> Clone for Chain<L> {
    fn clone(&self) -> Self {
        Self { input: self.input, layers: self.layers.clone() }
    }
}
