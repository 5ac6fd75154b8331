#![doc = include_str!("../README.md")]
//!
//! # The modules
//!
//! | module | what it does |
//! |---|---|
//! | [`source`] | decides where data comes from: a folder, `BYHAND_DATA`, the cache, a download, the built-in digits; examines files |
//! | [`catalogue`] | what is known of MNIST and Fashion-MNIST: file names, sizes, hashes, mirrors |
//! | [`cifar`] | reads CIFAR-10's binary form over `Read` |
//! | [`idx`] | reads and writes the IDX format over `Read` and `Write` |
//! | [`csv`] | reads tables of pixels, as Kaggle has MNIST |
//! | [`digits`] | draws handwritten-looking digits, deterministic in a seed |
//! | [`dataset`] | [`Dataset`]: bytes and labels in memory; splits, subsets, down-sampling |
//! | [`transform`] | [`Normalize`] (bytes to real numbers) and one-hot labels |
//! | [`preprocessing`] | [`Preprocessing`]: what is done to an image before a network sees it |
//! | [`images`] | [`ImageDim`]: arrays of grey images, and of images in colour |
//! | [`pictures`] | PNG and JPEG files, as colours and as grey levels |
//! | [`batches`] | in which order the samples are visited, a function of (seed, epoch) |
//! | [`unpack`] | bytes to tiles of sixteen lanes: normalising, cropping and shifting on the way |
//! | [`augment`] | random shifts, warps, erasures and mixtures, a function of (seed, step, sample) |
//!
//! # What is absent
//!
//! No thread, no clock except a download's deadline, no printing, no `unsafe`. Only [`source`] touches files or the
//! network. Every random number comes from ChaCha8 keyed by what it is a function of, and what decides a byte uses
//! only IEEE `+ - * /` and square root, so equal seeds give equal bits on every machine.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod augment;
pub mod batches;
pub mod catalogue;
pub mod cifar;
pub mod csv;
pub mod dataset;
pub mod digits;
mod error;
pub mod idx;
pub mod images;
pub mod pictures;
pub mod preprocessing;
mod random;
pub mod source;
pub mod transform;
pub mod unpack;

pub use augment::Augment;
pub use dataset::Dataset;
pub use error::{Error, FormatError, FormatProblem};
pub use images::ImageDim;
pub use preprocessing::Preprocessing;
pub use source::{Data, Loaded, Origin, Reading, Source, Sources, load};
pub use transform::Normalize;
pub use unpack::Crop;
