//! The nodes of a file as a graph: what each reads, and through which value all of it comes.

use std::collections::HashMap;

use super::constants::Known;
use super::proto::{Model, Node, Reader};
use crate::ExportError;

/// What a node reads.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    /// Left out.
    Nothing,
    /// A value that does not depend on the input, by its name.
    Known(&'a str),
    /// A value that does: 0 is the input of the file, `i + 1` what node `i` gives.
    Computed(usize),
}

/// What is known of a node.
struct Place<'a> {
    operands: Vec<Operand<'a>>,
    /// The last value before it through which everything goes that it is computed of.
    before: usize,
    /// How many such values there are, one before the other.
    depth: usize,
}

/// The graph of a file with one input and one output.
pub(super) struct Graph<'m, 'a> {
    pub(super) reader: &'m Reader<'m>,
    pub(super) opset: i64,
    nodes: &'m [Node<'a>],
    known: HashMap<&'a str, Known<'m, 'a>>,
    /// Node by node; `None` for what only arranges weights, or reads what nothing gives.
    places: Vec<Option<Place<'a>>>,
    /// The value that the file gives.
    pub(super) output: usize,
}

impl<'m, 'a> Graph<'m, 'a> {
    pub(super) fn new(reader: &'m Reader<'m>, model: &'m Model<'a>) -> Result<Self, ExportError> {
        let stored = model.tensors.iter().map(|(&name, tensor)| (name, Known::stored(tensor)));
        let mut graph = Self {
            reader,
            opset: model.opset,
            nodes: &model.nodes,
            known: stored.collect(),
            places: Vec::new(),
            output: 0,
        };
        let mut values: HashMap<&str, usize> =
            model.inputs.first().map(|input| (input.name, 0)).into_iter().collect();
        // The node to blame for a name that stands for nothing.
        let mut broken: HashMap<&str, usize> = HashMap::new();
        for (index, node) in model.nodes.iter().enumerate() {
            let mut operands = Vec::new();
            let mut blame = None;
            for &name in &node.inputs {
                operands.push(if name.is_empty() {
                    Operand::Nothing
                } else if let Some(&value) = values.get(name) {
                    Operand::Computed(value)
                } else if graph.known.contains_key(name) {
                    Operand::Known(name)
                } else {
                    blame = blame.or(Some(broken.get(name).copied().unwrap_or(index)));
                    Operand::Nothing
                });
            }
            let first = node.outputs.first().copied().unwrap_or_default();
            let computed: Vec<usize> = operands.iter().filter_map(Operand::computed).collect();
            let place = match (blame, &computed[..]) {
                (None, []) => {
                    let inputs: Vec<&Known<'_, '_>> =
                        node.inputs.iter().filter_map(|name| graph.known.get(name)).collect();
                    match Known::fold(node, &inputs, reader) {
                        Some(value) => _ = graph.known.insert(first, value),
                        None => blame = Some(index),
                    }
                    None
                }
                (None, [value, others @ ..]) => {
                    let before = others.iter().fold(*value, |before, &other| graph.common(before, other));
                    Some(Place { operands, before, depth: graph.depth(before) + 1 })
                }
                (Some(_), _) => None,
            };
            if place.is_some() {
                values.insert(first, index + 1);
            }
            let given = usize::from(place.is_some());
            let blame = blame.unwrap_or(index);
            if place.is_some() || !graph.known.contains_key(first) {
                broken.extend(node.outputs.iter().skip(given).map(|&name| (name, blame)));
            }
            graph.places.push(place);
        }
        let expected = "one output, what its nodes make of the input";
        let [output] = model.outputs[..] else {
            return reader.wrong(0, expected, format!("{} outputs", model.outputs.len()));
        };
        match values.get(output) {
            Some(&value) => graph.output = value,
            None => {
                return match broken.get(output) {
                    Some(&node) => graph.refuse(
                        node + 1,
                        "inputs that the file's input or weights give, and one output that is read",
                        format!("{:?}", graph.nodes[node].inputs),
                    ),
                    None => reader.wrong(0, expected, format!("{output:?}, which no node makes of it")),
                };
            }
        }
        Ok(graph)
    }

    /// The node that gives a value.
    pub(super) fn node(&self, value: usize) -> &'m Node<'a> {
        &self.nodes[value - 1]
    }

    pub(super) fn operands(&self, value: usize) -> &[Operand<'a>] {
        self.places[value - 1].as_ref().map_or(&[], |place| &place.operands)
    }

    /// The values that a node reads and that depend on the input.
    pub(super) fn computed(&self, value: usize) -> Vec<usize> {
        self.operands(value).iter().filter_map(Operand::computed).collect()
    }

    /// The last value before this one through which everything goes that it is computed of: of a chain, the one before.
    pub(super) fn before(&self, value: usize) -> usize {
        self.places[value - 1].as_ref().map_or(0, |place| place.before)
    }

    pub(super) fn known(&self, name: &str) -> Option<&Known<'m, 'a>> {
        self.known.get(name)
    }

    /// The known value that a node reads in this place.
    pub(super) fn weight(&self, value: usize, input: usize) -> Option<(&'a str, &Known<'m, 'a>)> {
        match self.operands(value).get(input) {
            Some(&Operand::Known(name)) => Some((name, self.known.get(name)?)),
            _ => None,
        }
    }

    pub(super) fn refuse<T>(
        &self,
        value: usize,
        expected: &str,
        found: impl Into<String>,
    ) -> Result<T, ExportError> {
        let node = self.node(value);
        Err(ExportError::Node {
            file: self.reader.file.to_owned(),
            node: format!("{} ({})", node.name, node.operator.escape_debug()),
            expected: expected.to_owned(),
            found: found.into(),
        })
    }

    fn depth(&self, value: usize) -> usize {
        let place = value.checked_sub(1).and_then(|node| self.places[node].as_ref());
        place.map_or(0, |place| place.depth)
    }

    /// The last value through which all goes that either is computed of, or the one of them that is before the other.
    ///
    /// Reference: Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm", 2001.
    fn common(&self, mut a: usize, mut b: usize) -> usize {
        while a != b {
            if self.depth(a) < self.depth(b) {
                (a, b) = (b, a);
            }
            // Equally deep and not equal: neither is the input.
            a = self.before(a);
        }
        a
    }
}

impl Operand<'_> {
    fn computed(&self) -> Option<usize> {
        match *self {
            Self::Computed(value) => Some(value),
            _ => None,
        }
    }
}
