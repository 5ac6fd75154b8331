//! Where the samples of a minibatch come from: unpacked by the thread that computes them.

use std::ops::Range;

use byhand_datasets::augment::blend;
use byhand_datasets::dataset::halve_into;
use byhand_datasets::unpack::{Shift, unpack_features, unpack_sample, unpack_tile, unpack_tile_shifted};
use byhand_datasets::{Augment, Crop, Dataset, Normalize, Preprocessing};
use byhand_layers::exec::{Loop, RowView, Tiles, vectorised};
use byhand_layers::loss::{Labels, Target, TargetRows};
use byhand_layers::{Block, LANES, pack};
use ndarray::{ArrayView2, ArrayView3, ArrayView4, Axis, s};

/// The samples of one minibatch.
///
/// Its samples are asked for block by block, by the threads that compute them and at the same time, so that unpacking
/// is part of the parallel work. [`ImageBatch`] and [`Rows`] are sources; so is a type of one's own:
///
/// ```
/// use std::ops::Range;
///
/// use byhand_layers::loss::{Labels, Target};
/// use byhand_layers::{Block, Dense, Network};
/// use byhand_trainer::{BatchSource, StepConfig, TargetRoom, Trainer};
///
/// /// Pairs of numbers that are made when they are asked for, and whether the first is larger.
/// struct Pairs {
///     step: usize,
/// }
///
/// impl Pairs {
///     fn pair(&self, sample: usize) -> [f32; 2] {
///         let i = self.step * self.len() + sample;
///         [(i * 7 % 11) as f32 / 11.0, (i * 5 % 13) as f32 / 13.0]
///     }
/// }
///
/// impl BatchSource for Pairs {
///     fn len(&self) -> usize {
///         20
///     }
///
///     fn target<'a>(&'a self, samples: Range<usize>, room: &'a mut TargetRoom) -> Target<'a, f32> {
///         let labels = room.labels(samples.len());
///         for (label, sample) in labels.iter_mut().zip(samples) {
///             let [a, b] = self.pair(sample);
///             *label = u16::from(a > b);
///         }
///         Labels(labels).into()
///     }
///
///     fn fill(&self, samples: Range<usize>, block: Block, x: &mut [f32], _scratch: &mut [u8]) {
///         for place in 0..block.tiles() * block.lanes() {
///             // Lanes without a sample repeat the last one.
///             let pair = self.pair((samples.start + place).min(samples.end - 1));
///             (0..2).for_each(|feature| x[block.index(2, place, feature)] = pair[feature]);
///         }
///     }
/// }
///
/// let network: Network = Network::new(vec![Box::new(Dense::new(2, 2, true)?)])?;
/// let config = StepConfig { batch_size: 20, ..StepConfig::default() };
/// let mut trainer = Trainer::new(&network, vec![0.0; 6], config)?;
/// for step in 0..1000 {
///     trainer.step(1.0, &Pairs { step })?;
/// }
/// assert!(trainer.step(1.0, &Pairs { step: 1000 })?.correct >= 17);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BatchSource: Sync {
    /// The number of samples of the minibatch.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of scratch that [`fill`](BatchSource::fill) needs.
    fn scratch_len(&self) -> usize {
        0
    }

    /// What the network should say of samples `samples` of the minibatch: labels, or rows of as many numbers as it has outputs. What
    /// does not lie in memory as it is returned is written into `room` first.
    fn target<'a>(&'a self, samples: Range<usize>, room: &'a mut TargetRoom) -> Target<'a, f32>;

    /// Writes the features of samples `samples` of the minibatch into `x`, laid out as `block` says (dead lanes repeat
    /// the last sample).
    ///
    /// `block.samples()` equals `samples.len()`; `x.len()` is `block.len(features)` for the network's input.
    /// `scratch` has at least [`scratch_len`](BatchSource::scratch_len) bytes of any value. Must not allocate where
    /// training must not.
    fn fill(&self, samples: Range<usize>, block: Block, x: &mut [f32], scratch: &mut [u8]);

    /// Writes the features `features` of samples `samples`, a sample a tile of `x`, if that is less work than all of
    /// them; else it writes nothing and returns false.
    fn fill_part(&self, _samples: Range<usize>, _features: Range<usize>, _x: Tiles<'_, f32>) -> bool {
        false
    }

    /// The features of all samples of the minibatch, if they lie in memory one sample after the other: what `fill`
    /// would write for all of them, laid out one by one. A step asks once, and reads them instead of calling `fill`.
    fn rows(&self) -> Option<&[f32]> {
        None
    }

    /// A number that no feature exceeds in size, if one is known: then a step need not look for features that are not
    /// finite. Infinity or NaN if not.
    fn largest(&self) -> f32 {
        f32::INFINITY
    }
}

