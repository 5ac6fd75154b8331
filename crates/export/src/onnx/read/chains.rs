//! A graph as chains of layers: where a value is read more than once branches begin, which must meet again in an Add or a Concat.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use byhand_models::spec::{MAX_DEPTH, MAX_LAYERS};

use super::file::{Model, Node, Reader};
use super::layers::{At, Layer};
use crate::ExportError;

/// A layer, or branches side by side.
pub(super) enum Piece {
    Layer(Layer),
    Branches { join: Join, chains: Vec<Vec<Piece>> },
}

/// How branches become one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    Sum,
    Concat,
}

impl Join {
    pub(super) fn is_sum(self) -> bool {
        self == Self::Sum
    }
}

/// A value that is read: by which node, as which of its inputs.
type Edge = (usize, usize);

/// What comes after a value.
enum Step<'a> {
    Node(Edge),
    /// Nodes that are one layer together: its word, and the value that it gives.
    Layer(&'static str, &'a str),
}

/// A chain of layers up to where it cannot go on alone.
struct Chain<'a> {
    pieces: Vec<Piece>,
    is_image: bool,
    end: End<'a>,
}

enum End<'a> {
    /// An Add or a Concat, which has other inputs too.
    Join(Edge),
    /// Nothing reads the value.
    Value(&'a str),
}

/// The nodes of a graph by what reads what.
pub(super) struct Chains<'r, 'a> {
    reader: &'r Reader<'r>,
    model: &'r Model<'a>,
    /// What reads a value that is computed.
    readers: HashMap<&'a str, Vec<Edge>>,
    /// Steps that may still be taken: as many as there are edges, unless the graph goes in circles.
    left: Cell<usize>,
}

impl<'r, 'a> Chains<'r, 'a> {
    pub(super) fn new(reader: &'r Reader<'r>, model: &'r Model<'a>) -> Self {
        let mut readers: HashMap<&str, Vec<Edge>> = HashMap::new();
        for (index, node) in model.nodes.iter().enumerate() {
            for (slot, &name) in node.inputs.iter().enumerate() {
                if !name.is_empty() && model.tensor(name).is_none() {
                    readers.entry(name).or_default().push((index, slot));
                }
            }
        }
        // Every step goes along an edge of its own.
        let edges = readers.values().map(Vec::len).sum();
        Self { reader, model, readers, left: Cell::new(edges) }
    }

    /// All layers from the graph's input to its output.
    pub(super) fn whole(&self, value: &'a str, is_image: bool) -> Result<Vec<Piece>, ExportError> {
        let chain = self.chain(Vec::new(), value, is_image, 0)?;
        match chain.end {
            End::Value(last) if self.model.outputs == [last] => {}
            End::Value(last) => {
                let found = format!("{:?} after {last:?}", self.model.outputs);
                return self.reader.wrong(0, "one output, what the last node gives", found);
            }
            End::Join((node, _)) => return self.refuse_join(node),
        }
        if chain.pieces.is_empty() {
            return self.reader.wrong(0, "at least one layer", "none");
        }
        Ok(chain.pieces)
    }

