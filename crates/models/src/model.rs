//! `Model`: a trained network and all that is needed to use it, in memory.

use std::collections::BTreeMap;

use base16ct::lower::encode_string;
use byhand_datasets::{Crop, Dataset, ImageDim, Normalize, Preprocessing};
use byhand_layers::loss::{Labels, Loss, Target, TargetRows};
use byhand_layers::metrics::{Confusion, Evaluation};
use byhand_layers::{Network, Shape};
use ndarray::{Array2, ArrayView, s};
use sha2::{Digest, Sha256};

use crate::error::ModelError;
use crate::spec::Spec;

/// Images that [`Model::evaluate`] turns into numbers at a time.
const AT_ONCE: usize = 1024;

/// A trained network: all that is needed to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its layers.
    pub spec: Spec,
    /// One input sample, after preprocessing.
    pub input: Shape,
    /// What the outputs stand for, one name an output.
    pub class_names: Vec<String>,
    /// What was done to the images it was trained on.
    pub preprocessing: Preprocessing,
    /// Whatever else is worth keeping: the data, the seed, the command.
    pub notes: BTreeMap<String, String>,
    /// All parameters, flat, in the network's order.
    pub theta: Vec<f32>,
}

impl Model {
    /// Builds its network.
    ///
    /// # Errors
    /// When the layers or the preprocessing do not fit, or `theta` or the class names are not as many as the network needs.
    pub fn network(&self) -> Result<Network<f32>, ModelError> {
        let network = self.spec.build::<f32>(self.input).map_err(ModelError::Spec)?;
        check_preprocessing(&self.preprocessing, self.input).map_err(ModelError::Preprocessing)?;
        let counts = [
            ("parameters", self.theta.len(), network.param_len()),
            ("class names", self.class_names.len(), network.classes()),
        ];
        for (what, found, expected) in counts {
            if found != expected {
                return Err(ModelError::Count { what, found, expected });
            }
        }
        Ok(network)
    }

    /// Channels of the images that it is shown: those of its input, or three where that is flat and as long as three planes.
    pub fn channels(&self) -> usize {
        let features = self.input.features();
        let planes = |plane: usize| features.is_multiple_of(3) && features / 3 == plane;
        let is_colour = match self.preprocessing.crop {
            _ if !self.input.is_flat() => return self.input.c,
            Some(crop) => planes(crop.features()),
            None => planes((features / 3).isqrt().pow(2)),
        };
        if is_colour { 3 } else { 1 }
    }

    /// The probabilities `[n, classes]` for images `[n, h, w]` or `[n, channels, h, w]` as bytes, which are preprocessed as those were that it
    /// was trained on. An image's probabilities have the same bits alone and among any others.
    ///
    /// # Errors
    /// As [`network`](Self::network); when images of this size make no inputs of the network.
    pub fn predict_proba<D: ImageDim>(
        &self,
        images: ArrayView<'_, u8, D>,
    ) -> Result<Array2<f32>, ModelError> {
        let (network, x) = (self.network()?, self.inputs(images)?);
        Ok(network.predict_proba(&self.theta, x.view()))
    }

    /// How the output of class `class` (before the softmax) moves with each number of the network's input, for images `[n, h, w]` or
    /// `[n, channels, h, w]` as bytes: a saliency map each, `[n, features]`.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    ///
    /// # Panics
    /// If there is no such class.
    #[track_caller]
    pub fn gradient_of_input<D: ImageDim>(
        &self,
        images: ArrayView<'_, u8, D>,
        class: usize,
    ) -> Result<Array2<f32>, ModelError> {
        let (network, x) = (self.network()?, self.inputs(images)?);
        assert!(class < network.classes(), "class {class} of {}", network.classes());
        let mut dy = Array2::zeros((x.nrows(), network.classes()));
        dy.column_mut(class).fill(1.0);
        Ok(network.gradient_of_input(&self.theta, x.view(), dy.view()))
    }

