//! What a step does with a minibatch: a function of the network and the batch size alone, and so are the sums that it
//! forms, and their bits.

use std::fmt;
use std::ops::Range;

use byhand_layers::exec::{Lowered, Rank, Split};
use byhand_layers::{Block, Network, Workspace};

use super::cost;
use super::shards::Shards;

/// How a minibatch is trained on. It never sees the number of threads: who computes what is settled elsewhere, and
/// changes no bit.
///
/// - The *first layers* of a dense network may lie on two ranks, each with half of their weights, which work on all samples at once.
/// - The *tail*, all other layers, is computed shard by shard, each with a gradient of its own.
/// - With batch normalisations it is computed in *stages*: every shard comes to the next batch normalisation before any goes on.
/// - The weights of a dense layer may have their gradient made once for the minibatch, of saved operands: it is deferred.
///
/// ```
/// use byhand_layers::{Dense, Network, Relu, Shape};
/// use byhand_trainer::Plan;
/// let network: Network = Network::new(vec![
///     Box::new(Dense::new(784, 512, true)?),
///     Box::new(Relu::new(Shape::flat(512))),
///     Box::new(Dense::new(512, 512, true)?),
///     Box::new(Relu::new(Shape::flat(512))),
///     Box::new(Dense::new(512, 10, true)?),
/// ])?;
/// assert_eq!(
///     Plan::new(&network, 32).to_string(),
///     "tensor parallel 784-512-512 on 2 ranks; tail 1 shard of 32 in blocks of 32, tiles of 16; deferred gradients: 0, 2"
/// );
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    batch_size: usize,
    input_features: usize,
    flops: u64,
    param_len: usize,
    ranks: Option<[Rank<f32>; 2]>,
    tail: Lowered<f32>,
    shards: Shards,
    deferred: Vec<bool>,
}

impl Plan {
    /// The plan of `network` for minibatches of up to `batch_size` samples.
    pub fn new(network: &Network<f32>, batch_size: usize) -> Plan {
        let whole = network.lowered();
        let (ranks, tail) = match split(whole, batch_size) {
            Some(Split { ranks, rest }) => (Some(ranks), rest),
            None => (None, whole.clone()),
        };
        let deferred: Vec<bool> = tail
            .products()
            .map(|(_, range, product)| {
                cost::defers(product.kept_len(Block::single(batch_size), false), range.len())
            })
            .collect();
        let waiting = tail.products().zip(&deferred).filter(|(_, deferred)| **deferred);
        let merged = tail.param_len() - waiting.map(|((_, range, _), _)| range.len()).sum::<usize>();
        let on_ranks: u64 = ranks.iter().flatten().map(|rank| rank.chain().flops()).sum();
        let shards = shards_of(&tail, whole.flops() - on_ranks, batch_size, merged);
        Plan {
            batch_size,
            input_features: whole.input().features(),
            flops: whole.flops(),
            param_len: whole.param_len(),
            ranks,
            tail,
            shards,
            deferred,
        }
    }

    /// The number of shards of a minibatch of `samples`.
    pub fn shards(&self, samples: usize) -> usize {
        self.shards.shards(samples)
    }

    /// The layout of `samples` samples.
    pub fn block(&self, samples: usize) -> Block {
        self.shards.block(samples)
    }

    /// The most samples of a minibatch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Whether the first layers lie on two ranks.
    pub fn has_ranks(&self) -> bool {
        self.ranks.is_some()
    }

    /// Whether the first layer reads samples as they come, one after the other.
    pub fn is_row_major(&self) -> bool {
        self.ranks.is_some() || self.tail.takes_rows(self.input_features)
    }

    /// The dense layers whose parameter gradient is made once for the minibatch: `4`, or `4.main.0` in a branch.
    pub fn deferred(&self) -> impl Iterator<Item = &str> {
        let first = self.ranks.iter().flat_map(|[rank, _]| rank.chain().products());
        let tail = self.tail.products().zip(&self.deferred).filter(|(_, deferred)| **deferred);
        first.chain(tail.map(|(product, _)| product)).map(|(layer, _, _)| layer)
    }

    pub(super) fn cuts(&self) -> &Shards {
        &self.shards
    }

    pub(super) fn ranks(&self) -> Option<&[Rank<f32>; 2]> {
        self.ranks.as_ref()
    }

    pub(super) fn tail(&self) -> &Lowered<f32> {
        &self.tail
    }

    pub(super) fn defers(&self) -> &[bool] {
        &self.deferred
    }

    pub(super) fn input_features(&self) -> usize {
        self.input_features
    }

