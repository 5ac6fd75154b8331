//! Wrong layers and losses made of right ones: one gradient changed after it was computed.

use std::sync::Arc;

use byhand_layers::loss::{Loss, LossStats, Target};
use byhand_layers::{Block, Describe, Kind, Layer, ParamSpec, Pass, Saved, Scalar, Shape};

/// A layer whose backward pass is `layer`'s with one gradient changed by a mutation.
///
/// ```
/// use std::sync::Arc;
///
/// use byhand_layers::check::{Options, check_layer};
/// use byhand_layers::{Dense, LayerError};
/// use byhand_museum::{Gradient, Mutant, Mutation};
///
/// let dense = Arc::new(Dense::new(4, 4, true)?);
/// let mutant = Mutant { layer: Arc::clone(&dense), gradient: Gradient::Param(0), mutation: Mutation::Transposed };
/// assert!(check_layer(&*dense, &Options::quick()).passed());
/// assert!(!check_layer(&mutant, &Options::quick()).passed());
/// # Ok::<(), LayerError>(())
/// ```
#[derive(Debug)]
pub struct Mutant<L: ?Sized> {
    /// The right layer.
    pub layer: Arc<L>,
    /// Which of its gradients is changed.
    pub gradient: Gradient,
    /// How.
    pub mutation: Mutation,
}

/// A loss whose gradient is `loss`'s changed by a mutation.
///
/// ```
/// use byhand_layers::check::{Options, check_loss};
/// use byhand_layers::loss::SquaredError;
/// use byhand_museum::{Mutation, MutantLoss};
///
/// let mutant = MutantLoss { loss: SquaredError, mutation: Mutation::Scaled };
/// assert!(check_loss(&SquaredError, 3, &Options::quick()).passed());
/// assert!(!check_loss(&mutant, 3, &Options::quick()).passed());
/// ```
#[derive(Debug)]
pub struct MutantLoss<L> {
    /// The right loss.
    pub loss: L,
    /// How its gradient is changed. A gradient of logits has no axes to transpose: that one changes nothing.
    pub mutation: Mutation,
}

/// A gradient that a backward pass computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gradient {
    /// That of the input.
    Dx,
    /// That of the parameter tensor of this index.
    Param(usize),
}

/// A systematic mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// The gradient times -1.
    Negated,
    /// The gradient times 1 + 1/1000.
    Scaled,
    /// Zeros.
    Zeroed,
    /// Rows and columns of the last two axes change places; only where they are equally many.
    Transposed,
    /// The middle number of the gradient, for `dx` that of the first sample, larger by 1/8.
    OneElementOff,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Negated, Self::Scaled, Self::Zeroed, Self::Transposed, Self::OneElementOff];
}

/// Every mutant of a layer: each of its gradients with each mutation that fits it.
pub fn mutants<L: Describe + ?Sized>(layer: &Arc<L>) -> Vec<Mutant<L>> {
    let params = layer.params().into_iter().enumerate().filter(|(_, param)| !param.is_state);
    let gradients = std::iter::once(Gradient::Dx).chain(params.map(|(index, _)| Gradient::Param(index)));
    let all = gradients.flat_map(|gradient| Mutation::ALL.map(|mutation| (gradient, mutation)));
    let mutants = all.map(|(gradient, mutation)| Mutant { layer: Arc::clone(layer), gradient, mutation });
    mutants.filter(|mutant| mutant.mutation != Mutation::Transposed || mutant.plane() > 1).collect()
}

impl<L: Describe + ?Sized> Mutant<L> {
    /// Side of the square that the last two axes of the gradient form, 0 if they form none.
    fn plane(&self) -> usize {
        let sides = match self.gradient {
            Gradient::Dx => [self.layer.input().h, self.layer.input().w],
            Gradient::Param(index) => match self.layer.params()[index].shape[..] {
                [.., rows, columns] => [rows, columns],
                _ => [0, 0],
            },
        };
        if sides[0] == sides[1] { sides[0] } else { 0 }
    }

