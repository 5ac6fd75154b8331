//! `Dataset`: images and labels as bytes in memory, and the ways to cut them up.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{
    ArcArray, Array, Array1, Array2, Array4, ArrayView2, ArrayView3, ArrayView4, Axis, Ix1, Ix2, Ix4, s,
};

use crate::error::Error;
use crate::images::ImageDim;
use crate::pictures::luma;
use crate::random::Random;

/// The most classes a data set may have: as many as a label can name, and a layer spec can have outputs.
pub const MAX_CLASSES: usize = 1 << 16;

/// Images, grey or in colour, as bytes, with one label each, or with a row of numbers each that a regression is to give.
///
/// Pixels are `[n, channels, h, w]`, `u8`: one channel of grey, or planes of red, green and blue. Labels are `[n]`, `u16`, and rows
/// `[n, outputs]`, `f32`. All are shared: cloning, [`take`](Dataset::take) and [`split_at`](Dataset::split_at) copy nothing, so 60,000
/// images of 28x28 stay at 47 MB however they are cut by range. The other subsets copy what they keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    name: Arc<str>,
    images: ArcArray<u8, Ix4>,
    /// One a sample; none with rows of numbers.
    labels: ArcArray<u16, Ix1>,
    /// One a sample; none with labels.
    targets: Option<ArcArray<f32, Ix2>>,
    class_names: Arc<[String]>,
}

impl Dataset {
    /// A data set of `images [n, h, w]` or `[n, channels, h, w]` and `labels [n]` with classes `0..class_names.len()`.
    ///
    /// # Errors
    /// [`Error::Request`] when the numbers of images and labels differ, an image has no pixel, there are no classes or
    /// more than [`MAX_CLASSES`], two classes have one name or one has none, or a label is no class.
    pub fn new<D: ImageDim>(
        name: &str,
        images: Array<u8, D>,
        labels: Vec<u16>,
        class_names: Vec<String>,
    ) -> Result<Dataset, Error> {
        let n = images.len_of(Axis(0));
        let fail = |what: String| Err(Error::Request(format!("{name}: {what}")));
        if n != labels.len() {
            return fail(format!(
                "expected as many labels as images, found {n} images and {} labels",
                labels.len()
            ));
        }
        let classes = class_names.len();
        if classes == 0 || classes > MAX_CLASSES {
            return fail(format!("expected 1 to {MAX_CLASSES} classes, found {classes}"));
        }
        let mut seen = HashMap::new();
        for (class, class_name) in class_names.iter().enumerate() {
            if class_name.is_empty() {
                return fail(format!("expected a name for class {class}, found an empty one"));
            }
            if let Some(other) = seen.insert(class_name, class) {
                return fail(format!(
                    "expected a name of its own for each class, found \"{class_name}\" for {other} and {class}"
                ));
            }
        }
        if let Some(i) = labels.iter().position(|&label| usize::from(label) >= classes) {
            return fail(format!("label {i}: expected a class below {classes}, found {}", labels[i]));
        }
        Ok(Dataset {
            name: name.into(),
            images: contiguous(name, images)?,
            labels: Array1::from(labels).into_shared(),
            targets: None,
            class_names: class_names.into(),
        })
    }

