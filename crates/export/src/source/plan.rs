//! Where each value lies when a model runs in one piece of memory, lent by the caller.

use crate::graph::{Graph, Node, Op};

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the input, which is only read.
    Input,
    /// In the memory, from this number on.
    Memory(usize),
    /// In the output, from this number on.
    Output(usize),
}

impl Place {
    /// The place so many numbers further on.
    pub(crate) fn after(self, numbers: usize) -> Self {
        match self {
            Self::Input => Self::Input,
            Self::Memory(start) => Self::Memory(start + numbers),
            Self::Output(start) => Self::Output(start + numbers),
        }
    }
}

/// A node that computes something, where from and where to.
#[derive(Debug)]
pub(crate) struct Step<'g, 'a> {
    pub(crate) node: &'g Node<'a>,
    /// One for each value that it reads.
    pub(crate) from: Vec<Place>,
    /// The place of the first of them where the node works in place.
    pub(crate) to: Place,
    /// Where its working memory begins, and its length.
    pub(crate) scratch: (usize, usize),
}

/// All steps of a model.
#[derive(Debug)]
pub(crate) struct Plan<'g, 'a> {
    pub(crate) steps: Vec<Step<'g, 'a>>,
    /// Numbers of memory.
    pub(crate) memory: usize,
    /// Where the output ends.
    pub(crate) output: Place,
}

/// A run of memory that is in use up to a node.
struct Run {
    start: usize,
    len: usize,
    last: usize,
}

impl<'g, 'a> Plan<'g, 'a> {
    /// Lays out the values of a graph; `scratch_len` is how much working memory a node needs. Where the output is `kept`, it ends in
    /// memory.
    pub(crate) fn new(graph: &'g Graph<'a>, kept: bool, scratch_len: impl Fn(&Node<'a>) -> usize) -> Self {
        // Values that lie in one place: what a node makes of a value in place has that value's number here.
        let mut roots = vec![0];
        // Whether nothing but the next node reads what lies there.
        let mut free = vec![false];
        for node in &graph.nodes {
            let (from, to) = (node.inputs[0], roots.len());
            let others = node.inputs[1..].iter().any(|&value| roots[value] == roots[from]);
            let in_place = is_elementwise(&node.op) && free[from] && !others;
            let shared = matches!(node.op, Op::Flatten) || in_place;
            roots.push(if shared { roots[from] } else { to });
            free.push(graph.readers(to) == 1 && (!shared || free[from]));
        }
        let last_use = |root: usize| {
            let readers = graph.nodes.iter().enumerate().rev();
            let mut reading =
                readers.filter(|(_, node)| node.inputs.iter().any(|&value| roots[value] == root));
            let last = reading.next().map_or(0, |(index, _)| index);
            if root == roots[graph.output] { graph.nodes.len() } else { last }
        };

        let mut plan = Self { steps: Vec::new(), memory: 0, output: Place::Input };
        let mut places = vec![Place::Input; roots.len()];
        let mut runs: Vec<Run> = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            runs.retain(|run| run.last >= index);
            let (value, root) = (index + 1, roots[index + 1]);
            places[value] = if root != value {
                places[root]
            } else if root == roots[graph.output] && !kept {
                Place::Output(0)
            } else {
                Place::Memory(plan.take(&mut runs, node.to.features(), last_use(root)))
            };
            if matches!(node.op, Op::Flatten) {
                continue;
            }
            let len = scratch_len(node);
            let scratch = if len == 0 { 0 } else { plan.take(&mut runs, len, index) };
            let from = node.inputs.iter().map(|&value| places[value]).collect();
            plan.steps.push(Step { node, from, to: places[value], scratch: (scratch, len) });
        }
        plan.output = places[graph.output];
        plan
    }

    /// The first free run of so many numbers.
    fn take(&mut self, runs: &mut Vec<Run>, len: usize, last: usize) -> usize {
        let mut start = 0;
        for run in runs.iter() {
            if start + len <= run.start {
                break;
            }
            start = start.max(run.start + run.len);
        }
        runs.push(Run { start, len, last });
        runs.sort_by_key(|run| run.start);
        self.memory = self.memory.max(start + len);
        start
    }
}

/// Whether each number of the output is a function of the numbers at its place.
pub(crate) fn is_elementwise(op: &Op<'_>) -> bool {
    match op {
        Op::BatchNorm { .. }
        | Op::Relu
        | Op::LeakyRelu { .. }
        | Op::Gelu { .. }
        | Op::Silu
        | Op::Tanh
        | Op::Sigmoid
        | Op::Add => true,
        Op::Conv { .. }
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalMaxPool
        | Op::GlobalAvgPool
        | Op::Dense { .. }
        | Op::LogSoftmax
        | Op::Flatten
        | Op::Concat => false,
    }
}
