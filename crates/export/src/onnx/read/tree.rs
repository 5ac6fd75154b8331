//! From the graph of a file to layers in a row, some of them of branches.

use byhand_models::spec::{MAX_DEPTH, MAX_LAYERS};
use std::collections::HashSet;

use super::function::{self, Function};
use super::graph::Graph;
use super::made::{Form, Made};
use super::nodes::Row;
use crate::ExportError;

/// The nodes of a layer are a few at most.
const MOST_STEPS: usize = 4 * MAX_LAYERS;

/// Walks a graph, each node once.
pub(super) struct Tree<'g, 'm, 'a> {
    graph: &'g Graph<'m, 'a>,
    taken: HashSet<usize>,
}

/// What leads from a value to a later one.
enum Step {
    /// A node, to what it gives.
    Node(usize),
    /// Several nodes that are an activation.
    Function(usize, &'static Function),
    /// Branches, and the node that joins what they give.
    Join(usize),
}

impl<'g, 'm, 'a> Tree<'g, 'm, 'a> {
    pub(super) fn new(graph: &'g Graph<'m, 'a>) -> Self {
        Self { graph, taken: HashSet::new() }
    }

    /// All layers, and whether a softmax behind them is left out.
    pub(super) fn layers(mut self, input: Form) -> Result<(Vec<Made>, bool), ExportError> {
        let graph = self.graph;
        let mut last = graph.output;
        while last != 0 && graph.node(last).operator == "Identity" {
            last = graph.before(last);
        }
        let softmax = Some(last).filter(|&last| last != 0 && graph.node(last).operator == "Softmax");
        let row = self.row(0, softmax.map_or(last, |softmax| graph.before(softmax)), input, 0, 0)?;
        if let Some(softmax) = softmax {
            row.over_channels(softmax)?;
        }
        let is_empty = row.layers.is_empty();
        let layers = if is_empty { vec![Made::plain("linear")] } else { row.layers };
        Ok((layers, softmax.is_some()))
    }

    /// The layers that make one value of another one, which it all comes from.
    fn row(
        &mut self,
        from: usize,
        to: usize,
        form: Form,
        numbers: usize,
        depth: usize,
    ) -> Result<Row<'g, 'm, 'a>, ExportError> {
        let graph = self.graph;
        let mut steps = Vec::new();
        let mut at = to;
        while at != from {
            let joins = matches!(graph.node(at).operator, "Add" | "Sum" | "Concat");
            let (step, before) = if joins && graph.computed(at).len() > 1 {
                (Step::Join(at), graph.before(at))
            } else if let Some((function, before)) = function::find(graph, at, from) {
                (Step::Function(at, function), before)
            } else {
                (Step::Node(at), graph.before(at))
            };
            steps.push(step);
            at = before;
            if steps.len() > MOST_STEPS {
                let found = "more";
                return graph.refuse(to, &format!("at most {MOST_STEPS} nodes in a row"), found);
            }
        }
        let mut row = Row::new(graph, form, numbers);
        for step in steps.into_iter().rev() {
            match step {
                Step::Function(value, function) => row.push(value, function.made())?,
                Step::Node(value) => {
                    self.take(value)?;
                    // It reads one value; a product of two is no layer.
                    if graph.computed(value).len() > 1 {
                        let expected = "a node that reads one value, or an Add or Concat of branches";
                        return graph.refuse(value, expected, format!("{:?}", graph.node(value).inputs));
                    }
                    if graph.weight(value, 0).is_some()
                        && !matches!(graph.node(value).operator, "Add" | "Mul" | "Sum")
                    {
                        return graph.refuse(
                            value,
                            "weights behind what they weigh",
                            "weights as its first input",
                        );
                    }
                    row.add(value)?;
                }
                Step::Join(value) => {
                    self.take(value)?;
                    self.join(value, &mut row, depth + 1)?;
                }
            }
        }
        Ok(row)
    }

    /// Adds the branches that a node joins.
    fn join(&mut self, value: usize, row: &mut Row<'g, 'm, 'a>, depth: usize) -> Result<(), ExportError> {
        let (graph, form) = (self.graph, row.form);
        if depth > MAX_DEPTH {
            return graph.refuse(value, &format!("branches inside of at most {MAX_DEPTH} others"), "more");
        }
        let ends = graph.computed(value);
        let is_sum = graph.node(value).operator != "Concat";
        if ends.len() != graph.operands(value).len() || (is_sum && ends.len() != 2) {
            let expected = if is_sum { "two values that are computed" } else { "values that are computed" };
            return graph.refuse(value, expected, format!("{:?}", graph.node(value).inputs));
        }
        let (mut branches, mut is_image) = (Vec::new(), form.is_image);
        for end in ends {
            let branch = self.row(graph.before(value), end, form, row.numbers, depth)?;
            row.numbers = branch.numbers;
            is_image = branch.form.is_image;
            branches.push(branch.layers);
        }
        let axis = graph.node(value).attributes.get("axis").map_or(1, |axis| axis.int);
        if !is_sum && axis != 1 && axis + (Form { is_image, ..form }).rank() != 1 {
            return graph.refuse(value, "axis 1, the channels", axis.to_string());
        }
        // The identity is the shortcut, whichever side of the sum it stands on.
        if is_sum && let Some(identity) = branches.iter().position(Vec::is_empty) {
            branches.remove(identity);
        }
        row.push(value, Made::join(if is_sum { "residual" } else { "concat" }, branches))?;
        row.form.is_image = is_image;
        Ok(())
    }

    fn take(&mut self, value: usize) -> Result<(), ExportError> {
        if self.taken.insert(value) {
            return Ok(());
        }
        let expected = "branches of which each value is read by one node, until an Add or Concat joins them";
        self.graph.refuse(value, expected, "a value that is read in several of them")
    }
}
