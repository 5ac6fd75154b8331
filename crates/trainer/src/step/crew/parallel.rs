//! A crew of rayon's threads.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder, Yield};

use crate::error::TrainerError;

/// Looks for work that a thread standing by makes before it sleeps: some 50 microseconds.
const LOOKS: u32 = 1000;

/// Turns of the loop that waits for another thread's half of a join before it is left to rayon, which yields and
/// then sleeps: some 50 microseconds.
const WAITS: u32 = 10_000;

/// Equal halves done alone after one was late: some steps, and at most some hundred. Twice as many each time, and
/// fewer by a sixteenth with each that was in time: one that is late now and then says little about the next.
const LEAST_ALONE: u32 = 16;
const MOST_ALONE: u32 = 4096;

#[derive(Debug)]
pub(crate) struct Crew {
    threads: usize,
    pool: OnceLock<ThreadPool>,
    /// Inside `enter`.
    entered: AtomicBool,
    /// The run is over: those standing by go home.
    over: AtomicBool,
    /// More joins are about to come: somebody stays awake.
    busy: AtomicBool,
    /// Changes with every call.
    calls: AtomicUsize,
    /// Threads that have begun to stand by in this run.
    arrived: AtomicUsize,
    asleep: AtomicUsize,
    sleepers: Mutex<Vec<Thread>>,
    /// Halves of joins that another thread took.
    helped: AtomicUsize,
    helped_before: AtomicUsize,
    /// Calls to leave out before the next, and how many were left out last time.
    patience: AtomicU32,
    patience_before: AtomicU32,
    /// Equal halves to do alone before the next is shared, and how many were done alone last time.
    alone: AtomicU32,
    alone_before: AtomicU32,
}

impl Crew {
    /// A crew of `threads`; 0 means as many as the machine runs at once. Starts none yet.
    pub(crate) fn new(threads: usize) -> Crew {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        Crew {
            threads,
            pool: OnceLock::new(),
            entered: AtomicBool::new(false),
            over: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            sleepers: Mutex::new(Vec::with_capacity(threads)),
            helped: AtomicUsize::new(0),
            helped_before: AtomicUsize::new(0),
            patience: AtomicU32::new(0),
            patience_before: AtomicU32::new(0),
            alone: AtomicU32::new(0),
            alone_before: AtomicU32::new(0),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Starts the threads, unless they are there.
    pub(crate) fn start(&self) -> Result<(), TrainerError> {
        if self.threads > 1 && self.pool.get().is_none() {
            let pool = ThreadPoolBuilder::new()
                .num_threads(self.threads)
                .thread_name(|i| format!("byhand-{i}"))
                .build()
                .map_err(|error| TrainerError::Threads {
                    threads: self.threads,
                    reason: error.to_string(),
                })?;
            // Somebody else may have been faster; then theirs is used.
            let _ = self.pool.set(pool);
        }
        Ok(())
    }

    /// Runs `body` on a thread of the crew, the others standing by. Inside such a body, just runs it.
    pub(crate) fn enter<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        let Some(pool) = self.pool.get().filter(|_| !self.is_inside()) else { return body() };
        pool.install(|| {
            let me = pool.current_thread_index();
            lock(&self.sleepers).clear();
            self.over.store(false, Ordering::SeqCst);
            self.arrived.store(0, Ordering::SeqCst);
            self.entered.store(true, Ordering::SeqCst);
            rayon::scope(|scope| {
                // Leaves even when the body panics: else those standing by would wait for ever.
                let _leave = Leave(self);
                scope.spawn_broadcast(move |_, context| {
                    if Some(context.index()) != me {
                        self.stand_by();
                    }
                });
                // A thread's first look for work allocates; after this, nothing does.
                while self.arrived.load(Ordering::SeqCst) < self.threads - 1 {
                    std::thread::yield_now();
                }
                body()
            })
        })
    }

    /// Whether this thread is one of the crew's.
    pub(crate) fn is_inside(&self) -> bool {
        self.pool.get().is_some_and(|pool| pool.current_thread_index().is_some())
    }

    /// Wakes up to `helpers` threads for joins that are about to come, if help is to be hoped for: after calls
    /// without help, up to `most_left_out` calls do nothing.
    pub(crate) fn call(&self, helpers: usize, most_left_out: u32) {
        if helpers == 0 || !self.entered.load(Ordering::Relaxed) {
            return;
        }
        let helped = self.helped.load(Ordering::Relaxed);
        if helped != self.helped_before.swap(helped, Ordering::Relaxed) {
            self.patience.store(0, Ordering::Relaxed);
            self.patience_before.store(0, Ordering::Relaxed);
        }
        if self.asleep.load(Ordering::SeqCst) == 0 {
            return;
        }
        match self.patience.load(Ordering::Relaxed) {
            0 => {
                let before = self.patience_before.load(Ordering::Relaxed);
                self.patience.store(before, Ordering::Relaxed);
                self.patience_before.store((2 * before + 1).min(most_left_out), Ordering::Relaxed);
                self.wake(helpers);
            }
            left => self.patience.store(left - 1, Ordering::Relaxed),
        }
    }

    /// The same in the middle of a step of so many shards, for `threads`: who had finished with the shards first
    /// may have fallen asleep.
    pub(crate) fn call_for(&self, shards: usize, threads: usize) {
        if shards > 1 || !self.is_alone() {
            self.call(threads - 1, 0);
        }
    }

    /// Begins a step. If it `stays_awake`, more joins are about to come, with pauses between them in which one of
    /// those standing by had better not fall asleep, until the guard is dropped. If all are asleep it waits for
    /// one who was called, for as long as waking up takes: halves that are begun before would be late.
    pub(crate) fn begin(&self, stays_awake: bool) -> Awake<'_> {
        self.busy.store(stays_awake, Ordering::Relaxed);
        let mut waits = 0;
        while stays_awake && self.are_all_asleep() && waits < WAITS {
            spin_loop();
            waits += 1;
        }
        Awake(self)
    }

