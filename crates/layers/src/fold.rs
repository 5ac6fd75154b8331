//! A network without its batch normalisations: each folded into the convolution or dense layer before it.

use crate::branches::Branches;
use crate::chain::Chain;
use crate::contract::{Layer, ParamSpec, downcast};
use crate::network::Network;
use crate::{BatchNorm, Conv2d, ConvOptions, Dense};
use byhand_tensor::Scalar;
use std::sync::Arc;

impl<T: Scalar> Network<T> {
    /// The network that says the same in evaluation with fewer layers, and its parameters: for use, not to train on.
    ///
    /// In evaluation a batch normalisation is `y = s x + t` with constants, channel by channel. Behind `x = w u + c` that is
    /// `y = (s w) u + (s c + t)`: the layer before it with other parameters, and a bias in any case. Outputs differ by rounding. A batch
    /// normalisation behind any other layer stays.
    ///
    /// ```
    /// use byhand_layers::init::{Init, init_network};
    /// use byhand_layers::{BatchNorm, Dense, Network, Shape};
    /// let norm = BatchNorm::new(Shape::flat(3), BatchNorm::EPS, BatchNorm::MOMENTUM)?;
    /// let network: Network = Network::new(vec![Box::new(Dense::new(2, 3, false)?), Box::new(norm)])?;
    /// let theta = init_network(&network, Init::HeNormal, 1);
    /// let (folded, folded_theta) = network.folded(&theta);
    /// assert_eq!(folded.layers().len(), 1);
    /// let x = ndarray::array![[1.0, -2.0]];
    /// let difference = network.predict(&theta, x.view()) - folded.predict(&folded_theta, x.view());
    /// assert!(difference.iter().all(|d| d.abs() < 1e-6));
    /// # Ok::<(), byhand_layers::LayerError>(())
    /// ```
    ///
    /// # Panics
    /// If `theta` has not [`param_len`](Self::param_len) numbers.
    #[track_caller]
    pub fn folded(&self, theta: &[T]) -> (Self, Vec<T>) {
        assert_eq!(theta.len(), self.param_len(), "network: length of theta");
        let mut fold = Fold { theta, folded: Vec::new() };
        let layers = fold.layers(self.layers());
        let network = Self::of(layers).unwrap_or_else(|error| unreachable!("the same shapes: {error}"));
        (network, fold.folded)
    }
}

/// What is left of `theta`, and what was made of the rest.
struct Fold<'a, T> {
    theta: &'a [T],
    folded: Vec<T>,
}

impl<'a, T: Scalar> Fold<'a, T> {
    fn layers(&mut self, layers: &[Arc<dyn Layer<T>>]) -> Vec<Arc<dyn Layer<T>>> {
        let mut made = Vec::new();
        let mut rest = layers;
        while let [layer, later @ ..] = rest {
            rest = later;
            let norm = later.first().and_then(|next| downcast::<BatchNorm, T>(&**next));
            let merged = norm.and_then(|norm| Some((norm, with_bias(&**layer)?)));
            made.push(match (Branches::of(&**layer), merged) {
                (Some(branches), _) => self.branches(branches),
                (None, Some((norm, with_bias))) => {
                    rest = &later[1..];
                    self.merge(&**layer, norm);
                    with_bias
                }
                (None, None) => {
                    let own = self.take(&**layer);
                    self.folded.extend_from_slice(own);
                    Arc::clone(layer)
                }
            });
        }
        made
    }

    fn branches(&mut self, branches: &Branches<dyn Layer<T>>) -> Arc<dyn Layer<T>> {
        let mut chains = Vec::new();
        for (_, chain) in branches.chains() {
            chains.push(Chain::new(chain.input(), self.layers(chain.layers())));
        }
        let made =
            chains.into_iter().collect::<Result<Vec<_>, _>>().and_then(|chains| branches.with_chains(chains));
        Arc::new(made.unwrap_or_else(|error| unreachable!("the same shapes: {error}")))
    }

    /// The parameters of a convolution or dense layer with those of the batch normalisation behind it.
    fn merge(&mut self, layer: &dyn Layer<T>, norm: &BatchNorm) {
        let weight_len = layer.params()[0].len();
        let (weight, bias) = self.take(layer).split_at(weight_len);
        let constants = norm.constants(self.take(norm));
        for (row, (scale, _)) in weight.chunks_exact(weight_len / constants.len()).zip(&constants) {
            self.folded.extend(row.iter().map(|&w| *scale * w));
        }
        for (channel, (scale, shift)) in constants.into_iter().enumerate() {
            self.folded.push(bias.get(channel).map_or(shift, |&bias| scale * bias + shift));
        }
    }

    fn take(&mut self, layer: &dyn Layer<T>) -> &'a [T] {
        let (own, rest) = self.theta.split_at(layer.params().iter().map(ParamSpec::len).sum());
        self.theta = rest;
        own
    }
}

/// The layer with a bias, if it is one into which a batch normalisation can be folded.
fn with_bias<T: Scalar>(layer: &dyn Layer<T>) -> Option<Arc<dyn Layer<T>>> {
    if let Some(conv) = downcast::<Conv2d, T>(layer) {
        let options = ConvOptions { bias: true, ..conv.options() };
        return Some(Arc::new(Conv2d::new(layer.input(), layer.output().c, options).ok()?));
    }
    downcast::<Dense, T>(layer)?;
    Some(Arc::new(Dense::new(layer.input().features(), layer.output().features(), true).ok()?))
}
