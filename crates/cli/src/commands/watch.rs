//! `byhand watch`: the report of a run while it trains, served to this machine alone.
//!
//! The page is made anew when the run has written something, and every browser that shows it is told (server-sent events).

use std::path::PathBuf;

use clap::Args;

use crate::past_run::LookArgs;

/// Options of `watch`.
#[derive(Args)]
#[command(after_help = "Examples:
  # in one terminal
  byhand train-cnn --epochs 20 --out runs/long
  # in another, and http://127.0.0.1:8787/ in a browser
  byhand watch runs/long

The run may still have to begin. The page is made again when there is a new checkpoint or epoch, but takes no more than a tenth of the \
time, so that training is not held up. It is served on 127.0.0.1 alone. Ctrl-C ends it.")]
pub struct Options {
    /// A run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The port on 127.0.0.1; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 8787)]
    port: u16,
    #[command(flatten)]
    look: LookArgs,
}

#[cfg(feature = "live")]
pub use serve::run;

#[cfg(feature = "live")]
mod serve {
    use std::{
        io::{self, Write},
        path::{Path, PathBuf},
        sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
        thread,
        time::{Duration, Instant, SystemTime},
    };

    use anyhow::{Result, anyhow};
    use byhand_report::waiting_page;
    use serde_json::json;
    use tiny_http::{Header, Method, Request, Response, Server};

    use super::Options;
    use crate::{
        exit::{FAILED, coded, must_exist, usage},
        output::Output,
        past_run::PastRun,
        reporting::name_of,
        run_folder::written_in,
    };

    /// How often the folder is looked at.
    const EVERY: Duration = Duration::from_millis(300);
    /// Making the page takes at most one part in so many of the time.
    const SHARE: u32 = 10;
    /// Browsers that are told of news at a time.
    const LISTENERS: usize = 16;

    /// Serves until the process is ended.
    pub fn run(options: &Options, output: &Output) -> Result<()> {
        let run = &options.run;
        if run.exists() && !run.is_dir() {
            return Err(usage(format!("{}: expected a run folder, found a file", run.display())));
        }
        if !run.exists() {
            // The folder of a run that is about to begin lies in one that is there.
            let parent =
                run.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            must_exist(parent, "a run folder, or one in which a run is about to begin")?;
        }
        let server = Server::http(("127.0.0.1", options.port)).map_err(|error| {
            usage(format!("--port {}: {error}; expected a port that is free (0 takes one)", options.port))
        })?;
        let port = server.server_addr().to_ip().map_or(options.port, |address| address.port());
        let shown = Arc::new(Shown::default());
        shown.show(waiting(run, "The run has not written a checkpoint yet."));
        output.print(format!("watching {} at http://127.0.0.1:{port}/ (Ctrl-C ends it)", run.display()));
        output.event(
            "serving",
            json!({"address": format!("http://127.0.0.1:{port}/"), "run": run.to_string_lossy()}),
        );
        let answering = {
            let shown = Arc::clone(&shown);
            thread::spawn(move || {
                for request in server.incoming_requests() {
                    answer(request, port, &shown);
                }
            })
        };
        let mut watched = Watched { past: None, seen: Vec::new() };
        while !answering.is_finished() {
            let begun = Instant::now();
            if let Some(page) = watched.news(options) {
                shown.show(page);
            }
            thread::sleep(EVERY.max(SHARE * begun.elapsed()));
        }
        Err(coded(FAILED, "the server on 127.0.0.1 ended"))
    }

    /// What is known of the run.
    struct Watched {
        past: Option<PastRun>,
        /// The files and when they were written, as of the last page.
        seen: Vec<(PathBuf, SystemTime, u64)>,
    }

    impl Watched {
        /// A page, if there is something new.
        fn news(&mut self, options: &Options) -> Option<String> {
            let now = written_in(&options.run);
            if now.is_empty() || now == self.seen {
                return None;
            }
            self.seen = now;
            // Files may be half there: the next look finds them whole.
            Some(self.page(options).unwrap_or_else(|error| waiting(&options.run, &format!("{error:#}"))))
        }

        fn page(&mut self, options: &Options) -> Result<String> {
            // Another run may have begun in the folder.
            let is_same = |past: &PastRun| past.is_of(&options.run);
            if !self.past.as_ref().is_some_and(is_same) {
                self.past = Some(PastRun::read(&options.run, &options.look, &Output::quiet())?);
            }
            let past = self.past.as_ref().ok_or_else(|| anyhow!("no run"))?;
            let moment = past.look(&options.look, &Output::quiet())?;
            past.page(&moment, true)
        }
    }

    /// A page that waits.
    fn waiting(run: &Path, why: &str) -> String {
        waiting_page(&format!("byhand: {}", name_of(run)), why)
    }

    /// The page, and how many there were before.
    #[derive(Default)]
    struct Shown {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct State {
        page: String,
        version: u64,
        listeners: usize,
    }

    impl Shown {
        fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn show(&self, page: String) {
            let mut state = self.state();
            state.page = page;
            state.version += 1;
            self.changed.notify_all();
        }
    }

    fn answer(request: Request, port: u16, shown: &Arc<Shown>) {
        let header =
            |name: &'static str, value: &str| Header::from_bytes(name, value).expect("a constant header");
        let host = request
            .headers()
            .iter()
            .find(|header| header.field.equiv("Host"))
            .map(|header| header.value.as_str().to_string());
        let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        // A page from elsewhere may not read this one under a name of its own.
        let is_ours = host.is_some_and(|host| ours.contains(&host));
        let result = match (is_ours, request.method(), request.url()) {
            (false, ..) => request.respond(Response::from_string("not for you\n").with_status_code(403)),
            (_, Method::Get, "/") => {
                let page = shown.state().page.clone();
                let response = Response::from_string(page)
                    .with_header(header("Content-Type", "text/html; charset=utf-8"));
                request.respond(response.with_header(header("Cache-Control", "no-store")))
            }
            (_, Method::Get, "/events") => {
                let mut state = shown.state();
                if state.listeners >= LISTENERS {
                    drop(state);
                    request.respond(Response::from_string("too many are listening\n").with_status_code(503))
                } else {
                    state.listeners += 1;
                    drop(state);
                    let shown = Arc::clone(shown);
                    thread::spawn(move || {
                        // Whoever went away is told nothing.
                        let _ = tell(request.into_writer(), &shown);
                        shown.state().listeners -= 1;
                    });
                    Ok(())
                }
            }
            _ => request.respond(Response::from_string("only / is here\n").with_status_code(404)),
        };
        // A browser that went away is no failure of ours.
        drop(result);
    }

    /// Tells a browser whenever there is another page. A comment now and then finds out whether it is still there.
    fn tell(mut writer: Box<dyn Write + Send>, shown: &Shown) -> io::Result<()> {
        const STILL_THERE: Duration = Duration::from_secs(15);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
        writer.write_all(head.as_bytes())?;
        writer.flush()?;
        let mut told = shown.state().version;
        loop {
            let state = shown.state();
            let waited = shown.changed.wait_timeout_while(state, STILL_THERE, |state| state.version == told);
            let version = waited.unwrap_or_else(PoisonError::into_inner).0.version;
            let message =
                if version == told { ": still here\n\n".to_string() } else { format!("data: {version}\n\n") };
            told = version;
            writer.write_all(message.as_bytes())?;
            writer.flush()?;
        }
    }
}
