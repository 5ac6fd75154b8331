//! Event files for TensorBoard, written into the run folder while a run trains (`--tensorboard`).

use std::{
    fs,
    fs::File,
    io::{self, BufWriter},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};
use byhand_layers::Network;
use byhand_report::{Epoch, TensorRecord, filter_sheet, tensorboard::Events};
use byhand_trainer::Event;

use crate::{run_folder::BOARD, watcher::Onlooker};

/// An event file.
pub struct Board {
    folder: PathBuf,
    events: Events<BufWriter<File>>,
    network: Network<f32>,
    /// Rows and columns of an image.
    image: (usize, usize),
    /// The sum of the losses since the last number, and how many they are.
    sum: (f64, u32),
    /// Why a number could not be written.
    trouble: Option<io::Error>,
}

impl Board {
    /// Steps of which one number is written.
    const STEPS: u32 = 50;

    /// Begins a file in the folder of a run.
    pub fn open(run: &Path, network: &Network<f32>, image: (usize, usize)) -> Result<Self> {
        let folder = run.join(BOARD);
        let open = || -> io::Result<_> {
            fs::create_dir_all(&folder)?;
            let file = File::create(folder.join(format!("events.out.tfevents.{:.6}.byhand", now())))?;
            let mut events = Events::new(BufWriter::new(file), now())?;
            events.graph(now(), network)?;
            events.flush()?;
            Ok(events)
        };
        let events = open().with_context(|| cannot_write(&folder))?;
        Ok(Self { folder, events, network: network.clone(), image, sum: (0.0, 0), trouble: None })
    }

    fn step(&mut self, step: u64, loss: f64, learning_rate: f64) -> io::Result<()> {
        self.sum = (self.sum.0 + loss, self.sum.1 + 1);
        if self.sum.1 < Self::STEPS {
            return Ok(());
        }
        let loss = self.sum.0 / f64::from(self.sum.1);
        self.sum = (0.0, 0);
        self.events.scalars(now(), step, &[("loss/minibatches", loss), ("learning rate", learning_rate)])
    }

    fn write(&mut self, epoch: &Epoch, tensors: &[TensorRecord], theta: &[f32]) -> io::Result<()> {
        let numbers = [
            ("loss/training", epoch.train_loss),
            ("loss/validation", epoch.validation_loss),
            ("loss/test", epoch.test_loss),
            ("accuracy/training", epoch.train_accuracy),
            ("accuracy/validation", epoch.validation_accuracy),
            ("accuracy/test", epoch.test_accuracy),
            ("images per second", epoch.images_per_second),
        ];
        let known: Vec<(&str, f64)> =
            numbers.into_iter().filter_map(|(name, number)| Some((name, number?))).collect();
        self.events.scalars(now(), epoch.step, &known)?;
        self.events.spreads(now(), epoch.step, tensors)?;
        if let Some(sheet) = filter_sheet(&self.network, theta, self.image) {
            self.events.image(now(), epoch.step, "first filters", sheet.view())?;
        }
        self.events.flush()
    }
}

impl Onlooker for Board {
    fn on(&mut self, event: &Event) -> bool {
        if let (Event::Step { step, loss, learning_rate, .. }, None) = (event, &self.trouble) {
            self.trouble = self.step(*step, *loss, *learning_rate).err();
        }
        false
    }

    fn epoch(&mut self, epoch: &Epoch, tensors: &[TensorRecord], theta: &[f32]) -> Result<()> {
        let written = self.trouble.take().map_or_else(|| self.write(epoch, tensors, theta), Err);
        written.with_context(|| cannot_write(&self.folder))
    }
}

fn cannot_write(folder: &Path) -> String {
    format!("cannot write {}; make room, or leave --tensorboard out", folder.display())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
