//! What a fit is, as text: all that decides the weights. A checkpoint is taken by a fit that says the same of itself.

use std::collections::BTreeMap;

use base16ct::lower::encode_string;
use byhand_datasets::batches::LastBatch;
use byhand_datasets::{Augment, Dataset, Preprocessing};
use sha2::{Digest, Sha256};

use super::{Fit, FitConfig, Sampling};

impl Fit<'_> {
    /// All that decides the weights, by the names of settings.
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let config = &self.config;
        let data_sha256 = self.data_sha256.get_or_init(|| sha256(self.train));
        let layers: Vec<String> = self.network.layers().iter().map(|layer| layer.spec()).collect();
        let (h, w) = self.train.image_size();
        // Grey images are told as before there were others.
        let planes = match self.train.channels() {
            1 => String::new(),
            channels => format!("{channels}x"),
        };
        let crop = config.preprocessing.crop_of((h, w));
        let max_steps = config.max_steps.map_or_else(|| "none".into(), |n| n.to_string());
        let log_every = config.log_every.map_or_else(|| "none".into(), |n| n.to_string());
        let sampling = match config.sampling {
            Sampling::Shuffled => "shuffled",
            Sampling::WithReplacement => "with replacement",
            Sampling::InOrder => "in order",
        };
        let last_batch = match config.last_batch {
            LastBatch::Keep => "keep",
            LastBatch::Drop => "drop",
        };
        let weights: Vec<String> = config.class_weights.iter().map(f64::to_string).collect();
        // What a checkpoint has that says nothing of them.
        let class_weights = if weights.is_empty() { "nothing".into() } else { weights.join(",") };
        let Preprocessing { normalize, halve, .. } = config.preprocessing;
        let halved = if halve { "halved, " } else { "" };
        let asked = [
            ("weight decay", Some(config.weight_decay).filter(|&decay| decay > 0.0)),
            ("clip", config.clip),
            ("ema", config.ema),
            ("patience", config.patience.map(|epochs| epochs as f64)),
        ];
        let asked = asked.into_iter().filter_map(|(setting, value)| Some((setting, value?.to_string())));
        [
            ("network", format!("{} {}", self.network.input(), layers.join(" "))),
            (
                "training data",
                format!("{} images of {planes}{h}x{w}, SHA-256 {data_sha256}", self.train.len()),
            ),
            ("epochs", config.epochs.to_string()),
            ("max_steps", max_steps),
            ("batch size", config.batch_size.to_string()),
            ("sampling", sampling.into()),
            ("last batch", last_batch.into()),
            ("optimizer", config.optimizer.to_string()),
            ("learning rate", config.learning_rate.to_string()),
            ("schedule", config.schedule.to_string()),
            ("objective", config.objective.to_string()),
            ("class weights", class_weights),
            ("normalising", format!("{halved}times {} plus {}", normalize.scale, normalize.shift)),
            ("crop", format!("{}x{} at row {}, column {}", crop.h, crop.w, crop.y, crop.x)),
            ("augmentation", augmentation(config)),
            ("seed", config.seed.to_string()),
            ("log_every", log_every),
        ]
        .into_iter()
        .chain(asked)
        .map(|(setting, value)| (setting.to_string(), value))
        .collect()
    }
}

/// Of what a data set is trained on.
fn sha256(data: &Dataset) -> String {
    let mut hasher = Sha256::new();
    match data.targets() {
        // Labels that fit in a byte are one.
        None if data.classes() <= 256 => {
            data.labels().iter().for_each(|&label| hasher.update([label as u8]));
        }
        None => data.labels().iter().for_each(|label| hasher.update(label.to_le_bytes())),
        Some(targets) => targets.iter().for_each(|target| hasher.update(target.to_le_bytes())),
    }
    for image in data.images().outer_iter() {
        hasher.update(image.as_slice().expect("images are contiguous"));
    }
    encode_string(&hasher.finalize())
}

/// The random changes of images. What is not asked for is not told: a checkpoint of a version that had not thought of it is taken.
fn augmentation(config: &FitConfig) -> String {
    let Augment { shift, rotate, scale, shear, elastic, flip, erase, mixup } = config.augment;
    let mut text = format!("shift {shift}, rotate {rotate}, scale {scale}, shear {shear}");
    if elastic > 0.0 || flip || erase > 0 || mixup > 0.0 {
        text += &format!(", elastic {elastic}, flip {flip}, erase {erase}, mixup {mixup}");
    }
    text
}
