//! The first layers of a network as two networks, each with half of the features that lie between them, or of the input.

use crate::Network;
use byhand_tensor::{LANES, Scalar};
use std::ops::Range;

/// The first layers of a network as two networks whose outputs add up to theirs, each with half of the parameters; and the network of all
/// other layers, maybe of none.
///
/// # Formula
/// With halves `a` and `b` of the features between two dense layers, and `f` that works feature by feature,
/// ```text
/// w2 f(w1 x) = w2[:, a] f(w1[a, :] x) + w2[:, b] f(w1[b, :] x)
/// ```
/// and with halves of the input of one, `w x = w[:, a] x[a] + w[:, b] x[b]`. Either half goes forward from `x`, and backward from the gradient of
/// the sum, without the other.
///
/// # Reference
/// Shoeybi and others, "Megatron-LM: training multi-billion parameter language models using model parallelism", 2019.
///
/// ```
/// use byhand_layers::{Dense, Halves, Network, Relu, Shape};
/// let network: Network = Network::new(vec![
///     Box::new(Dense::new(784, 128, true)?),
///     Box::new(Relu::new(Shape::flat(128))),
///     Box::new(Dense::new(128, 10, true)?),
/// ])?;
/// let by_inputs = Halves::by_inputs(&network).expect("a dense layer");
/// assert_eq!(by_inputs.halves.each_ref().map(|half| half.inputs()), [0..400, 400..784]);
/// assert_eq!(by_inputs.rest.layers().len(), 2);
///
/// let by_hidden = Halves::by_hidden(&network).expect("two dense layers, and a rectifier between them");
/// assert_eq!(by_hidden.halves.each_ref().map(|half| half.network().layers()[0].spec()), ["dense(64)", "dense(64)"]);
/// assert!(by_hidden.rest.layers().is_empty());
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Halves<T: Scalar = f32> {
    /// The two networks.
    pub halves: [Half<T>; 2],
    /// The other layers.
    pub rest: Network<T>,
}

/// One of two networks that add up to the first layers of another, the whole.
#[derive(Clone, Debug)]
pub struct Half<T: Scalar = f32> {
    network: Network<T>,
    inputs: Range<usize>,
    /// Its tensors, in the order in which they lie in its `theta`.
    pieces: Vec<Piece>,
}

/// Where a tensor of a half lies in the whole's `theta`.
#[derive(Clone, Debug)]
struct Piece {
    tensor: Range<usize>,
    /// Numbers of a row of it.
    row: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<T: Scalar> Halves<T> {
    /// The first layer by its inputs, if it can be cut so.
    pub fn by_inputs(network: &Network<T>) -> Option<Self> {
        Self::of(network, 1)
    }

    /// The first two layers that sum over features, and what lies between them, by the features there, if they can be cut so.
    pub fn by_hidden(network: &Network<T>) -> Option<Self> {
        let mut sums =
            network.nodes().iter().enumerate().filter(|(_, node)| node.layer.as_deferred().is_some());
        let (second, _) = sums.nth(1)?;
        Self::of(network, second + 1)
    }

    /// The first `nodes` of the network's plan by what the last of them sums over: of one that is the input.
    fn of(network: &Network<T>, nodes: usize) -> Option<Self> {
        let features = network.nodes().get(nodes - 1)?.layer.input().features();
        // Rows of a weight begin with a cache line.
        let middle = features.div_ceil(2 * LANES) * LANES;
        if middle >= features {
            return None;
        }
        let halves = [Half::of(network, nodes, 0..middle)?, Half::of(network, nodes, middle..features)?];
        Some(Self { halves, rest: network.after(nodes) })
    }
}

impl<T: Scalar> Half<T> {
    fn of(network: &Network<T>, nodes: usize, features: Range<usize>) -> Option<Self> {
        let all_inputs = if nodes == 1 { features.clone() } else { 0..network.input().features() };
        let (mut inputs, mut layers, mut pieces) = (all_inputs.clone(), Vec::new(), Vec::new());
        for (place, node) in network.nodes()[..nodes].iter().enumerate() {
            let outputs =
                if place + 1 == nodes { 0..node.layer.output().features() } else { features.clone() };
            let layer = node.layer.narrowed(outputs.clone(), inputs.clone())?;
            let tensors = network.params().iter().filter(|param| node.theta.contains(&param.range.start));
            // The bias is the last, and only one of them has it.
            for (tensor, own) in tensors.zip(layer.params()) {
                let row = tensor.range.len() / tensor.shape[0];
                let columns = if own.shape.len() == 1 { 0..1 } else { inputs.clone() };
                pieces.push(Piece { tensor: tensor.range.clone(), row, rows: outputs.clone(), columns });
            }
            layers.push(layer);
            inputs = outputs;
        }
        Some(Self { network: Network::of(layers).ok()?, inputs: all_inputs, pieces })
    }

