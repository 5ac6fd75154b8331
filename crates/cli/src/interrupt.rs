//! Signals that ask a run to end: Ctrl-C (SIGINT), SIGTERM, SIGHUP. The first one asks, the second one kills.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::{Context, Result};
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Says whether somebody asked to stop. Clones share the answer.
#[derive(Clone)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens from now on, once per process.
    pub fn listen() -> Result<Self> {
        let interrupt = Self { asked: Arc::default(), signal: Arc::default() };
        let signals = [
            SIGINT,
            SIGTERM,
            #[cfg(unix)]
            SIGHUP,
        ];
        for signal in signals.into_iter().filter(|signal| !is_ignored(*signal)) {
            interrupt.listen_to(signal).with_context(|| format!("cannot listen for signal {signal}"))?;
        }
        Ok(interrupt)
    }

    /// What is done at a signal, in this order: the first one finds that nothing was asked yet, the second one ends the process.
    fn listen_to(&self, signal: i32) -> std::io::Result<()> {
        flag::register_conditional_shutdown(signal, code(signal as usize), Arc::clone(&self.asked))?;
        flag::register_usize(signal, Arc::clone(&self.signal), signal as usize)?;
        flag::register(signal, Arc::clone(&self.asked))?;
        Ok(())
    }

    /// Whether a signal came.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// The same, for who looks at it while they work.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// The exit code that tells which signal came: 130 for Ctrl-C.
    pub fn code(&self) -> u8 {
        code(self.signal.load(Ordering::SeqCst)) as u8
    }
}

/// As a shell tells the end of a program by a signal.
fn code(signal: usize) -> i32 {
    128 + signal as i32
}

/// Whether the program was started to outlive its terminal, as by `nohup`, and this is the signal of the terminal's end. (A
/// shell script lets what it starts with `&` ignore Ctrl-C too; who sends that signal to it all the same means it.)
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    signal == SIGHUP && ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(not(unix))]
fn is_ignored(_: i32) -> bool {
    false
}