    /// Mean loss, accuracy and confusion on a data set, whose classes are matched to the model's by their names and whose other samples
    /// are left out; NaN where no sample is left that counts. On one thread; `byhand_trainer::evaluate` takes all of them.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba); when a class of the model is none of the data set, or its rows of targets are not as long
    /// as the network's outputs.
    pub fn evaluate(&self, dataset: &Dataset, loss: &dyn Loss<f32>) -> Result<Evaluation, ModelError> {
        let network = self.network()?;
        let (outputs, targets) = (network.classes(), dataset.targets());
        let found = targets.map_or(outputs, |targets| targets.ncols());
        if found != outputs {
            return Err(ModelError::Count { what: "numbers in a row of targets", found, expected: outputs });
        }
        let dataset = match targets {
            None => dataset.match_classes(&self.class_names).map_err(ModelError::Data)?,
            Some(_) => dataset.clone(),
        };
        let target: Target<'_, f32> = match dataset.targets() {
            None => Labels(dataset.labels()).into(),
            Some(ref targets) => TargetRows(targets.to_slice().expect("rows are contiguous")).into(),
        };
        let mut all = Evaluation {
            samples: dataset.len(),
            loss: 0.0,
            confusion: Confusion::new(if target.is_labels() { outputs } else { 0 }),
        };
        let mut weight = 0.0;
        // Some at a time, so that all bytes are never numbers at once.
        for first in (0..dataset.len()).step_by(AT_ONCE) {
            let samples = first..(first + AT_ONCE).min(dataset.len());
            let x = self.inputs(dataset.images().slice_move(s![samples.clone(), .., .., ..]))?;
            let target = target.of_samples(samples, outputs);
            let part = network.evaluate(&self.theta, x.view(), target, loss);
            let counted = loss.weighting().total(target, part.samples);
            if counted > 0.0 {
                all.loss += part.loss * counted;
                weight += counted;
            }
            all.confusion.add(&part.confusion);
        }
        all.loss /= weight;
        Ok(all)
    }

    /// Images `[n, h, w]` or `[n, channels, h, w]` as inputs of the network, `[n, features]`: halved, cropped and normalised (`p * scale +
    /// shift` of a pixel `p`), channel by channel and row by row.
    ///
    /// # Errors
    /// When images of this size make no inputs of the network.
    pub fn inputs<D: ImageDim>(&self, images: ArrayView<'_, u8, D>) -> Result<Array2<f32>, ModelError> {
        let images = D::with_channels(images);
        let (_, channels, h, w) = images.dim();
        let crop = self.preprocessing.crop_of((h, w));
        let (expected, found) = (self.input, Shape::new(channels, crop.h, crop.w));
        if !expected.takes_image(found) {
            return Err(ModelError::Images { expected, found, h, w });
        }
        Ok(self.preprocessing.apply(images))
    }

    /// The model that says the same of every image with fewer layers, its batch normalisations folded into the convolutions and dense layers
    /// before them: see [`Network::folded`]. For use and for other programs, not to train on.
    ///
    /// # Errors
    /// As [`network`](Self::network).
    pub fn folded(&self) -> Result<Self, ModelError> {
        let (network, theta) = self.network()?.folded(&self.theta);
        let layers: Vec<String> = network.layers().iter().map(|layer| layer.spec()).collect();
        let spec = layers.join(" ").parse().map_err(ModelError::Spec)?;
        Ok(Self { spec, theta, ..self.clone() })
    }

    /// SHA-256 of the weights: see [`weights_sha256`].
    pub fn weights_sha256(&self) -> String {
        weights_sha256(&self.theta)
    }
}

/// SHA-256 of weights, in lower-case hexadecimal: of their bytes, each an IEEE-754 single, little-endian, in the order
/// of `theta`. Two trainings ended in the same bits if and only if these are equal.
///
/// ```
/// let digest = byhand_models::weights_sha256(&[1.0, -0.5]);
/// // printf '\x00\x00\x80\x3f\x00\x00\x00\xbf' | sha256sum
/// assert_eq!(digest, "e5e0ce39fac89cd93af5ba8bcad2fe35d88c75417c7e44941fe5ee4e48f1cf75");
/// ```
pub fn weights_sha256(theta: &[f32]) -> String {
    let mut digest = Sha256::new();
    for value in theta {
        digest.update(value.to_le_bytes());
    }
    encode_string(&digest.finalize())
}

/// What does not fit when preprocessing makes inputs of this shape: what was expected, and what was found.
fn check_preprocessing(preprocessing: &Preprocessing, input: Shape) -> Result<(), String> {
    let Preprocessing { normalize: Normalize { scale, shift }, crop, .. } = *preprocessing;
    if !(scale.is_finite() && shift.is_finite()) {
        return Err(format!("scale {scale} and shift {shift}, expected finite numbers"));
    }
    let Some(Crop { y, x, h, w }) = crop else { return Ok(()) };
    let fits = if input.is_flat() {
        // In one channel, or in three.
        h.checked_mul(w)
            .is_some_and(|plane| [Some(plane), plane.checked_mul(3)].contains(&Some(input.features())))
    } else {
        (h, w) == (input.h, input.w)
    };
    if !fits {
        return Err(format!("a crop of {h} rows and {w} columns, expected those of the input {input}"));
    }
    if y.unsigned_abs().max(x.unsigned_abs()) > MOST_CROPPED {
        return Err(format!("a crop from row {y} and column {x}, expected {MOST_CROPPED} at most"));
    }
    Ok(())
}

/// Farther from the picture's corner no crop begins.
const MOST_CROPPED: u32 = 1 << 20;