    /// A data set of `images [n, h, w]` or `[n, channels, h, w]` and `targets [n, outputs]`: the numbers that a network is to give for each
    /// image. It has no labels and no classes.
    ///
    /// ```
    /// use byhand_datasets::Dataset;
    /// use ndarray::{Array2, Array3};
    /// let images = Array3::from_shape_fn((50, 8, 8), |(i, y, x)| (i * y * x % 256) as u8);
    /// let brightness = images.map_axis(ndarray::Axis(2), |row| f32::from(row[7]) / 255.0);
    /// let data = Dataset::regression("brightness", images, brightness)?;
    /// assert_eq!(data.targets().unwrap().dim(), (50, 8));
    /// # Ok::<(), byhand_datasets::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Request`] when the numbers of images and rows differ, an image has no pixel, or rows are empty or not finite.
    pub fn regression<D: ImageDim>(
        name: &str,
        images: Array<u8, D>,
        targets: Array2<f32>,
    ) -> Result<Dataset, Error> {
        let (n, outputs) = targets.dim();
        let fail = |what: String| Err(Error::Request(format!("{name}: {what}")));
        if n != images.len_of(Axis(0)) {
            let found = images.len_of(Axis(0));
            return fail(format!("expected as many rows as images, found {found} images and {n} rows"));
        }
        if outputs == 0 {
            return fail("expected rows of at least one number, found empty ones".into());
        }
        if let Some(((i, j), value)) = targets.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return fail(format!("row {i}, number {j}: expected a finite number, found {value}"));
        }
        Ok(Dataset {
            name: name.into(),
            images: contiguous(name, images)?,
            labels: Array1::from(Vec::new()).into_shared(),
            targets: Some(targets.as_standard_layout().into_owned().into_shared()),
            class_names: [].into(),
        })
    }

    /// The name of the data, such as "MNIST".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.images.len_of(Axis(0))
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows and columns of an image.
    pub fn image_size(&self) -> (usize, usize) {
        let (_, _, h, w) = self.images.dim();
        (h, w)
    }

    /// Planes of an image: 1 where images are grey, 3 where they are red, green and blue.
    pub fn channels(&self) -> usize {
        self.images.len_of(Axis(1))
    }

    /// The pixels, `[n, channels, h, w]`, contiguous in this order.
    pub fn images(&self) -> ArrayView4<'_, u8> {
        self.images.view()
    }

    /// The pixels of sample `index`, `[channels, h, w]`.
    ///
    /// # Panics
    /// When there is no such sample.
    #[track_caller]
    pub fn image(&self, index: usize) -> ArrayView3<'_, u8> {
        assert!(index < self.len(), "sample {index} of a data set of {}", self.len());
        self.images.index_axis(Axis(0), index)
    }

    /// The labels, one a sample, each below [`classes`](Dataset::classes). None at all where there are [`targets`](Dataset::targets).
    pub fn labels(&self) -> &[u16] {
        self.labels.as_slice().expect("labels are contiguous by construction")
    }

    /// The rows of numbers that a regression is to give, `[n, outputs]`, contiguous; `None` where there are labels.
    pub fn targets(&self) -> Option<ArrayView2<'_, f32>> {
        self.targets.as_ref().map(|targets| targets.view())
    }

    /// The number of classes; 0 where there are [`targets`](Dataset::targets).
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// What the classes are called, in the order of their labels.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// How many samples each class has.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes()];
        for &label in self.labels() {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// The names of the classes that no sample has.
    pub fn missing_classes(&self) -> Vec<&str> {
        let counts = self.class_counts();
        let missing = counts.iter().zip(self.class_names()).filter(|(count, _)| **count == 0);
        missing.map(|(_, name)| name.as_str()).collect()
    }

    /// The first `n` samples, or all when there are fewer. Copies nothing.
    pub fn take(&self, n: usize) -> Dataset {
        self.range(0, n.min(self.len()))
    }

    /// The first `n` samples and the rest: MNIST's `split_at(55_000)` is the usual training and validation split, with
    /// the last 5,000 for validation. Copies nothing.
    ///
    /// # Errors
    /// [`Error::Request`] when there are fewer than `n` samples.
    pub fn split_at(&self, n: usize) -> Result<(Dataset, Dataset), Error> {
        self.check_part(n)?;
        Ok((self.range(0, n), self.range(n, self.len())))
    }

    /// Sets `second` samples drawn at random aside: (the rest, those drawn), each in the original order. A function of
    /// `seed`.
    ///
    /// # Errors
    /// [`Error::Request`] when there are fewer than `second` samples.
    pub fn split_random(&self, second: usize, seed: u64) -> Result<(Dataset, Dataset), Error> {
        self.check_part(second)?;
        let mut all: Vec<u32> = (0..self.len() as u32).collect();
        Random::new(b"split\0\0\0", seed, 0, 0).shuffle(&mut all);
        Ok(self.part(&all[..second]))
    }

    /// Like [`split_random`](Dataset::split_random), but every class gives its share: the part of a class differs from
    /// `second * class count / n` by less than one sample (largest remainders, ties to the smaller class). Without classes it is
    /// `split_random`.
    ///
    /// # Errors
    /// [`Error::Request`] when there are fewer than `second` samples.
    pub fn split_stratified(&self, second: usize, seed: u64) -> Result<(Dataset, Dataset), Error> {
        if self.classes() == 0 {
            return self.split_random(second, seed);
        }
        self.check_part(second)?;
        let n = self.len().max(1) as u64;
        let counts = self.class_counts();
        let mut quotas: Vec<usize> =
            counts.iter().map(|&c| (second as u64 * c as u64 / n) as usize).collect();
        let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
        by_remainder.sort_by_key(|&k| std::cmp::Reverse(second as u64 * counts[k] as u64 % n));
        let short = second - quotas.iter().sum::<usize>();
        for &k in &by_remainder[..short] {
            quotas[k] += 1;
        }
        let mut drawn = Vec::with_capacity(second);
        for (class, &quota) in quotas.iter().enumerate() {
            let mut of_class: Vec<u32> =
                (0..self.len() as u32).filter(|&i| usize::from(self.labels()[i as usize]) == class).collect();
            // The length is in the key so that a part of a part is drawn independently of the first draw.
            Random::new(b"stratify", seed, class as u64, n).shuffle(&mut of_class);
            drawn.extend_from_slice(&of_class[..quota]);
        }
        Ok(self.part(&drawn))
    }

    /// The samples at `indices`, in that order, repetitions allowed. Copies them.
    ///
    /// # Panics
    /// When an index is not below [`len`](Dataset::len).
    #[track_caller]
    pub fn select(&self, indices: &[u32]) -> Dataset {
        let (_, c, h, w) = self.images.dim();
        let mut images = Vec::with_capacity(indices.len() * c * h * w);
        let pixels = self.images.as_slice().expect("images are contiguous by construction");
        for &index in indices {
            let index = index as usize;
            assert!(index < self.len(), "sample {index} of a data set of {}", self.len());
            images.extend_from_slice(&pixels[index * c * h * w..][..c * h * w]);
        }
        let images =
            Array4::from_shape_vec((indices.len(), c, h, w), images).expect("as many pixels as pushed");
        let rows: Vec<usize> = indices.iter().map(|&index| index as usize).collect();
        Dataset {
            labels: self
                .labels
                .select(Axis(0), if self.targets.is_some() { &[] } else { &rows })
                .into_shared(),
            targets: self.targets.as_ref().map(|targets| targets.select(Axis(0), &rows).into_shared()),
            ..self.with(images)
        }
    }

    /// The samples of the given classes, in the original order, relabelled: `classes[k]` becomes class `k`.
    ///
    /// # Errors
    /// [`Error::Request`] when a class does not exist or is named twice, or none is given.
    pub fn keep_classes(&self, classes: &[u16]) -> Result<Dataset, Error> {
        let mut new_label = vec![None; self.classes()];
        for (k, &class) in classes.iter().enumerate() {
            if usize::from(class) >= self.classes() {
                let last = self.classes().saturating_sub(1);
                return Err(Error::Request(format!(
                    "{}: expected classes 0 to {last}, found {class}",
                    self.name
                )));
            }
            if new_label[usize::from(class)].replace(k as u16).is_some() {
                return Err(Error::Request(format!(
                    "{}: expected each class once, found {class} twice",
                    self.name
                )));
            }
        }
        if classes.is_empty() {
            return Err(Error::Request(format!(
                "{}: expected at least one class to keep, found none",
                self.name
            )));
        }
        let kept: Vec<u32> = self.indices_where(|label| new_label[usize::from(label)].is_some());
        let mut subset = self.select(&kept);
        subset
            .labels
            .mapv_inplace(|label| new_label[usize::from(label)].expect("only kept classes are left"));
        subset.class_names =
            classes.iter().map(|&class| self.class_names[usize::from(class)].clone()).collect();
        Ok(subset)
    }

    /// The samples whose class has one of these names, relabelled: `names[k]` becomes class `k`. This is how the labels of a
    /// data set are made those of a model, which numbers classes in an order of its own. Samples of other classes are left out.
    ///
    /// # Errors
    /// [`Error::Request`] when a name is no class of this data set or stands twice, or none is given.
    pub fn match_classes(&self, names: &[String]) -> Result<Dataset, Error> {
        if names == self.class_names() {
            return Ok(self.clone());
        }
        let class = |name: &String| {
            self.class_names.iter().position(|own| own == name).map(|class| class as u16).ok_or_else(|| {
                Error::Request(format!(
                    "{}: expected a class \"{name}\", found the classes {}",
                    self.name,
                    self.class_names.join(", ")
                ))
            })
        };
        self.keep_classes(&names.iter().map(class).collect::<Result<Vec<u16>, Error>>()?)
    }

    /// At most the first `n` samples of each class, in the original order; all of them where there are no classes.
    pub fn cap_per_class(&self, n: usize) -> Dataset {
        if self.classes() == 0 {
            return self.clone();
        }
        let mut seen = vec![0; self.classes()];
        let kept = self.indices_where(|label| {
            seen[usize::from(label)] += 1;
            seen[usize::from(label)] <= n
        });
        self.select(&kept)
    }

    /// Images of half the size: each pixel is the integer floor of the mean of a 2x2 block, so 28x28 becomes 14x14. An
    /// odd last row or column is dropped.
    ///
    /// # Errors
    /// [`Error::Request`] when an image is smaller than 2x2.
    pub fn halve(&self) -> Result<Dataset, Error> {
        let (h, w) = self.image_size();
        if h < 2 || w < 2 {
            return Err(Error::Request(format!(
                "{}: expected images of at least 2x2 pixels, found {h}x{w}",
                self.name
            )));
        }
        let mut images = Array4::zeros((self.len(), self.channels(), h / 2, w / 2));
        for (image, mut half) in self.images.outer_iter().zip(images.outer_iter_mut()) {
            halve_into(image, half.as_slice_mut().expect("images are contiguous"));
        }
        Ok(self.with(images))
    }

    /// Rows and columns of every image exchanged.
    pub fn transpose(&self) -> Dataset {
        let images = self.images.view().permuted_axes([0, 1, 3, 2]);
        self.with(images.as_standard_layout().into_owned())
    }

    /// Every image mirrored, left to right.
    pub fn mirror(&self) -> Dataset {
        self.with(self.images.slice(s![.., .., .., ..;-1]).as_standard_layout().into_owned())
    }

    /// The same data without colours: a channel of grey levels, the luma of Rec. 601. Grey images are not copied.
    ///
    /// # Errors
    /// [`Error::Request`] when images are neither grey nor red, green and blue.
    pub fn grey(&self) -> Result<Dataset, Error> {
        let (n, c, h, w) = self.images.dim();
        match c {
            1 => Ok(self.clone()),
            3 => {
                let mut grey = Vec::with_capacity(n * h * w);
                for image in self.images.outer_iter() {
                    let planes = image.as_slice().expect("images are contiguous by construction");
                    let (red, rest) = planes.split_at(h * w);
                    let (green, blue) = rest.split_at(h * w);
                    grey.extend(red.iter().zip(green).zip(blue).map(|((&r, &g), &b)| luma([r, g, b])));
                }
                Ok(self.with(Array4::from_shape_vec((n, 1, h, w), grey).expect("a level a pixel")))
            }
            _ => Err(Error::Request(format!(
                "{}: expected 1 or 3 channels to make grey, found {c}",
                self.name
            ))),
        }
    }

    /// The same data under another name.
    pub fn renamed(mut self, name: &str) -> Dataset {
        self.name = name.into();
        self
    }

    fn check_part(&self, n: usize) -> Result<(), Error> {
        if n > self.len() {
            return Err(Error::Request(format!(
                "{}: expected a part of at most {} samples, found {n}",
                self.name,
                self.len()
            )));
        }
        Ok(())
    }

    fn indices_where(&self, mut keep: impl FnMut(u16) -> bool) -> Vec<u32> {
        (0..).zip(self.labels()).filter(|&(_, &label)| keep(label)).map(|(i, _)| i).collect()
    }

    /// (samples not in `drawn`, samples in `drawn`), both in the original order.
    fn part(&self, drawn: &[u32]) -> (Dataset, Dataset) {
        let mut is_drawn = vec![false; self.len()];
        for &i in drawn {
            is_drawn[i as usize] = true;
        }
        let (second, first): (Vec<u32>, Vec<u32>) =
            (0..self.len() as u32).partition(|&i| is_drawn[i as usize]);
        (self.select(&first), self.select(&second))
    }

    fn range(&self, start: usize, end: usize) -> Dataset {
        Dataset {
            name: self.name.clone(),
            images: self.images.clone().slice_move(s![start..end, .., .., ..]),
            labels: match self.targets {
                Some(_) => self.labels.clone(),
                None => self.labels.clone().slice_move(s![start..end]),
            },
            targets: self.targets.clone().map(|targets| targets.slice_move(s![start..end, ..])),
            class_names: self.class_names.clone(),
        }
    }

    /// The same with other images.
    fn with(&self, images: Array4<u8>) -> Dataset {
        Dataset { images: images.into_shared(), ..self.clone() }
    }
}