/// Room for the targets of some samples, for a [`BatchSource`] that has to gather them.
#[derive(Debug)]
pub struct TargetRoom {
    labels: Vec<u16>,
    rows: Vec<f32>,
    outputs: usize,
}

impl TargetRoom {
    /// For at most `samples` samples of a network with so many outputs.
    pub fn new(samples: usize, outputs: usize) -> TargetRoom {
        TargetRoom { labels: vec![0; samples], rows: vec![0.0; samples * outputs], outputs }
    }

    /// Room for the labels of `samples` samples, to be overwritten.
    ///
    /// # Panics
    /// When there are more samples than it was made for.
    #[track_caller]
    pub fn labels(&mut self, samples: usize) -> &mut [u16] {
        &mut self.labels[..samples]
    }

    /// Room for the rows of `samples` samples, one after the other, to be overwritten.
    ///
    /// # Panics
    /// When there are more samples than it was made for.
    #[track_caller]
    pub fn rows(&mut self, samples: usize) -> &mut [f32] {
        &mut self.rows[..samples * self.outputs]
    }
}

/// A minibatch in a step: what its source says once.
pub(super) struct Minibatch<'a> {
    pub(super) source: &'a dyn BatchSource,
    /// Its samples.
    pub(super) len: usize,
    /// Their features, if they lie in memory one sample after the other.
    pub(super) rows: Option<RowView<'a, f32>>,
    largest: f32,
}

impl<'a> Minibatch<'a> {
    /// Of samples of so many features.
    #[track_caller]
    pub(super) fn new(source: &'a dyn BatchSource, features: usize) -> Minibatch<'a> {
        let len = source.len();
        let rows = source.rows().map(|rows| {
            assert!(
                rows.len() == len * features,
                "rows of {} numbers, expected {len} x {features}",
                rows.len()
            );
            RowView::new(features, rows)
        });
        Minibatch { source, len, rows, largest: source.largest() }
    }

    /// Whether all features are known to be smaller in size than `limit`.
    pub(super) fn is_below(&self, limit: f32) -> bool {
        self.largest < limit
    }
}

/// A minibatch that lies in memory as rows of features, with a label or a row of targets each.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    x: ArrayView2<'a, f32>,
    target: Target<'a, f32>,
    outputs: usize,
}

impl<'a> Rows<'a> {
    /// The minibatch `x [samples, features]` with one label a row.
    ///
    /// # Panics
    /// When there are not as many labels as rows.
    #[track_caller]
    pub fn new(x: ArrayView2<'a, f32>, labels: &'a [u16]) -> Rows<'a> {
        assert!(x.nrows() == labels.len(), "{} rows, {} labels", x.nrows(), labels.len());
        Rows { x, target: Labels(labels).into(), outputs: 0 }
    }

    /// The minibatch `x [samples, features]` with the numbers that the network is to give for each row, `[samples, outputs]`.
    ///
    /// # Panics
    /// When there are not as many rows in both, or `targets` is not contiguous, in row order.
    #[track_caller]
    pub fn regression(x: ArrayView2<'a, f32>, targets: ArrayView2<'a, f32>) -> Rows<'a> {
        assert!(x.nrows() == targets.nrows(), "{} rows, {} rows of targets", x.nrows(), targets.nrows());
        let rows = targets.to_slice().expect("targets must be contiguous, in row order");
        Rows { x, target: TargetRows(rows).into(), outputs: targets.ncols() }
    }
}

impl BatchSource for Rows<'_> {
    fn len(&self) -> usize {
        self.x.nrows()
    }

    fn target<'a>(&'a self, samples: Range<usize>, _room: &'a mut TargetRoom) -> Target<'a, f32> {
        self.target.of_samples(samples, self.outputs)
    }

    fn fill(&self, samples: Range<usize>, block: Block, x: &mut [f32], _scratch: &mut [u8]) {
        pack(self.x.slice(s![samples, ..]), block, x);
    }

    fn rows(&self) -> Option<&[f32]> {
        self.x.to_slice()
    }
}

