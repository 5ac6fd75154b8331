#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod chart;
mod compare;
mod page;
pub mod picture;
mod report;
mod run;
mod statistics;
#[cfg(feature = "tensorboard")]
pub mod tensorboard;
mod tensors;

pub use compare::{Compared, Comparison, compare, differences, pairs, probability};
pub use page::{page, waiting_page};
pub use report::{filter_sheet, report};
pub use run::{Epoch, Run, Timing};
pub use statistics::{ClassFigures, class_figures, extremes, grouped, mcnemar, mean, std, wilson};
pub use tensors::{Recorder, Spread, TensorRecord};
