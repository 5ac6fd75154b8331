//! Residual block whose backward pass forgets that its input is read twice.

use std::marker::PhantomData;
use std::sync::Arc;

use byhand_layers::check::Checked;
use byhand_layers::{Branches, Chain, Conv2d, ConvOptions, Layer, Padding};

use super::prelude::*;

#[derive(Debug)]
struct ResidualForgetsSum<L: ?Sized>(PhantomData<fn(&L)>);

/// The layers of a block: those of a network, or those that can be proved.
trait Inner: Describe {
    fn of(conv: Conv2d) -> Arc<Self>;
}

impl Inner for dyn Checked {
    fn of(conv: Conv2d) -> Arc<Self> {
        Arc::new(conv)
    }
}

impl Inner for dyn Layer<f32> {
    fn of(conv: Conv2d) -> Arc<Self> {
        Arc::new(conv)
    }
}

impl<L: Inner + ?Sized> Mistake for ResidualForgetsSum<L> {
    type Right = Branches<L>;

    fn shown() -> Result<Branches<L>, LayerError> {
        let shape = Shape::new(3, 5, 7);
        let conv =
            Conv2d::new(shape, 3, ConvOptions { pad: Padding::axes([1, 1]), ..ConvOptions::square(3) })?;
        Branches::residual(Chain::new(shape, vec![L::of(conv)])?, Chain::new(shape, vec![])?)
    }

    fn unfit(block: &Branches<L>) -> Option<&'static str> {
        let has_shortcut = block.chains().skip(1).any(|(_, shortcut)| !shortcut.layers().is_empty());
        (has_shortcut || !block.is_residual()).then_some("a residual block whose shortcut is the identity")
    }

    fn backward<T: Scalar>(block: &Branches<L>, call: Backward<'_, T>)
    where
        Branches<L>: Layer<T>,
    {
        let Backward { pass, theta, saved, dy, dx, dtheta, scratch } = call;
        let mut dx = dx;
        Backward { pass, theta, saved, dy, dx: dx.as_deref_mut(), dtheta, scratch }.run(block);
        let Some(dx) = dx else { return };
        for i in 0..dx.len() {
            // <wrong>
            // What came back through f alone.
            dx[i] -= dy[i];
            // </wrong>
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "residual-forgets-sum",
    notebook: "classic",
    mistake: "the input of a residual block is read twice, and gets the gradient of one reading only",
    wrong: "dx = f^T dy",
    right: "dx = f^T dy + dy",
    symptom: "the gradient has no short way down: deep networks learn as slowly as they do without shortcuts, and no loss shows why",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example {
        layers: "conv(8,3) relu residual(conv(8,3,pad=1)) relu pool(2) dense(10)",
        layer: Some(2),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("residual_forgets_sum.rs"),
    make: Make::layers::<ResidualForgetsSum<dyn Checked>, ResidualForgetsSum<dyn Layer<f32>>>(),
};