    /// Whether there is something to come, and this is the last one awake.
    fn is_needed(&self) -> bool {
        self.busy.load(Ordering::Relaxed) && self.asleep.load(Ordering::Relaxed) + 2 >= self.threads
    }

    fn are_all_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) + 1 >= self.threads
    }

    /// Runs both, at the same time if another thread is free, and returns when both are done.
    pub(crate) fn join(&self, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        if !self.entered.load(Ordering::Relaxed) {
            a();
            b();
            return;
        }
        let (mut a, mut b) = (Some(a), Some(b));
        let mut a = || {
            if let Some(a) = a.take() {
                a()
            }
        };
        let mut b = || {
            if let Some(b) = b.take() {
                b()
            }
        };
        self.join_entered(&mut a, &mut b);
    }

    /// [`join`](Crew::join) inside of `enter`. Any two halves are one type here: rayon's join is compiled once, not for each pair.
    fn join_entered(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        let (taken, done) = (AtomicBool::new(false), AtomicBool::new(false));
        rayon::join_context(
            |_| {
                a();
                // The other half is nearly done when it was taken at all: rayon's wait would yield and then sleep.
                let mut waits = 0;
                while taken.load(Ordering::Acquire) && !done.load(Ordering::Acquire) && waits < WAITS {
                    spin_loop();
                    waits += 1;
                }
            },
            |context| {
                if context.migrated() {
                    taken.store(true, Ordering::Release);
                    self.helped.fetch_add(1, Ordering::Relaxed);
                }
                b();
                done.store(true, Ordering::Release);
            },
        );
    }

    /// [`join`](Crew::join) for halves of equal work that come one after the other, as the layers of a small step
    /// do. Where another job has the processor that the other thread is on, waiting for its half would take
    /// longer than doing it: after that has happened, halves are done alone for a while, ever longer.
    #[expect(
        clippy::disallowed_methods,
        reason = "times a half to see whether calling for help pays; no result depends on it"
    )]
    pub(crate) fn join_equal(&self, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        let alone = self.alone.load(Ordering::Relaxed);
        if alone > 0 {
            self.alone.store(alone - 1, Ordering::Relaxed);
            a();
            b();
            return;
        }
        let start = Instant::now();
        let mut mine = Duration::ZERO;
        self.join(
            || {
                a();
                mine = start.elapsed();
            },
            b,
        );
        self.remember(start.elapsed() > 3 * mine);
    }

    /// Decides how many of the next equal halves are done alone, after one that was late or in time.
    pub(super) fn remember(&self, is_late: bool) {
        let before = self.alone_before.load(Ordering::Relaxed);
        let next =
            if is_late { (2 * before).clamp(LEAST_ALONE, MOST_ALONE) } else { before - before.div_ceil(16) };
        self.alone_before.store(next, Ordering::Relaxed);
        self.alone.store(if is_late { next } else { 0 }, Ordering::Relaxed);
    }

    /// The one or the other, after a part of the step with so many shards: if they were several the other thread
    /// is there, or has been called, and halves are long.
    pub(crate) fn join_after(&self, shards: usize, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        match shards {
            1 => self.join_equal(a, b),
            _ => self.join(a, b),
        }
    }

    /// Whether the next equal halves are done alone: then nobody need be called for them.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed) > 0
    }

    /// The number of the thread this is called on, below [`threads`](Crew::threads).
    pub(crate) fn thread(&self) -> usize {
        self.pool.get().and_then(ThreadPool::current_thread_index).unwrap_or(0)
    }

    /// Halves of joins that another thread took.
    #[cfg(test)]
    pub(super) fn helped(&self) -> usize {
        self.helped.load(Ordering::SeqCst)
    }

    /// Takes over halves of joins until the run is over.
    fn stand_by(&self) {
        lock(&self.sleepers).push(std::thread::current());
        rayon::yield_now();
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mut looks = 0;
        let mut calls = self.calls.load(Ordering::SeqCst);
        while !self.over.load(Ordering::SeqCst) {
            if rayon::yield_now() == Some(Yield::Executed) {
                looks = 0;
                continue;
            }
            spin_loop();
            looks = (looks + 1).min(LOOKS + 1);
            if looks > LOOKS && !self.is_needed() {
                // Announced before the last look at `calls`: a caller either sees this sleeper or is seen.
                self.asleep.fetch_add(1, Ordering::SeqCst);
                while self.calls.load(Ordering::SeqCst) == calls && !self.over.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
                calls = self.calls.load(Ordering::SeqCst);
                looks = 0;
            }
        }
    }

    fn wake(&self, most: usize) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        for sleeper in lock(&self.sleepers).iter().take(most) {
            sleeper.unpark();
        }
    }
}

/// A step, in which somebody stays awake.
pub(crate) struct Awake<'a>(&'a Crew);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// Ends a run when dropped.
struct Leave<'a>(&'a Crew);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.entered.store(false, Ordering::SeqCst);
        self.0.over.store(true, Ordering::SeqCst);
        self.0.wake(usize::MAX);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