    /// Lengths of the tail's ranges of parameters that are updated in one go, and whether the gradient of each is
    /// deferred.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (usize, bool)> {
        let deferred = self.tail.products().zip(&self.deferred).filter(|(_, deferred)| **deferred);
        let deferred = deferred.map(|((_, range, _), _)| (range.len(), true));
        let others = stored(&self.tail, &self.deferred, 0);
        deferred.chain(others.into_iter().map(|range| (range.len(), false)))
    }

    /// Work of a step of so many samples.
    pub(super) fn work(&self, samples: usize) -> u64 {
        samples as u64 * self.flops + self.param_len as u64
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some([rank, _]) = &self.ranks {
            let mut products = rank.chain().products().map(|(_, _, product)| product);
            let (first, second) = (products.next(), products.next());
            match (first, second) {
                (_, Some(second)) => {
                    let between = self.ranks.iter().flatten().flat_map(|rank| rank.chain().products().next());
                    let between: usize = between.map(|(_, _, product)| product.outputs()).sum();
                    let (inputs, outputs) = (self.input_features, second.outputs());
                    write!(f, "tensor parallel {inputs}-{between}-{outputs} on 2 ranks; tail ")?;
                }
                (Some(first), None) => {
                    write!(f, "row parallel {}-{} on 2 ranks; tail ", self.input_features, first.outputs())?;
                }
                (None, None) => {}
            }
        }
        let (shards, block) = (self.shards(self.batch_size), self.shards.largest_block());
        let largest = self.shards.largest_shard(self.batch_size).samples();
        let of = if shards == 1 { "1 shard of".into() } else { format!("{shards} shards of up to") };
        let layout =
            if block.lanes() == 1 { "one by one".into() } else { format!("tiles of {}", block.lanes()) };
        write!(f, "{of} {largest} in blocks of {}, {layout}", block.samples().min(largest))?;
        let deferred: Vec<&str> = self.deferred().collect();
        if !deferred.is_empty() {
            write!(f, "; deferred gradients: {}", deferred.join(", "))?;
        }
        if self.tail.norms() > 0 {
            write!(f, "; {} stages", self.tail.norms() + 1)?;
        }
        Ok(())
    }
}

/// The cuts of a chain for minibatches of up to `batch_size`, if a sample's work is so many FLOPs and each shard has
/// a gradient of `merged` parameters.
pub(crate) fn shards_of(chain: &Lowered<f32>, flops: u64, batch_size: usize, merged: usize) -> Shards {
    let (bytes, has_stages) = (sample_bytes(chain), chain.norms() > 0);
    Shards::new(batch_size, flops, chain.param_len(), merged, bytes, chain.is_flat(), has_stages)
}

/// Bytes of activations and gradients of one sample of a tile.
fn sample_bytes(chain: &Lowered<f32>) -> usize {
    let tile = Block::tiled(1);
    Workspace::bytes_for(chain, tile) / tile.lanes()
}

/// The first layers on two ranks, if that pays.
fn split(whole: &Lowered<f32>, batch_size: usize) -> Option<Split<f32>> {
    // What sees the whole minibatch is measured shard by shard, and nobody goes on before all are.
    let is_flat = whole.is_flat() && whole.norms() == 0 && cost::RANKED_SAMPLES.contains(&batch_size);
    if !is_flat || cost::is_large(sample_bytes(whole)) {
        return None;
    }
    let inputs = whole.input().features();
    let pays = |split: &Split<f32>| {
        let chains = split.ranks.each_ref().map(|rank| rank.chain());
        let [a, b] = chains.map(|chain| chain.param_len());
        let are_equal = 8 * a.abs_diff(b) <= a + b;
        are_equal
            && chains.into_iter().all(|chain| {
                let flops: u64 = chain.products().map(|(_, _, product)| product.flops()).sum();
                chain.takes_rows(inputs) && cost::is_worth(batch_size as u64 * flops, chain.param_len())
            })
    };
    // What is exchanged are the sums; of few samples they must be less than the images.
    let has_few_sums = |split: &Split<f32>| {
        batch_size > cost::ONE_SHARD_SAMPLES || 2 * split.rest.input().features() <= inputs
    };
    // Rows that lie apart are for tiles.
    let is_single = cost::is_single(batch_size, sample_bytes(whole), true);
    let column_row = Split::column_row(whole).filter(pays);
    column_row.or_else(|| Split::row(whole).filter(|split| !is_single && pays(split) && has_few_sums(split)))
}

/// The parameters behind the first `frozen` whose gradient is not deferred, in as few ranges as there are. The state of layers is none.
pub(super) fn stored(chain: &Lowered<f32>, deferred: &[bool], frozen: usize) -> Vec<Range<usize>> {
    let (mut stored, mut start) = (Vec::new(), frozen);
    let waiting = chain.products().zip(deferred).filter(|(_, deferred)| **deferred);
    let mut others: Vec<Range<usize>> =
        waiting.map(|((_, range, _), _)| range).chain(chain.states()).collect();
    others.sort_by_key(|range| range.start);
    for range in others.into_iter().filter(|range| range.start >= frozen) {
        stored.push(start..range.start);
        start = range.end;
    }
    stored.push(start..chain.param_len());
    stored.retain(|range| !range.is_empty());
    stored
}
