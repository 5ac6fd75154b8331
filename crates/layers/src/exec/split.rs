//! The first layers of a network on two ranks, each with half of the features that lie between them, or of the input.

use super::lowered::{Lowered, Node, Op};
use crate::Shape;
use byhand_tensor::{LANES, Scalar};
use std::ops::Range;

/// The first layers of a network on two ranks, whose outputs add up to theirs, each with half of the parameters; and
/// all other layers, maybe none.
///
/// # Formula
/// With halves `a` and `b` of the features between two dense layers, and `f` that works feature by feature,
/// ```text
/// w2 f(w1 x) = w2[:, a] f(w1[a, :] x) + w2[:, b] f(w1[b, :] x)          column-row parallel
/// ```
/// and with halves of the input of one, `w x = w[:, a] x[a] + w[:, b] x[b]`, row parallel. Either rank goes forward
/// from `x`, and backward from the gradient of the sum, without the other.
///
/// # Reference
/// Shoeybi and others, "Megatron-LM: training multi-billion parameter language models using model parallelism", 2019.
///
/// ```
/// use byhand_layers::exec::Split;
/// use byhand_layers::{Dense, Network, Relu, Shape};
/// let network: Network = Network::new(vec![
///     Box::new(Dense::new(784, 128, true)?),
///     Box::new(Relu::new(Shape::flat(128))),
///     Box::new(Dense::new(128, 10, true)?),
/// ])?;
/// let row = Split::row(network.lowered()).expect("a dense layer");
/// assert_eq!(row.ranks.each_ref().map(|rank| rank.inputs()), [0..400, 400..784]);
/// assert_eq!(row.rest.param_len(), 1290);
///
/// let column_row = Split::column_row(network.lowered()).expect("two dense layers, and a rectifier between them");
/// assert_eq!(column_row.ranks.each_ref().map(|rank| rank.chain().param_len()), [50890, 50880]);
/// assert_eq!(column_row.rest.param_len(), 0);
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Split<T: Scalar = f32> {
    /// The two ranks.
    pub ranks: [Rank<T>; 2],
    /// The other layers.
    pub rest: Lowered<T>,
}

/// One of two chains that add up to the first layers of another, the whole.
#[derive(Clone, Debug)]
pub struct Rank<T: Scalar = f32> {
    chain: Lowered<T>,
    inputs: Range<usize>,
    /// Its tensors, in the order in which they lie in its `theta`.
    pieces: Vec<Piece>,
}

/// Where a tensor of a rank lies in the whole's `theta`.
#[derive(Clone, Debug)]
struct Piece {
    tensor: Range<usize>,
    /// Numbers of a row of it.
    row: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<T: Scalar> Split<T> {
    /// The first layer by its inputs, if it is a product.
    pub fn row(whole: &Lowered<T>) -> Option<Self> {
        Self::of(whole, 1)
    }

    /// The first two products, and what lies between them, by the features there, if that works feature by feature.
    pub fn column_row(whole: &Lowered<T>) -> Option<Self> {
        let mut products = whole.nodes.iter().enumerate().filter(|(_, node)| node.op.product().is_some());
        let (second, _) = products.nth(1)?;
        Self::of(whole, second + 1)
    }

    /// The first `nodes` by what the last of them sums over: of one that is the input.
    fn of(whole: &Lowered<T>, nodes: usize) -> Option<Self> {
        let features = whole.nodes.get(nodes - 1)?.op.product()?.inputs();
        // Rows of a weight begin with a cache line.
        let middle = features.div_ceil(2 * LANES) * LANES;
        if middle >= features {
            return None;
        }
        let ranks = [Rank::of(whole, nodes, 0..middle)?, Rank::of(whole, nodes, middle..features)?];
        let (before, after) = whole.nodes.split_at(nodes);
        let is_chain = before.iter().enumerate().all(|(place, node)| node.reads == [place]);
        if !is_chain || after.iter().flat_map(|node| &node.reads).any(|read| *read < nodes) {
            return None;
        }
        let last = before.last()?;
        let start = last.theta.end;
        let moved = |node: &Node<T>| {
            let theta = node.theta.start - start..node.theta.end - start;
            Node { theta, reads: node.reads.iter().map(|read| read - nodes).collect(), ..node.clone() }
        };
        let after = after.iter().map(moved).collect();
        let rest = Lowered::of(last.op.output(), after, whole.param_len - start);
        Some(Self { ranks, rest })
    }
}

impl<T: Scalar> Rank<T> {
    fn of(whole: &Lowered<T>, nodes: usize, features: Range<usize>) -> Option<Self> {
        let all_inputs = if nodes == 1 { features.clone() } else { 0..whole.input.features() };
        let (mut inputs, mut own, mut pieces, mut start) = (all_inputs.clone(), Vec::new(), Vec::new(), 0);
        for (place, node) in whole.nodes[..nodes].iter().enumerate() {
            let all = 0..node.op.output().features();
            let outputs = if place + 1 == nodes { all } else { features.clone() };
            let op = match &node.op {
                Op::Product(product) => {
                    let weight = node.theta.start..node.theta.start + product.inputs() * product.outputs();
                    let bias = weight.end..node.theta.end;
                    let row = product.inputs();
                    pieces.push(Piece {
                        tensor: weight,
                        row,
                        rows: outputs.clone(),
                        columns: inputs.clone(),
                    });
                    // It goes with the first input.
                    if !bias.is_empty() && inputs.start == 0 {
                        pieces.push(Piece { tensor: bias, row: 1, rows: outputs.clone(), columns: 0..1 });
                    }
                    Op::Product(product.slice(outputs.clone(), inputs).ok()?)
                }
                _ => node.op.of_features(outputs.len())?,
            };
            let end = pieces.iter().map(Piece::len).sum();
            own.push(Node::new(op, place, node.origin.clone(), start..end));
            (start, inputs) = (end, outputs);
        }
        let chain = Lowered::of(Shape::flat(all_inputs.len()), own, start);
        Some(Self { chain, inputs: all_inputs, pieces })
    }

