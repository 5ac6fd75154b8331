//! The named networks, as data.
#![doc = ""]
#![doc = include_str!("registry.md")]

use byhand_datasets::Preprocessing;
use byhand_layers::init::Init;
use byhand_layers::{Network, Scalar, Shape};
use thiserror::Error;

use crate::spec::{Spec, SpecError, hint, nearest};

/// A network with a name: what it is made of, and what it is best begun with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NamedModel {
    /// The name it is asked for by.
    pub name: &'static str,
    /// One line for a list.
    pub about: &'static str,
    /// One input sample.
    pub input: Shape,
    /// The layer spec, for the number of classes it was made for.
    pub layers: &'static str,
    /// How its weights are best drawn.
    pub init: Init,
    /// What its images are best given as.
    pub preprocessing: Preprocessing,
    /// The command that trains it when no model is named.
    pub default_of: Option<&'static str>,
}

/// All named networks.
pub const MODELS: &[NamedModel] = &[
    NamedModel {
        name: "cnn",
        about: "two convolutions of 5x5 and two dense layers, the CNN to begin with",
        input: IMAGE,
        layers: "conv(16,5) relu pool(2) conv(32,5) relu pool(2) dense(64) relu dense(10)",
        init: Init::HeNormal,
        preprocessing: Preprocessing::unit(),
        default_of: Some("train-cnn"),
    },
    NamedModel {
        name: "cnn-3x3",
        about: "the first CNN of many a notebook: one convolution, one pool, one dense layer",
        input: IMAGE,
        layers: "conv(8,3) pool(2) dense(10)",
        init: Init::ScaledNormal,
        preprocessing: Preprocessing::centered(),
        default_of: None,
    },
    NamedModel {
        name: "lenet",
        about: "like LeNet: two convolutions of 5x5 and two dense layers, with ReLU and max-pooling",
        input: IMAGE,
        layers: "conv(8,5) relu pool(2) conv(16,5) relu pool(2) dense(256) relu dense(10)",
        init: Init::HeNormal,
        preprocessing: Preprocessing::unit(),
        default_of: None,
    },
    NamedModel {
        name: "cnn-14",
        about: "a CNN for the digits 0 to 4 at half size",
        input: HALF_IMAGE,
        layers: "conv(16,3) pool(2) dense(16) relu dense(5)",
        init: Init::LeCunNormal,
        preprocessing: Preprocessing::unit().halved(),
        default_of: None,
    },
    NamedModel {
        name: "dnn-14",
        about: "two dense layers for the digits 0 to 4 at half size",
        input: HALF_IMAGE,
        layers: "dense(16) relu dense(5)",
        init: Init::LeCunNormal,
        preprocessing: Preprocessing::unit().halved(),
        default_of: None,
    },
    NamedModel {
        name: "dnn",
        about: "three dense layers",
        input: IMAGE,
        layers: "dense(256) relu dense(128) relu dense(10)",
        init: Init::HeNormal,
        preprocessing: Preprocessing::unit(),
        default_of: Some("train-dnn"),
    },
    NamedModel {
        name: "mlp",
        about: "the three-layer perceptron 784-50-50-10",
        input: IMAGE,
        layers: "dense(50) relu dense(50) relu dense(10)",
        init: Init::HeNormal,
        preprocessing: Preprocessing::unit(),
        default_of: Some("train-mlp"),
    },
];

/// The network of this name.
///
/// # Errors
/// Lists the names there are, and the one that looks most like it.
///
/// ```
/// use byhand_models::find;
/// assert_eq!(find("lenet")?.network::<f32>().param_len(), 71_786);
/// assert_eq!(
///     find("lennet").unwrap_err().to_string(),
///     "no model is called \"lennet\"; did you mean \"lenet\"? (cnn, cnn-3x3, lenet, cnn-14, dnn-14, dnn, mlp)"
/// );
/// # Ok::<(), byhand_models::UnknownModel>(())
/// ```
pub fn find(name: &str) -> Result<&'static NamedModel, UnknownModel> {
    MODELS.iter().find(|model| model.name == name).ok_or_else(|| UnknownModel {
        name: name.chars().take(40).flat_map(char::escape_debug).collect(),
        nearest: nearest(name, MODELS.iter().map(|model| model.name)),
    })
}

/// The network that a command trains when none is named.
pub fn default_of(command: &str) -> Option<&'static NamedModel> {
    MODELS.iter().find(|model| model.default_of == Some(command))
}

/// A name that no network has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no model is called \"{name}\"{} ({})", hint(*nearest), names())]
pub struct UnknownModel {
    /// The name, cut to 40 characters.
    pub name: String,
    /// The name it looks most like.
    pub nearest: Option<&'static str>,
}

impl NamedModel {
    /// Its layers, read.
    pub fn spec(&self) -> Spec {
        self.layers.parse().expect("the spec of a named model is well formed: a test builds each")
    }

    /// The number of classes it was made for; [`Spec::with_classes`] makes it for another.
    pub fn classes(&self) -> usize {
        self.spec().classes().expect("a named model ends in a dense layer: a test builds each")
    }

    /// Its layers for this number of classes.
    ///
    /// # Errors
    /// When the number is 0 or too large.
    pub fn spec_for(&self, classes: usize) -> Result<Spec, SpecError> {
        self.spec().with_classes(classes)
    }

    /// The network, for the number of classes it was made for.
    pub fn network<T: Scalar>(&self) -> Network<T> {
        self.spec().build(self.input).expect("a named model can be built: a test builds each")
    }
}

const IMAGE: Shape = Shape::new(1, 28, 28);
const HALF_IMAGE: Shape = Shape::new(1, 14, 14);

fn names() -> String {
    MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}