    /// It.
    pub fn network(&self) -> &Network<T> {
        &self.network
    }

    /// The features of the whole's input that it takes.
    pub fn inputs(&self) -> Range<usize> {
        self.inputs.clone()
    }

    /// Copies its parameters, or a gradient of them, out of those of the whole.
    ///
    /// # Panics
    /// If there are not as many as either has.
    #[track_caller]
    pub fn take(&self, theta: &[T], own: &mut [T]) {
        for (own_row, row) in self.rows(own.len()) {
            own[own_row].copy_from_slice(&theta[row]);
        }
    }

    /// Copies its parameters, or a gradient of them, to where they lie among those of the whole.
    ///
    /// # Panics
    /// If there are not as many as either has.
    #[track_caller]
    pub fn put(&self, own: &[T], theta: &mut [T]) {
        for (own_row, row) in self.rows(own.len()) {
            theta[row].copy_from_slice(&own[own_row]);
        }
    }

    /// Where each row of each of its tensors lies in its own `theta`, of so many numbers, and in the whole's.
    #[track_caller]
    fn rows(&self, len: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        assert_eq!(len, self.network.param_len(), "half of a network: length of theta");
        let mut start = 0;
        let rows = self.pieces.iter().flat_map(|piece| piece.rows.clone().map(move |row| (piece, row)));
        rows.map(move |(Piece { tensor, row: len, columns, .. }, row)| {
            let (own, row) = (start, tensor.start + row * len);
            start += columns.len();
            (own..start, row + columns.start..row + columns.end)
        })
    }

    /// How many of its parameters, from the first on, are among the first `frozen` of the whole's.
    pub fn frozen(&self, frozen: usize) -> usize {
        let frozen = self.pieces.iter().take_while(|piece| piece.tensor.end <= frozen);
        frozen.map(Piece::len).sum()
    }
}

impl Piece {
    fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dense, Layer, Pass, Relu, Shape, Sigmoid, Tanh, Workspace};
    use byhand_tensor::{Block, Isa, RowView, pack, unpack};
    use ndarray::Array2;
    use rand::{RngExt, SeedableRng};

    fn network(sizes: &[usize]) -> Network {
        let mut layers: Vec<Box<dyn Layer<f32>>> = Vec::new();
        for pair in sizes.windows(2) {
            layers.push(Box::new(Dense::new(pair[0], pair[1], true).unwrap()));
            layers.push(Box::new(Relu::new(Shape::flat(pair[1]))));
        }
        layers.pop();
        Network::new(layers).unwrap()
    }