    /// Changes the gradient `d`, the number of index `i` of which lies at `at(i)`.
    fn mutate<T: Scalar>(&self, d: &mut [T], numbers: usize, at: impl Fn(usize) -> usize) {
        let scaled = |factor: f64| move |d: &mut T| *d *= T::from_f64(factor);
        match self.mutation {
            Mutation::Negated => d.iter_mut().for_each(scaled(-1.0)),
            Mutation::Scaled => d.iter_mut().for_each(scaled(1.001)),
            Mutation::Zeroed => d.fill(T::ZERO),
            Mutation::OneElementOff => d[at(numbers / 2)] += T::from_f64(0.125),
            Mutation::Transposed => {
                let side = self.plane();
                for plane in (0..numbers).step_by(side * side) {
                    for i in 0..side {
                        for j in 0..i {
                            d.swap(at(plane + i * side + j), at(plane + j * side + i));
                        }
                    }
                }
            }
        }
    }
}

impl<T: Scalar, L: Layer<T> + ?Sized> Layer<T> for Mutant<L> {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        self.layer.forward(pass, theta, x, y, tape, scratch);
    }

    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        mut dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        let mut added = vec![T::ZERO; dtheta.len()];
        self.layer.backward(pass, theta, saved, dy, dx.as_deref_mut(), &mut added, scratch);
        match (self.gradient, dx) {
            (Gradient::Dx, None) => {}
            (Gradient::Dx, Some(dx)) if self.mutation == Mutation::Transposed => {
                let features = self.layer.input().features();
                for sample in 0..pass.block.samples() {
                    self.mutate(dx, features, |feature| pass.block.index(features, sample, feature));
                }
            }
            (Gradient::Dx, Some(dx)) => {
                let features = self.layer.input().features();
                self.mutate(dx, features, |feature| pass.block.index(features, 0, feature));
            }
            (Gradient::Param(index), _) => {
                let lens: Vec<usize> = self.layer.params().iter().map(ParamSpec::len).collect();
                let start: usize = lens[..index].iter().sum();
                self.mutate(&mut added[start..][..lens[index]], lens[index], |i| i);
            }
        }
        dtheta.iter_mut().zip(added).for_each(|(d, added)| *d += added);
    }

    fn remember(&self, block: Block, tape: &[T], theta: &mut [T]) {
        self.layer.remember(block, tape, theta);
    }
}

impl<T: Scalar, L: Loss<T>> Loss<T> for MutantLoss<L> {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let stats = self.loss.value_and_gradient(block, logits, target, scale, dlogits);
        let classes = dlogits.len() / block.len(1);
        let scaled = |factor: f64| move |d: &mut T| *d *= T::from_f64(factor);
        match self.mutation {
            Mutation::Negated => dlogits.iter_mut().for_each(scaled(-1.0)),
            Mutation::Scaled => dlogits.iter_mut().for_each(scaled(1.001)),
            Mutation::Zeroed => dlogits.fill(T::ZERO),
            Mutation::Transposed => {}
            Mutation::OneElementOff => dlogits[block.index(classes, 0, classes / 2)] += T::from_f64(0.125),
        }
        stats
    }
}

impl<L: Describe + ?Sized> Describe for Mutant<L> {
    fn name(&self) -> &'static str {
        self.layer.name()
    }

    fn spec(&self) -> String {
        self.layer.spec()
    }

    fn kind(&self) -> Kind {
        self.layer.kind()
    }

    fn input(&self) -> Shape {
        self.layer.input()
    }

    fn output(&self) -> Shape {
        self.layer.output()
    }

    fn params(&self) -> Vec<ParamSpec> {
        self.layer.params()
    }

    fn tape_len(&self, block: Block) -> usize {
        self.layer.tape_len(block)
    }

    fn scratch_len(&self, block: Block) -> usize {
        self.layer.scratch_len(block)
    }

    fn flops(&self) -> u64 {
        self.layer.flops()
    }
}
