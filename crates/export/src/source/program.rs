//! What the source code of either language does: arrays of constants, and calls of kernels.

use byhand_layers::Shape;
use byhand_models::{Crop, Model, Normalize, Preprocessing};
use std::collections::BTreeSet;

use super::kernels::{Channel, Logit, Pair};
use super::plan::Place;
use crate::ExportError;
use crate::graph::{Node, Op, Window};

/// A model as calls of kernels.
pub(super) struct Program {
    pub(super) arrays: Vec<Array>,
    pub(super) calls: Vec<Call>,
    /// Numbers of input, output and memory.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) memory: usize,
    /// Values are bytes, not floats.
    pub(super) is_int8: bool,
    pub(super) pictures: Option<Pictures>,
    pub(super) classes: Vec<String>,
}

/// Constants.
pub(super) struct Array {
    pub(super) name: String,
    pub(super) numbers: Numbers,
}

/// The numbers of an array.
pub(super) enum Numbers {
    Float(Vec<f32>),
    /// Mean, scale and shift of each channel.
    Moments(Vec<[f32; 3]>),
    Int8(Vec<i8>),
    Channels(Vec<Channel>),
    Logits(Vec<Logit>),
    Pair(Pair),
    Sizes(Sizes),
}

/// The sizes of a convolution or a pooling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) from: [usize; 3],
    pub(super) to: [usize; 3],
    pub(super) window: Window,
    pub(super) groups: usize,
}

impl Sizes {
    /// The rows and columns of the image that a mean counts, and of the padding before it.
    pub(super) fn counted(&self) -> ([usize; 2], usize) {
        let ([_, h, w], Window { pad: [top, left, bottom, right], counts_pad, .. }) =
            (self.from, self.window);
        if counts_pad { ([h + bottom, w + right], top.max(left)) } else { ([h, w], 0) }
    }
}

/// A call of a kernel: its sizes and numbers first, then what it reads, constants, what it writes, working memory.
pub(super) struct Call {
    pub(super) kernel: &'static str,
    pub(super) layer: String,
    pub(super) first: Vec<Argument>,
    pub(super) from: (Place, usize),
    pub(super) constants: Vec<Argument>,
    pub(super) to: (Place, usize),
    pub(super) scratch: (usize, usize),
    /// In Rust it works in place.
    pub(super) is_elementwise: bool,
}

/// What a kernel is given besides.
#[derive(Clone)]
pub(super) enum Argument {
    /// An array of this name.
    Array(String),
    /// No array.
    None,
    /// A length, which slices of Rust know.
    Length(usize),
    Float(f32),
}

/// How pictures become inputs.
pub(super) struct Pictures {
    pub(super) channels: usize,
    pub(super) size: (usize, usize),
    pub(super) halve: bool,
    pub(super) crop: Crop,
    pub(super) normalize: Normalize,
}

impl Program {
    /// Copies a value.
    pub(super) fn copy(&mut self, layer: &str, from: (Place, usize), to: (Place, usize)) {
        self.calls.push(Call {
            kernel: "copy",
            layer: layer.into(),
            first: vec![Argument::Length(to.1)],
            from,
            constants: Vec::new(),
            to,
            scratch: (0, 0),
            is_elementwise: true,
        });
    }

    /// Adds a value to another, by a kernel that may take constants.
    pub(super) fn add(
        &mut self,
        layer: &str,
        from: (Place, usize),
        to: (Place, usize),
        kernel: &'static str,
        constants: Vec<Argument>,
    ) {
        let first = [vec![Argument::Length(to.1)], constants].concat();
        let (layer, constants, scratch) = (layer.into(), Vec::new(), (0, 0));
        self.calls.push(Call { kernel, layer, first, from, constants, to, scratch, is_elementwise: false });
    }

    pub(super) fn sizes(&mut self, name: String, node: &Node<'_>, window: Window) -> Argument {
        let (from, to) = (node.from, node.to);
        let groups = if let Op::Conv { groups, .. } = node.op { groups } else { 1 };
        let sizes = Sizes { from: [from.c, from.h, from.w], to: [to.c, to.h, to.w], window, groups };
        self.array(name, Numbers::Sizes(sizes))
    }

    pub(super) fn array(&mut self, name: String, numbers: Numbers) -> Argument {
        self.arrays.push(Array { name: name.clone(), numbers });
        Argument::Array(name)
    }

    /// Bytes of all constants.
    pub(super) fn weights(&self) -> usize {
        self.arrays.iter().map(|array| array.numbers.bytes()).sum()
    }

    /// Bytes of a value's number.
    pub(super) fn number(&self) -> usize {
        if self.is_int8 { 1 } else { size_of::<f32>() }
    }

    /// The kernels that are called, with those that they call: the sections of a file in which a line `//: name needs...` begins each.
    pub(super) fn kernels(&self, file: &'static str) -> Vec<&'static str> {
        let sections: Vec<(&str, &str)> = file
            .split("//: ")
            .skip(1)
            .map(|section| section.split_once('\n').expect("a heading is a line"))
            .collect();
        let mut used = BTreeSet::new();
        for call in &self.calls {
            let heading =
                |(heading, _): &&(&'static str, &str)| heading.split(' ').next() == Some(call.kernel);
            let (heading, _) = sections.iter().find(heading).expect("a kernel of the file");
            used.extend(heading.split(' '));
        }
        let is_used = |heading: &str| used.contains(heading.split(' ').next().unwrap_or_default());
        sections.iter().filter(|(heading, _)| is_used(heading)).map(|(_, text)| text.trim()).collect()
    }
}

impl Numbers {
    fn bytes(&self) -> usize {
        match self {
            Self::Float(numbers) => 4 * numbers.len(),
            Self::Moments(moments) => 12 * moments.len(),
            Self::Int8(numbers) => numbers.len(),
            Self::Channels(channels) => size_of::<Channel>() * channels.len(),
            Self::Logits(logits) => size_of::<Logit>() * logits.len(),
            Self::Pair(_) => size_of::<Pair>(),
            Self::Sizes(_) => 0,
        }
    }
}

/// The place of a layer in names: `3_main_0` of `3.main.0`.
pub(super) fn identifier(layer: &str) -> String {
    layer.replace('.', "_")
}

/// A window as large as the image.
pub(super) fn whole(node: &Node<'_>) -> Window {
    Window::tiling([node.from.h, node.from.w])
}

impl Pictures {
    /// Of this size, for this model.
    pub(super) fn new(model: &Model, size: (usize, usize)) -> Result<Self, ExportError> {
        let Preprocessing { normalize, halve, .. } = model.preprocessing;
        let (channels, crop) = (model.channels(), model.preprocessing.crop_of(size));
        if channels * crop.features() != model.input.features() {
            let found = Shape::new(channels, crop.h, crop.w);
            return Err(ExportError::Pictures { expected: model.input, found });
        }
        Ok(Self { channels, size, halve, crop, normalize })
    }
}