    /// Whole numbers, whose sums are exact in any order.
    fn whole_numbers(seed: u64, len: usize) -> Vec<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| rng.random_range(-2..=2) as f32).collect()
    }

    /// Outputs, and gradients of parameters and input, of both halves and the rest in turn, and of the network itself.
    fn holds(network: &Network, cut: &Halves, samples: usize) {
        let block = Block::tiled(samples);
        let (features, classes) = (network.input().features(), network.classes());
        let theta = whole_numbers(1, network.param_len());
        let x = Array2::from_shape_vec((samples, features), whole_numbers(2, samples * features)).unwrap();
        let dy = Array2::from_shape_vec((samples, classes), whole_numbers(3, samples * classes)).unwrap();
        let pass = Pass::train(block, 0, 0, 0);

        let mut ws = Workspace::new(network, block);
        pack(x.view(), block, ws.input_mut());
        network.forward(&pass, &theta, &mut ws);
        let wanted_y = unpack(block, classes, ws.output());
        pack(dy.view(), block, ws.output_grad_mut());
        let mut wanted = vec![0.0; theta.len()];
        network.backward(&pass, &theta, &mut wanted, &mut ws);

        let rest = &cut.rest;
        let (front_len, sums) = (theta.len() - rest.param_len(), rest.input().features());
        let mut rest_ws = Workspace::new(rest, block);
        let rows = RowView::new(features, x.as_slice().unwrap());
        let mut halves = cut.halves.each_ref().map(|half| {
            let mut ws = Workspace::new(half.network(), block);
            let mut own = vec![f32::NAN; half.network().param_len()];
            half.take(&theta[..front_len], &mut own);
            let x = Array2::from_shape_fn((samples, half.inputs().len()), |(s, i)| {
                x[(s, half.inputs().start + i)]
            });
            pack(x.view(), block, ws.input_mut());
            let rows = half.network().takes_rows(features).then(|| rows.features(half.inputs()));
            half.network().forward_shared(&pass, &own, rows, &mut ws, None);
            for (sum, y) in rest_ws.input_mut().iter_mut().zip(ws.output()) {
                *sum += y;
            }
            (own, ws)
        });
        rest.forward(&pass, &theta[front_len..], &mut rest_ws);
        assert_eq!(unpack(block, classes, rest_ws.output()), wanted_y);
        pack(dy.view(), block, rest_ws.output_grad_mut());
        let mut found = vec![0.0; theta.len()];
        let mut dsums = vec![f32::NAN; block.len(sums)];
        rest.backward_keeping(
            &pass,
            &theta[front_len..],
            None,
            &mut found[front_len..],
            Some(&mut dsums),
            &mut rest_ws,
            0,
            &mut |_, _, _, _| false,
            None,
        );
        for (half, (own, ws)) in cut.halves.iter().zip(&mut halves) {
            ws.output_grad_mut().copy_from_slice(&dsums);
            let mut gradient = vec![0.0; own.len()];
            half.network().backward(&pass, own, &mut gradient, ws);
            half.put(&gradient, &mut found);
        }
        assert_eq!(found, wanted);
    }

    #[test]
    fn halves_add_up_to_the_whole() {
        for sizes in [&[784, 50, 10][..], &[48, 33, 7, 5], &[48, 10], &[33, 17, 3]] {
            let network = network(sizes);
            let cuts = [Halves::by_inputs(&network), Halves::by_hidden(&network)];
            for (cut, samples) in cuts.iter().flatten().flat_map(|cut| [3, 16, 40].map(|n| (cut, n))) {
                for isa in Isa::available() {
                    isa.with(|| holds(&network, cut, samples));
                }
            }
        }
    }

    #[test]
    fn half_of_an_activation_is_the_same_activation() {
        let shape = Shape::new(2, 3, 1);
        let layers: [Box<dyn Layer<f32>>; 3] =
            [Box::new(Relu::new(shape)), Box::new(Tanh::new(shape)), Box::new(Sigmoid::new(shape))];
        for layer in layers {
            let half = layer.narrowed(2..6, 2..6).unwrap();
            assert_eq!((half.spec(), half.output()), (layer.spec(), Shape::flat(4)));
            assert!(layer.narrowed(0..4, 2..6).is_none(), "{} of other features", layer.spec());
        }
    }

    #[test]
    fn nothing_to_cut() {
        assert!(Halves::by_hidden(&network(&[48, 10])).is_none(), "one layer");
        assert!(Halves::by_hidden(&network(&[48, 16, 10])).is_none(), "fewer than two vectors");
        assert!(Halves::by_inputs(&network(&[16, 10])).is_none());
    }

    #[test]
    fn frozen_layers_are_whole() {
        let cut = Halves::by_hidden(&network(&[48, 32, 10])).unwrap();
        let first = 48 * 32 + 32;
        assert_eq!(
            [0, first, first + 330].map(|frozen| cut.halves[0].frozen(frozen)),
            [0, first / 2, first / 2 + 170]
        );
        assert_eq!(cut.halves[1].frozen(first + 330), first / 2 + 160);
    }
}
