//! Networks that are asked together, and each on several views of an image: the mean of what they say.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use byhand_datasets::{Crop, Dataset, Preprocessing};
use byhand_layers::loss::Labels;
use byhand_layers::metrics::{Confusion, Evaluation};
use byhand_layers::{Network, Number};

use crate::error::{SpecError, TrainerError};
use crate::evaluate::{Evaluator, Shown, check_data, check_weights};
use crate::objective::Objective;
use crate::step::crew::Crew;

/// One of the networks of an ensemble.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The network.
    pub network: &'a Network<f32>,
    /// Its weights.
    pub theta: &'a [f32],
    /// What it sees of an image.
    pub preprocessing: Preprocessing,
}

/// Which views of an image are looked at besides itself (test-time augmentation). Written `shift`, `flip` or `shift,flip`.
///
/// ```
/// use byhand_trainer::Views;
/// let views: Views = "shift,flip".parse()?;
/// assert_eq!((views.count(), Views::default().count()), (10, 1));
/// # Ok::<(), byhand_trainer::SpecError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Views {
    /// Those that are moved by a pixel, up, down, left and right.
    pub shift: bool,
    /// The mirror images of all.
    pub flip: bool,
}

impl Views {
    /// How many they are with the image itself.
    pub fn count(self) -> usize {
        (if self.shift { 5 } else { 1 }) * (if self.flip { 2 } else { 1 })
    }

    /// Rows down and columns to the right by which the window moves.
    fn moves(self) -> &'static [(i32, i32)] {
        const MOVES: [(i32, i32); 5] = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)];
        &MOVES[..if self.shift { 5 } else { 1 }]
    }
}

impl FromStr for Views {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Views, SpecError> {
        let mut views = Views::default();
        for word in text.split(',').map(str::trim) {
            let view = match word {
                "shift" => &mut views.shift,
                "flip" => &mut views.flip,
                _ => {
                    return Err(SpecError::new(
                        text,
                        format!("expected shift, flip or shift,flip, found `{word}`"),
                    ));
                }
            };
            *view = true;
        }
        Ok(views)
    }
}

impl fmt::Display for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.shift, "shift"), (self.flip, "flip")].into_iter().filter(|(is_on, _)| *is_on);
        f.write_str(&words.map(|(_, word)| word).collect::<Vec<_>>().join(","))
    }
}

/// Evaluates networks together, each on all views of each sample of `dataset`, on `threads` threads (0: all): what they say is the mean `p` of
/// their probabilities (the softmax of their outputs), the class the largest of `p`, and the loss the mean over samples of `-ln p_label`.
///
/// # Errors
/// As [`evaluate`](crate::evaluate()); also when there is no member, their numbers of outputs differ, or the data has no labels.
pub fn evaluate_together(
    members: &[Member<'_>],
    dataset: &Dataset,
    views: Views,
    threads: usize,
) -> Result<Evaluation, TrainerError> {
    let classes = members.first().map_or(0, |member| member.network.classes());
    for Member { network, theta, preprocessing } in members {
        check_weights(network, theta)?;
        if network.classes() != classes {
            let expected = format!("{classes} outputs, as the first has");
            return Err(TrainerError::setting("members", expected, network.classes().to_string()));
        }
        check_data(network, dataset, preprocessing, Objective::default())?;
    }
    if members.is_empty() || dataset.targets().is_some() {
        let found = if members.is_empty() { "none" } else { "target rows" };
        return Err(TrainerError::setting("members", "at least one network, and labels", found));
    }
    let crew = Crew::new(threads);
    crew.start()?;
    let mut sums = vec![0.0; dataset.len() * classes];
    let mirrored = views.flip.then(|| dataset.mirror());
    for member in members {
        for dataset in [Some(dataset), mirrored.as_ref()].into_iter().flatten() {
            let crop = member.preprocessing.crop_of(dataset.image_size());
            for (rows, columns) in views.moves() {
                let moved = Crop { y: crop.y + rows, x: crop.x + columns, ..crop };
                let preprocessing = Preprocessing { crop: Some(moved), ..member.preprocessing };
                crew.enter(|| {
                    add_probabilities(&Member { preprocessing, ..*member }, dataset, &crew, &mut sums)
                });
            }
        }
    }
    let count = (members.len() * views.count()) as f32;
    let (mut loss, mut confusion) = (0.0, Confusion::new(classes));
    for (row, &label) in sums.chunks_exact(classes).zip(dataset.labels()) {
        // What rounded to zero has a logarithm all the same.
        let probability = (row[usize::from(label)] / count).max(f32::MIN_POSITIVE);
        loss -= f64::from(<f32 as Number>::ln(probability));
        confusion.count_outputs(row, Labels(&[label]).into());
    }
    Ok(Evaluation { samples: dataset.len(), loss: loss / dataset.len() as f64, confusion })
}

/// Adds what a member says of each sample.
fn add_probabilities(member: &Member<'_>, dataset: &Dataset, crew: &Crew, sums: &mut [f32]) {
    let Member { network, theta, preprocessing } = member;
    let (evaluator, classes) =
        (Evaluator::new(network, Objective::default(), crew.threads()), network.classes());
    let shown = Shown { network, theta, dataset, preprocessing };
    let mut chunks: Vec<&mut [f32]> = sums.chunks_mut(evaluator.chunk * classes).collect();
    let never = AtomicBool::new(false);
    evaluator.for_each_chunk(shown, crew, &never, &mut chunks, |seen, sums| {
        sums.iter_mut().zip(&seen.probabilities()).for_each(|(sum, p)| *sum += p);
    });
}