/// A minibatch of images of a data set, preprocessed and, for training, augmented on the way (before they are cropped).
#[derive(Debug, Clone, Copy)]
pub struct ImageBatch<'a> {
    dataset: &'a Dataset,
    indices: &'a [u32],
    preprocessing: Preprocessing,
    augment: Option<(&'a Augment, u64, u64)>,
}

impl<'a> ImageBatch<'a> {
    /// The images of `dataset` at `indices`, in that order.
    pub fn new(dataset: &'a Dataset, indices: &'a [u32], preprocessing: Preprocessing) -> ImageBatch<'a> {
        ImageBatch { dataset, indices, preprocessing, augment: None }
    }

    /// The same images, each changed as `augment` says for (`seed`, `step`, number in the minibatch).
    pub fn augmented(self, augment: &'a Augment, seed: u64, step: u64) -> ImageBatch<'a> {
        let augment = (!augment.is_identity()).then_some((augment, seed, step));
        ImageBatch { augment, ..self }
    }

    /// Whether images are read from the data set where they lie, moved by whole pixels at most.
    fn lies_as_it_is(&self) -> bool {
        !self.preprocessing.halve && self.augment.is_none_or(|(augment, ..)| augment.is_shift_alone())
    }

    /// Pixels of an image that is not yet cropped.
    fn pixels(&self) -> usize {
        let (h, w) = self.preprocessing.size_of(self.dataset.image_size());
        self.dataset.channels() * h * w
    }

    fn augment_len(&self) -> usize {
        let size = self.preprocessing.size_of(self.dataset.image_size());
        self.augment.map_or(0, |(augment, ..)| augment.scratch_len(size))
    }

    fn mixes(&self) -> bool {
        self.augment.is_some_and(|(augment, ..)| augment.mixup > 0.0)
    }

    /// With whom a sample is mixed, and its own share.
    fn mix(&self, sample: usize) -> (usize, f32) {
        match self.augment {
            Some((augment, seed, step)) if augment.mixup > 0.0 => augment.mix(seed, step, sample, self.len()),
            _ => (sample, 1.0),
        }
    }

    /// Adds `share` times what should be said of a sample.
    fn add_target(&self, row: &mut [f32], sample: usize, share: f32) {
        let index = self.indices[sample] as usize;
        match self.dataset.targets() {
            Some(targets) => {
                row.iter_mut().zip(targets.row(index)).for_each(|(to, &from)| *to += share * from)
            }
            None => row[usize::from(self.dataset.labels()[index])] += share,
        }
    }

    /// Writes the image of a sample, halved, changed and mixed.
    #[inline(always)]
    fn gather(&self, sample: usize, image: &mut [u8], scratch: &mut [u8]) {
        let (other, scratch) = scratch.split_at_mut(self.pixels());
        self.change(sample, image, scratch);
        let (partner, share) = self.mix(sample);
        if share < 1.0 {
            self.change(partner, other, scratch);
            blend(image, other, share);
        }
    }

    /// Writes the image of a sample, halved and changed.
    #[inline(always)]
    fn change(&self, sample: usize, out: &mut [u8], scratch: &mut [u8]) {
        let images = self.dataset.images();
        let mut image = images.index_axis(Axis(0), self.indices[sample] as usize);
        let (half, scratch) = scratch.split_at_mut(self.pixels());
        if self.preprocessing.halve {
            halve_into(image, half);
            let (h, w) = self.preprocessing.size_of(self.dataset.image_size());
            image = ArrayView3::from_shape((self.dataset.channels(), h, w), &*half).expect("as many pixels");
        }
        match self.augment {
            Some((augment, seed, step)) => augment.apply(seed, step, sample as u64, image, scratch, out),
            None => out.iter_mut().zip(image).for_each(|(to, &from)| *to = from),
        }
    }
}

