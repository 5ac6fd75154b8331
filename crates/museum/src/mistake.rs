//! A wrong layer: a right one, with one function overridden.

use std::any::Any;
use std::fmt::Debug;

use byhand_layers::{Block, Describe, Kind, Layer, LayerError, ParamSpec, Pass, Saved, Scalar, Shape};

/// A wrong layer for a right one, or why not.
pub type Replaced = Result<Box<dyn Layer<f32>>, LayerError>;

/// What a wrong layer does otherwise than its right one. Whatever it does not say, the right layer does.
pub(crate) trait Mistake: Debug + Send + Sync + 'static {
    /// The layer that it is a wrong version of.
    type Right: Describe + Clone;

    /// A right layer whose wrong version every check it is caught by can tell from it.
    fn shown() -> Result<Self::Right, LayerError>;

    /// What a layer must be for the mistake to be possible at all, if this one is not so.
    fn unfit(_right: &Self::Right) -> Option<&'static str> {
        None
    }

    /// Forward.
    fn forward<T: Scalar>(right: &Self::Right, call: Forward<'_, T>)
    where
        Self::Right: Layer<T>,
    {
        call.run(right);
    }

    /// Backward.
    fn backward<T: Scalar>(right: &Self::Right, call: Backward<'_, T>)
    where
        Self::Right: Layer<T>,
    {
        call.run(right);
    }

    /// What becomes of the state.
    fn remember<T: Scalar>(right: &Self::Right, block: Block, tape: &[T], theta: &mut [T])
    where
        Self::Right: Layer<T>,
    {
        right.remember(block, tape, theta);
    }

    /// Length of the tape.
    fn tape_len(right: &Self::Right, block: Block) -> usize {
        right.tape_len(block)
    }

    /// Length of scratch.
    fn scratch_len(right: &Self::Right, block: Block) -> usize {
        right.scratch_len(block)
    }
}

/// The arguments of [`Layer::forward`].
pub(crate) struct Forward<'a, T> {
    pub(crate) pass: Pass,
    pub(crate) theta: &'a [T],
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
    pub(crate) tape: &'a mut [T],
    pub(crate) scratch: &'a mut [T],
}

/// The arguments of [`Layer::backward`].
pub(crate) struct Backward<'a, T> {
    pub(crate) pass: Pass,
    pub(crate) theta: &'a [T],
    pub(crate) saved: Saved<'a, T>,
    pub(crate) dy: &'a [T],
    pub(crate) dx: Option<&'a mut [T]>,
    pub(crate) dtheta: &'a mut [T],
    pub(crate) scratch: &'a mut [T],
}

impl<T: Scalar> Forward<'_, T> {
    /// As the right layer does.
    pub(crate) fn run(self, right: &impl Layer<T>) {
        right.forward(&self.pass, self.theta, self.x, self.y, self.tape, self.scratch);
    }
}

impl<'a, T: Scalar> Backward<'a, T> {
    /// As the right layer does.
    pub(crate) fn run(self, right: &impl Layer<T>) {
        right.backward(&self.pass, self.theta, self.saved, self.dy, self.dx, self.dtheta, self.scratch);
    }

    /// As the right layer does, but for `dx`, which is handed on for the mistake.
    pub(crate) fn run_without_dx(mut self, right: &impl Layer<T>) -> Option<&'a mut [T]> {
        let dx = self.dx.take();
        self.run(right);
        dx
    }
}

/// The wrong layer.
#[derive(Debug)]
pub(crate) struct Wrong<M: Mistake> {
    pub(crate) right: M::Right,
}

impl<M: Mistake> Wrong<M>
where
    M::Right: Layer<f32>,
{
    /// The wrong layer in place of a right one.
    pub(crate) fn in_place_of(right: &dyn Describe) -> Replaced {
        let right = (right as &dyn Any)
            .downcast_ref::<M::Right>()
            .ok_or_else(|| refused("of another kind", right))?;
        match M::unfit(right) {
            Some(expected) => Err(refused(expected, right)),
            None => Ok(Box::new(Self { right: right.clone() })),
        }
    }
}

fn refused(expected: &'static str, right: &dyn Describe) -> LayerError {
    LayerError::Value {
        layer: "museum",
        what: "the layer that is stood in for",
        expected,
        found: right.spec(),
    }
}

impl<T: Scalar, M: Mistake> Layer<T> for Wrong<M>
where
    M::Right: Layer<T>,
{
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        M::forward(&self.right, Forward { pass: *pass, theta, x, y, tape, scratch });
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
        M::backward(&self.right, Backward { pass: *pass, theta, saved, dy, dx, dtheta, scratch });
    }

    fn remember(&self, block: Block, tape: &[T], theta: &mut [T]) {
        M::remember(&self.right, block, tape, theta);
    }
}

/// It describes itself as the right one does.
impl<M: Mistake> Describe for Wrong<M> {
    fn name(&self) -> &'static str {
        self.right.name()
    }

    fn spec(&self) -> String {
        self.right.spec()
    }

    fn kind(&self) -> Kind {
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
        M::tape_len(&self.right, block)
    }

    fn scratch_len(&self, block: Block) -> usize {
        M::scratch_len(&self.right, block)
    }

    fn flops(&self) -> u64 {
        self.right.flops()
    }
}
