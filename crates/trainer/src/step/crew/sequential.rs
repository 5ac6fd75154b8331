//! A crew of one, where there are no threads to have.

use std::marker::PhantomData;

use crate::error::TrainerError;

/// A step.
pub(crate) struct Awake<'a>(PhantomData<&'a Crew>);

/// A crew of one.
#[derive(Debug)]
pub(crate) struct Crew;

impl Crew {
    pub(crate) fn new(_threads: usize) -> Crew {
        Crew
    }

    pub(crate) fn threads(&self) -> usize {
        1
    }

    pub(crate) fn start(&self) -> Result<(), TrainerError> {
        Ok(())
    }

    pub(crate) fn enter<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        body()
    }

    pub(crate) fn is_inside(&self) -> bool {
        true
    }

    pub(crate) fn call(&self, _helpers: usize, _most_left_out: u32) {}

    pub(crate) fn call_for(&self, _shards: usize, _threads: usize) {}

    pub(crate) fn begin(&self, _stays_awake: bool) -> Awake<'_> {
        Awake(PhantomData)
    }

    pub(crate) fn join(&self, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        a();
        b();
    }

    pub(crate) fn join_after(&self, _shards: usize, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        self.join(a, b);
    }

    pub(crate) fn is_alone(&self) -> bool {
        true
    }

    pub(crate) fn thread(&self) -> usize {
        0
    }
}