    /// Goes on from a value with layers that are made already.
    fn chain(
        &self,
        mut pieces: Vec<Piece>,
        mut value: &'a str,
        mut is_image: bool,
        depth: usize,
    ) -> Result<Chain<'a>, ExportError> {
        loop {
            if self.readers.contains_key(value) && self.model.outputs.contains(&value) {
                return self.reader.wrong(
                    0,
                    "one output, what the last node gives",
                    format!("{value:?}, which is read"),
                );
            }
            match self.steps(value)[..] {
                [] => return Ok(Chain { pieces, is_image, end: End::Value(value) }),
                [Step::Node(edge)] if self.join(edge.0).is_some() => {
                    return Ok(Chain { pieces, is_image, end: End::Join(edge) });
                }
                [ref step] => value = self.take(step, &mut pieces, &mut is_image)?,
                ref steps => {
                    let (piece, joined) = self.branches(steps, &mut is_image, depth + 1)?;
                    pieces.push(piece);
                    value = joined;
                }
            }
        }
    }

    /// Branches from a value that is read more than once, up to where they are one again. Returns the value that they become.
    fn branches(
        &self,
        steps: &[Step<'a>],
        is_image: &mut bool,
        depth: usize,
    ) -> Result<(Piece, &'a str), ExportError> {
        if depth > MAX_DEPTH || steps.len() > MAX_LAYERS {
            let found = if depth > MAX_DEPTH { "more".into() } else { format!("{} branches", steps.len()) };
            let expected =
                format!("at most {MAX_LAYERS} branches side by side, and {MAX_DEPTH} in each other");
            return self.reader.wrong(0, &expected, found);
        }
        let mut chains = Vec::new();
        for step in steps {
            let (mut pieces, mut is_image) = (Vec::new(), *is_image);
            chains.push(match *step {
                Step::Node(edge) if self.join(edge.0).is_some() => {
                    Chain { pieces, is_image, end: End::Join(edge) }
                }
                ref step => {
                    let value = self.take(step, &mut pieces, &mut is_image)?;
                    self.chain(pieces, value, is_image, depth)?
                }
            });
        }
        loop {
            let (node, join) = self.whole_join(&chains)?;
            let mut inputs: Vec<(usize, Chain<'a>)> = Vec::new();
            let mut others = Vec::new();
            for chain in chains {
                match chain.end {
                    End::Join((found, slot)) if found == node => inputs.push((slot, chain)),
                    _ => others.push(chain),
                }
            }
            inputs.sort_by_key(|(slot, _)| *slot);
            let first_is_image = inputs.first().is_some_and(|(_, chain)| chain.is_image);
            let mut joined: Vec<Vec<Piece>> = inputs.into_iter().map(|(_, chain)| chain.pieces).collect();
            if join.is_sum() && joined[0].is_empty() {
                // A sum has its main branch first; in the other order it is the same.
                joined.swap(0, 1);
            }
            self.step()?;
            let piece = Piece::Branches { join, chains: joined };
            let value = self.output(&self.model.nodes[node]);
            if others.is_empty() {
                *is_image = first_is_image;
                return Ok((piece, value));
            }
            others.push(self.chain(vec![piece], value, first_is_image, depth)?);
            chains = others;
        }
    }

    /// A join all of whose inputs are ends of these chains.
    fn whole_join(&self, chains: &[Chain<'a>]) -> Result<(usize, Join), ExportError> {
        let mut ends: HashMap<usize, usize> = HashMap::new();
        for chain in chains {
            match chain.end {
                End::Join((node, _)) => *ends.entry(node).or_default() += 1,
                End::Value(value) => {
                    let expected = "branches that meet again in an Add or a Concat";
                    return self.reader.wrong(0, expected, format!("one that ends with {value:?}"));
                }
            }
        }
        let is_whole = |&(&node, &count): &(&usize, &usize)| self.model.nodes[node].inputs.len() == count;
        match ends.iter().filter(is_whole).map(|(&node, _)| node).min() {
            Some(node) => Ok((node, self.join_of(node)?)),
            None => self.refuse_join(ends.into_keys().min().unwrap_or_default()),
        }
    }

    /// How a node joins branches, if it does.
    fn join(&self, node: usize) -> Option<Join> {
        let node = &self.model.nodes[node];
        let join = match (node.operator, node.inputs.len()) {
            ("Add" | "Sum", 2) => Join::Sum,
            ("Concat", 2..) => Join::Concat,
            _ => return None,
        };
        let is_computed =
            node.inputs.iter().all(|name| !name.is_empty() && self.model.tensor(name).is_none());
        is_computed.then_some(join)
    }

    fn join_of(&self, node: usize) -> Result<Join, ExportError> {
        let at = self.at(&self.model.nodes[node]);
        let join = self.join(node).expect("an end of a chain");
        let axis = at.node.attributes.get("axis").map_or(1, |axis| axis.int);
        if join == Join::Concat && axis != 1 {
            return at.refuse("branches one behind the other along axis 1", format!("axis {axis}"));
        }
        Ok(join)
    }

    fn refuse_join<T>(&self, node: usize) -> Result<T, ExportError> {
        let node = &self.model.nodes[node];
        let expected = "branches that begin at one value and meet again in one Add or Concat";
        self.at(node).refuse(expected, format!("inputs {:?}, which do not", node.inputs))
    }

    /// Makes layers of a step, and returns the value that they give.
    fn take(
        &self,
        step: &Step<'a>,
        pieces: &mut Vec<Piece>,
        is_image: &mut bool,
    ) -> Result<&'a str, ExportError> {
        self.step()?;
        let &(index, slot) = match step {
            Step::Node(edge) => edge,
            Step::Layer(word, value) => {
                pieces.push(Piece::Layer(Layer::plain(*word)));
                return Ok(*value);
            }
        };
        let node = &self.model.nodes[index];
        let at = self.at(node);
        if slot != 0 {
            return at.refuse(
                "weights behind its first input",
                format!("{:?}, which is computed", node.inputs[slot]),
            );
        }
        let mut value = self.output(node);
        let mut bias = None;
        if node.operator == "MatMul"
            && let [(add, _)] = self.readers.get(value).map_or(&[][..], Vec::as_slice)
            && self.model.nodes[*add].operator == "Add"
        {
            let add = &self.model.nodes[*add];
            let other = add.inputs.iter().find(|&&name| name != value);
            if let Some((name, tensor)) = other.and_then(|name| Some((name, self.model.tensor(name)?))) {
                self.step()?;
                let numbers = self.reader.numbers(name, tensor)?;
                bias = Some(("bias", vec![numbers.len()], numbers));
                value = self.output(add);
            }
        }
        pieces.extend(at.layers(is_image, bias)?.into_iter().map(Piece::Layer));
        Ok(value)
    }

    /// What reads a value, those nodes as one step that are one layer together.
    fn steps(&self, value: &'a str) -> Vec<Step<'a>> {
        let edges = self.readers.get(value).map_or(&[][..], Vec::as_slice);
        let mut steps = Vec::new();
        let mut hidden = HashSet::new();
        for &(index, _) in edges {
            if hidden.contains(&index) {
                continue;
            }
            if let Some((word, nodes, value)) = self.gelu(value, index).or_else(|| self.silu(value, index)) {
                hidden.extend(nodes);
                steps.push(Step::Layer(word, value));
            }
        }
        steps.extend(edges.iter().filter(|(index, _)| !hidden.contains(index)).map(|&edge| Step::Node(edge)));
        steps
    }

    /// `y = x sigmoid(x)`: its word, its nodes, and the value that it gives, if it begins at this node.
    fn silu(&self, x: &'a str, first: usize) -> Option<(&'static str, Vec<usize>, &'a str)> {
        let sigmoid = &self.model.nodes[first];
        let gate = self.output(sigmoid);
        let last = self.only_reader(gate, "Mul")?;
        let is_silu = sigmoid.operator == "Sigmoid" && self.reads(last, [x, gate]);
        is_silu.then(|| ("silu", vec![first, last], self.output(&self.model.nodes[last])))
    }

    /// GELU as [`write`](super::super::write) writes it before there was an operator for it.
    fn gelu(&self, x: &'a str, first: usize) -> Option<(&'static str, Vec<usize>, &'a str)> {
        if self.model.nodes[first].operator != "Mul" || !self.reads(first, [x, x]) {
            return None;
        }
        // Each node, and what it reads besides what the one before it gives: `x` or a number.
        let number = |value: f32| (None, Some(value));
        let scale = (8.0 / std::f32::consts::PI).sqrt();
        let (with_x, alone) = ((Some(x), None), (None, None));
        let rest = [
            ("Mul", with_x),
            ("Mul", number(0.044715)),
            ("Add", with_x),
            ("Mul", number(scale)),
            ("Sigmoid", alone),
            ("Mul", with_x),
        ];
        let mut nodes = vec![first];
        let mut value = self.output(&self.model.nodes[first]);
        for (operator, (other, constant)) in rest {
            let node = self.only_reader(value, operator)?;
            let fits = match (other, constant) {
                (Some(x), _) => self.reads(node, [x, value]),
                (None, Some(expected)) => {
                    self.number(node).is_some_and(|found| (found - expected).abs() < 1e-6)
                }
                (None, None) => true,
            };
            if !fits {
                return None;
            }
            nodes.push(node);
            value = self.output(&self.model.nodes[node]);
        }
        Some(("gelu", nodes, value))
    }

    /// The node that alone reads a value, if it has this operator.
    fn only_reader(&self, value: &str, operator: &str) -> Option<usize> {
        match self.readers.get(value)?[..] {
            [(node, _)] if self.model.nodes[node].operator == operator => Some(node),
            _ => None,
        }
    }

    /// Whether a node reads these two values, in whichever order.
    fn reads(&self, node: usize, [a, b]: [&str; 2]) -> bool {
        let inputs = &self.model.nodes[node].inputs[..];
        inputs == [a, b] || inputs == [b, a]
    }

    /// The one number that a node reads besides.
    fn number(&self, node: usize) -> Option<f32> {
        let mut inputs = self.model.nodes[node].inputs.iter();
        let tensor = inputs.find_map(|name| self.model.tensor(name))?;
        match self.reader.numbers("", tensor).ok()?[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    fn output(&self, node: &Node<'a>) -> &'a str {
        node.outputs.first().copied().unwrap_or_default()
    }

    fn at(&self, node: &'r Node<'a>) -> At<'r, 'a> {
        At { reader: self.reader, model: self.model, node }
    }

    fn step(&self) -> Result<(), ExportError> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => self.reader.wrong(0, "a graph without circles", "values that go round in one"),
        }
    }
}