    /// Its layers.
    pub fn chain(&self) -> &Lowered<T> {
        &self.chain
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
    pub fn scatter(&self, theta: &[T], own: &mut [T]) {
        for (own_row, row) in self.rows(own.len()) {
            own[own_row].copy_from_slice(&theta[row]);
        }
    }

    /// Copies its parameters, or a gradient of them, to where they lie among those of the whole.
    ///
    /// # Panics
    /// If there are not as many as either has.
    #[track_caller]
    pub fn gather(&self, own: &[T], theta: &mut [T]) {
        for (own_row, row) in self.rows(own.len()) {
            theta[row].copy_from_slice(&own[own_row]);
        }
    }

    /// Where each row of each of its tensors lies in its own `theta`, of so many numbers, and in the whole's.
    #[track_caller]
    fn rows(&self, len: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        assert_eq!(len, self.chain.param_len(), "rank: length of theta");
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
    use crate::exec::Backward;
    use crate::trial::Trial;
    use crate::{Dense, Layer, Network, Pass, Relu, Sigmoid, Tanh, Workspace};
    use byhand_tensor::{Block, Isa, RowView, pack, pack_gradient, unpack};
    use ndarray::Array2;
    use rand::{RngExt, SeedableRng};
    use std::sync::Arc;

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
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| rng.random_range(-2..=2) as f32).collect()
    }

    /// Outputs, and gradients of parameters and input, of both ranks and the rest in turn, and of the network itself.
    fn holds(network: &Network, split: &Split, block: Block) {
        let samples = block.samples();
        let (features, classes) = (network.input().features(), network.classes());
        let trial = Trial::new(network, samples, whole_numbers);
        let (theta, x, pass) = (&trial.theta, &trial.x, Pass::train(block, 0, 0, 0));
        let [wanted_y, wanted] = trial.run(network, &pass);

        let rest = &split.rest;
        let (front_len, sums) = (theta.len() - rest.param_len(), rest.input().features());
        let mut rest_ws = Workspace::of(rest, block);
        rest_ws.input_mut().fill(0.0);
        let rows = RowView::new(features, x.as_slice().unwrap());
        let mut ranks = split.ranks.each_ref().map(|rank| {
            let mut ws = Workspace::of(rank.chain(), block);
            let mut own = vec![f32::NAN; rank.chain().param_len()];
            rank.scatter(&theta[..front_len], &mut own);
            let x = Array2::from_shape_fn((samples, rank.inputs().len()), |(s, i)| {
                x[(s, rank.inputs().start + i)]
            });
            pack(x.view(), block, ws.input_mut());
            let rows = rank.chain().takes_rows(features).then(|| rows.features(rank.inputs()));
            rank.chain().forward(&pass, &own, rows.filter(|_| block.lanes() == LANES), &mut ws);
            for (sum, y) in rest_ws.input_mut().iter_mut().zip(ws.output()) {
                *sum += y;
            }
            (own, ws)
        });
        rest.forward(&pass, &theta[front_len..], None, &mut rest_ws);
        assert_eq!(unpack(block, classes, rest_ws.output()).as_slice().unwrap(), wanted_y);
        pack_gradient(trial.dy.view(), block, rest_ws.output_grad_mut());
        let mut found = vec![0.0; theta.len()];
        let mut dsums = vec![f32::NAN; block.len(sums)];
        let backward = Backward {
            rows: None,
            dtheta: &mut found[front_len..],
            dx: Some(&mut dsums),
            frozen: 0,
            save: &mut |_, _, _, _| false,
        };
        rest.backward(&pass, &theta[front_len..], backward, &mut rest_ws);
        for (rank, (own, ws)) in split.ranks.iter().zip(&mut ranks) {
            ws.output_grad_mut().copy_from_slice(&dsums);
            let mut gradient = vec![0.0; own.len()];
            let dtheta = &mut gradient[..];
            let backward =
                Backward { rows: None, dtheta, dx: None, frozen: 0, save: &mut |_, _, _, _| false };
            rank.chain().backward(&pass, own, backward, ws);
            rank.gather(&gradient, &mut found);
        }
        assert_eq!(found, wanted);
    }

