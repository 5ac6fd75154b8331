//! Signals that ask a run to end: Ctrl-C (SIGINT), SIGTERM, SIGHUP. The first one asks, the second one kills.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
#[cfg(all(unix, feature = "live"))]
use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    thread,
};

use anyhow::{Context, Result};
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
#[cfg(all(unix, feature = "live"))]
use signal_hook::low_level;
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
        signals().try_for_each(|signal| interrupt.listen_to(signal, &interrupt.asked))?;
        Ok(interrupt)
    }

    /// The same where something is to be put in order before the process ends, such as the terminal: at the second signal a thread does
    /// so. Should that not come to an end, the third signal kills.
    #[cfg(all(unix, feature = "live"))]
    pub fn listen_and_tidy(tidy: fn()) -> Result<Self> {
        let interrupt = Self { asked: Arc::default(), signal: Arc::default() };
        let again = Arc::new(AtomicBool::new(false));
        let (mut ears, mouth) = UnixStream::pair().context("cannot listen for signals")?;
        for signal in signals() {
            interrupt.listen_to(signal, &again)?;
            let mouth = mouth.try_clone().context("cannot listen for signals")?;
            low_level::pipe::register(signal, mouth).with_context(|| cannot_listen(signal))?;
        }
        let signal = Arc::clone(&interrupt.signal);
        thread::spawn(move || {
            // Each signal sends a byte.
            if ears.read_exact(&mut [0; 2]).is_ok() {
                again.store(true, Ordering::SeqCst);
                // Nobody else draws any more.
                let _terminal = io::stderr().lock();
                tidy();
                low_level::exit(code(signal.load(Ordering::SeqCst)));
            }
        });
        Ok(interrupt)
    }

    /// What is done at a signal, in this order: the first one finds that `kills` is not set yet, later ones end the process.
    fn listen_to(&self, signal: i32, kills: &Arc<AtomicBool>) -> Result<()> {
        let register = || {
            flag::register_conditional_shutdown(signal, code(signal as usize), Arc::clone(kills))?;
            flag::register_usize(signal, Arc::clone(&self.signal), signal as usize)?;
            flag::register(signal, Arc::clone(&self.asked))
        };
        register().map(|_| ()).with_context(|| cannot_listen(signal))
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

/// Those that are listened to.
fn signals() -> impl Iterator<Item = i32> {
    let all = [
        SIGINT,
        SIGTERM,
        #[cfg(unix)]
        SIGHUP,
    ];
    all.into_iter().filter(|signal| !is_ignored(*signal))
}

fn cannot_listen(signal: i32) -> String {
    format!("cannot listen for signal {signal}")
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
