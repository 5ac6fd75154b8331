//! Layers in the words of the grammar, each with its weights.

use byhand_layers::Shape;

/// A layer, as the grammar says it.
pub(super) struct Made {
    pub(super) word: &'static str,
    arguments: Vec<String>,
    branches: Vec<Vec<Self>>,
    /// In the order of the layer's parameters.
    pub(super) weights: Vec<Weights>,
}

/// A tensor of a layer.
pub(super) struct Weights {
    pub(super) name: &'static str,
    pub(super) dims: Vec<usize>,
    pub(super) numbers: Vec<f32>,
}

/// What a value of the file looks like, a sample of it.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) shape: Shape,
    /// Whether it has channels, rows and columns, or is features in a row.
    pub(super) is_image: bool,
}

impl Form {
    /// How many axes it has, with that of the samples.
    pub(super) fn rank(self) -> i64 {
        if self.is_image { 4 } else { 2 }
    }
}

impl Made {
    /// A layer with these arguments; empty ones are left out.
    pub(super) fn new(word: &'static str, arguments: Vec<String>, weights: Vec<Weights>) -> Self {
        let arguments = arguments.into_iter().filter(|argument| !argument.is_empty()).collect();
        Self { word, arguments, branches: Vec::new(), weights }
    }

    pub(super) fn plain(word: &'static str) -> Self {
        Self::new(word, Vec::new(), Vec::new())
    }

    /// A layer of branches; one without layers is the identity.
    pub(super) fn join(word: &'static str, mut branches: Vec<Vec<Self>>) -> Self {
        branches
            .iter_mut()
            .filter(|branch| branch.is_empty())
            .for_each(|branch| branch.push(Self::plain("linear")));
        Self { branches, ..Self::plain(word) }
    }

    pub(super) fn text(&self) -> String {
        if !self.branches.is_empty() {
            let branches: Vec<String> = self.branches.iter().map(|branch| text(branch)).collect();
            return format!("{}({})", self.word, branches.join(" | "));
        }
        let has_bias = self.weights.iter().any(|weights| weights.name == "bias");
        let flag = (!self.weights.is_empty() && !has_bias).then_some("bias=false");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).chain(flag).collect();
        if arguments.is_empty() {
            self.word.to_owned()
        } else {
            format!("{}({})", self.word, arguments.join(","))
        }
    }

    /// Moves its weights and those of its branches behind the others, in the order of the network's parameters.
    pub(super) fn give(self, to: &mut Vec<Weights>) {
        to.extend(self.weights);
        self.branches.into_iter().flatten().for_each(|layer| layer.give(to));
    }
}

/// Layers one after the other.
pub(super) fn text(layers: &[Made]) -> String {
    layers.iter().map(Made::text).collect::<Vec<_>>().join(" ")
}