/// Images that lie one after the other, plane by plane, row by row, if each has a pixel.
fn contiguous<D: ImageDim>(name: &str, images: Array<u8, D>) -> Result<ArcArray<u8, Ix4>, Error> {
    let images = D::with_channels(images);
    let (_, c, h, w) = images.dim();
    if c == 0 {
        return Err(Error::Request(format!("{name}: expected images of at least one channel, found none")));
    }
    if h == 0 || w == 0 {
        return Err(Error::Request(format!("{name}: expected images of at least 1x1 pixels, found {h}x{w}")));
    }
    let images = if images.is_standard_layout() { images } else { images.as_standard_layout().into_owned() };
    Ok(images.into_shared())
}

/// Writes an image `[channels, h, w]` of half the size, `[channels, h / 2, w / 2]`: each pixel is the integer floor of the mean of a 2x2
/// block; an odd last row or column is dropped.
///
/// # Panics
/// When `out` has not as many bytes.
#[inline(always)]
#[track_caller]
pub fn halve_into(image: ArrayView3<'_, u8>, out: &mut [u8]) {
    let (c, h, w) = (image.len_of(Axis(0)), image.len_of(Axis(1)) / 2, image.len_of(Axis(2)) / 2);
    assert!(out.len() == c * h * w, "{} bytes for a half of {c}x{h}x{w}", out.len());
    for (plane, out) in image.outer_iter().zip(out.chunks_exact_mut((h * w).max(1))) {
        for (y, out) in out.chunks_exact_mut(w.max(1)).enumerate() {
            for (x, out) in out.iter_mut().enumerate() {
                let block = [(0, 0), (0, 1), (1, 0), (1, 1)];
                let sum: u16 = block.iter().map(|(dy, dx)| u16::from(plane[[2 * y + dy, 2 * x + dx]])).sum();
                *out = (sum / 4) as u8;
            }
        }
    }
}

/// One line that says which classes have no sample in which part of the data; `None` when every part has all of them. `parts`
/// are named as in "no image of 3 for training".
pub fn missing_line(parts: &[(&str, &Dataset)]) -> Option<String> {
    const SHOWN: usize = 10;
    let missing: Vec<String> = parts
        .iter()
        .filter_map(|(part, data)| {
            let names = data.missing_classes();
            let more = match names.len() {
                0 => return None,
                n if n > SHOWN => format!(" and {} more", n - SHOWN),
                _ => String::new(),
            };
            Some(format!("no image of {}{more} for {part}", names[..names.len().min(SHOWN)].join(", ")))
        })
        .collect();
    (!missing.is_empty()).then(|| format!("classes are missing: {}", missing.join("; ")))
}

/// "0", "1", ... for `n` classes that have no other names.
pub fn numbered_classes(n: usize) -> Vec<String> {
    (0..n).map(|class| class.to_string()).collect()
}