impl BatchSource for ImageBatch<'_> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn scratch_len(&self) -> usize {
        if self.lies_as_it_is() { 0 } else { (LANES + 2) * self.pixels() + self.augment_len() }
    }

    fn target<'a>(&'a self, samples: Range<usize>, room: &'a mut TargetRoom) -> Target<'a, f32> {
        if self.dataset.targets().is_some() || self.mixes() {
            let rows = room.rows(samples.len());
            let outputs = rows.len() / samples.len();
            for (row, sample) in rows.chunks_exact_mut(outputs).zip(samples) {
                row.fill(0.0);
                let (partner, share) = self.mix(sample);
                self.add_target(row, sample, share);
                if share < 1.0 {
                    self.add_target(row, partner, 1.0 - share);
                }
            }
            return TargetRows(rows).into();
        }
        let indices = &self.indices[samples];
        let (labels, all) = (room.labels(indices.len()), self.dataset.labels());
        for (label, &index) in labels.iter_mut().zip(indices) {
            *label = all[index as usize];
        }
        Labels(labels).into()
    }

    fn fill(&self, samples: Range<usize>, block: Block, x: &mut [f32], scratch: &mut [u8]) {
        let lanes = block.lanes();
        let crop = self.preprocessing.crop_of(self.dataset.image_size());
        let features = self.dataset.channels() * crop.features();
        for (tile, x) in x.chunks_exact_mut(features * lanes).enumerate() {
            let first = samples.start + tile * lanes;
            let samples = first..first + block.live(tile);
            vectorised(Unpack { batch: self, samples, crop, lanes, scratch, x });
        }
    }

    fn fill_part(&self, samples: Range<usize>, features: Range<usize>, x: Tiles<'_, f32>) -> bool {
        // Who changes an image needs all of it.
        if self.augment.is_some() || self.preprocessing.halve {
            return false;
        }
        let (images, indices) = (self.dataset.images(), &self.indices[samples]);
        let Preprocessing { normalize, .. } = self.preprocessing;
        let crop = self.preprocessing.crop_of(self.dataset.image_size());
        vectorised(UnpackPart { images, indices, normalize, crop, features, x });
        true
    }

    fn largest(&self) -> f32 {
        // An affine map of pixels is largest at an end; if either is NaN, that of the most is.
        let [least, most] = [0, u8::MAX].map(|pixel| self.preprocessing.normalize.apply(pixel).abs());
        if least >= most { least } else { most }
    }
}

/// Some features of images as they are.
struct UnpackPart<'a> {
    images: ArrayView4<'a, u8>,
    indices: &'a [u32],
    normalize: Normalize,
    crop: Crop,
    features: Range<usize>,
    x: Tiles<'a, f32>,
}

impl Loop for UnpackPart<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let UnpackPart { images, indices, normalize, crop, features, x } = self;
        for (&index, x) in indices.iter().zip(x.slices()) {
            unpack_features(images, index, normalize, crop, features.clone(), x);
        }
    }
}

/// The samples of a tile that was gathered for itself.
const IN_ORDER: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The images of one tile, as they are or changed.
struct Unpack<'a> {
    batch: &'a ImageBatch<'a>,
    samples: Range<usize>,
    crop: Crop,
    lanes: usize,
    scratch: &'a mut [u8],
    x: &'a mut [f32],
}

impl Loop for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Unpack { batch, samples, crop, lanes, scratch, x } = self;
        let (images, indices) = (batch.dataset.images(), &batch.indices[samples.clone()]);
        let normalize = batch.preprocessing.normalize;
        if !batch.lies_as_it_is() {
            let (h, w) = batch.preprocessing.size_of(batch.dataset.image_size());
            let (tile, rest) = scratch.split_at_mut(LANES * batch.pixels());
            for (sample, image) in samples.clone().zip(tile.chunks_exact_mut(batch.pixels())) {
                batch.gather(sample, image, rest);
            }
            let shape = (LANES, batch.dataset.channels(), h, w);
            let tile = ArrayView4::from_shape(shape, &*tile).expect("a tile of images");
            match lanes {
                LANES => unpack_tile(tile, &IN_ORDER[..samples.len()], normalize, crop, x),
                _ => unpack_sample(tile, 0, normalize, crop, x),
            }
            return;
        }
        match (batch.augment, lanes) {
            (None, LANES) => unpack_tile(images, indices, normalize, crop, x),
            (Some((augment, seed, step)), LANES) => {
                let mut shifts = [Shift::default(); LANES];
                augment.shifts(seed, step, samples.start as u64, &mut shifts);
                unpack_tile_shifted(images, indices, &shifts[..indices.len()], normalize, crop, x);
            }
            (None, _) => unpack_sample(images, indices[0], normalize, crop, x),
            (Some((augment, seed, step)), _) => {
                let mut shift = [Shift::default()];
                augment.shifts(seed, step, samples.start as u64, &mut shift);
                let moved = Crop { y: crop.y - shift[0].dy, x: crop.x - shift[0].dx, ..crop };
                unpack_sample(images, indices[0], normalize, moved, x);
            }
        }
    }
}