    #[test]
    fn ranks_add_up_to_the_whole() {
        for sizes in [&[784, 50, 10][..], &[48, 33, 7, 5], &[48, 10], &[33, 17, 3]] {
            let network = network(sizes);
            let splits = [Split::row(network.lowered()), Split::column_row(network.lowered())];
            for split in splits.iter().flatten() {
                for block in [Block::tiled(3), Block::tiled(16), Block::tiled(40), Block::single(2)] {
                    for isa in Isa::available() {
                        isa.with(|| holds(&network, split, block));
                    }
                }
            }
        }
    }

    #[test]
    fn gather_after_scatter_is_the_identity() {
        let network = network(&[784, 50, 40, 10]);
        let theta: Vec<f32> = (0..network.param_len()).map(|i| i as f32).collect();
        for split in [Split::row(network.lowered()), Split::column_row(network.lowered())].iter().flatten() {
            let front_len = theta.len() - split.rest.param_len();
            let mut found = vec![f32::NAN; front_len];
            for rank in &split.ranks {
                let mut own = vec![f32::NAN; rank.chain().param_len()];
                rank.scatter(&theta, &mut own);
                rank.gather(&own, &mut found);
            }
            // Each parameter lies in one of them.
            assert_eq!(split.ranks.iter().map(|rank| rank.chain().param_len()).sum::<usize>(), front_len);
            assert_eq!(found, theta[..front_len]);
        }
    }

    #[test]
    fn what_works_feature_by_feature_can_be_split() {
        let shape = Shape::new(2, 3, 1);
        let layers: [(Arc<dyn Layer<f32>>, bool); 4] = [
            (Arc::new(Relu::new(shape)), true),
            (Arc::new(Tanh::new(shape)), true),
            (Arc::new(Sigmoid::new(shape)), true),
            (Arc::new(crate::Dropout::new(shape, 0.5).unwrap()), false),
        ];
        for (layer, can_be) in layers {
            let half = Op::Layer(Arc::clone(&layer)).of_features(4);
            assert_eq!(half.is_some(), can_be, "{}", layer.spec());
            if let Some(half) = half {
                assert_eq!((half.layer().unwrap().spec(), half.output()), (layer.spec(), Shape::flat(4)));
            }
        }
    }

    #[test]
    fn nothing_to_split() {
        let split = |sizes: &[usize]| {
            let network = network(sizes);
            [Split::row(network.lowered()), Split::column_row(network.lowered())].map(|split| split.is_some())
        };
        assert_eq!(split(&[48, 10]), [true, false], "one layer");
        assert_eq!(split(&[48, 16, 10]), [true, false], "fewer than two vectors");
        assert_eq!(split(&[16, 10]), [false, false]);
    }

    #[test]
    fn frozen_layers_are_whole() {
        let split = Split::column_row(network(&[48, 32, 10]).lowered()).unwrap();
        let first = 48 * 32 + 32;
        let frozen = [0, first, first + 330].map(|frozen| split.ranks[0].frozen(frozen));
        assert_eq!(frozen, [0, first / 2, first / 2 + 170]);
        assert_eq!(split.ranks[1].frozen(first + 330), first / 2 + 160);
    }
}
