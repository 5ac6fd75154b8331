//! Check of downloads: against a server of this machine with every fault, without a network, behind a proxy, killed in the middle.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::Ordering,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use byhand_datasets::{
    Sources,
    source::{self, fetch},
};

use super::{
    Outcome,
    fault_server::{Manner, Published},
    program::program,
    small::Chance,
};

/// The longest that any of these may take.
const LONGEST: Duration = Duration::from_secs(10);

pub fn downloads(kills: usize) -> Result<Outcome> {
    let tiny = Published::tiny();
    let mut failures = Vec::new();
    let faults = faults(&tiny, &mut failures)?;
    at_once(&tiny, &mut failures)?;
    let told = if cfg!(unix) {
        from_outside(&tiny, kills, &mut failures)?;
        let killed = processes(&tiny, kills, &mut failures)?;
        format!(" and two programs, {killed} killed, a proxy, no network")
    } else {
        String::new()
    };
    Ok(Outcome::of(
        format!(
            "{faults} faults alone and before a good mirror, four at once{told}: {} wrong",
            failures.len()
        ),
        &failures,
    ))
}

fn sources(cache: &Path, mirrors: &[&str]) -> Sources {
    Sources {
        cache_dir: Some(cache.into()),
        download: true,
        mirrors: Some(mirrors.iter().map(|&mirror| mirror.into()).collect()),
        deadline: Duration::from_secs(2),
        connect_timeout: Duration::from_millis(500),
        ..Sources::default()
    }
}

/// The files of a cache and their bytes, but for the lock.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.ends_with(".lock") {
            files.insert(path.clone(), fs::read(path)?);
        }
    }
    Ok(files)
}

/// Each fault, where one file of four is missing: nothing of it is taken, the three stay, and the next mirror is asked.
fn faults(tiny: &Published, failures: &mut Vec<String>) -> Result<usize> {
    let (good, _) = tiny.serve(Manner::Good)?;
    let port = good.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    let folder = tempfile::tempdir()?;
    let whole = fetch(&tiny.set, &sources(folder.path(), &[&good]), &mut |_| ())?;
    let all = files(&whole)?;
    let missing = all.keys().next().context("the cache has files")?.clone();
    let three: BTreeMap<_, _> = all.clone().into_iter().skip(1).collect();
    let faults = Manner::BAD.into_iter().chain([Manner::Stall, Manner::Slow]);
    let count = faults.clone().count();
    for manner in faults {
        let (bad, _) = tiny.serve(manner)?;
        fs::remove_file(&missing)?;
        let begun = Instant::now();
        match fetch(&tiny.set, &sources(folder.path(), &[&bad]), &mut |_| ()) {
            Ok(_) => failures.push(format!("{manner:?}: it was accepted")),
            Err(error) if !error.to_string().contains(&bad) => failures.push(format!("{manner:?}: {error}")),
            Err(_) => {}
        }
        if begun.elapsed() > LONGEST || files(&whole)? != three {
            failures.push(format!("{manner:?}: after {:?}, other files are there", begun.elapsed()));
        }
        // A slow mirror may use up the time that there is for all.
        let next = fetch(&tiny.set, &sources(folder.path(), &[&bad, &good]), &mut |_| ());
        if manner != Manner::Slow && (next.is_err() || files(&whole)? != all) {
            failures.push(format!("{manner:?}: the next mirror was not asked"));
        }
        fetch(&tiny.set, &sources(folder.path(), &[&good]), &mut |_| ())?;
    }
    for manner in [Manner::Encoded, Manner::Elsewhere(port.context("a port")?)] {
        let (mirror, _) = tiny.serve(manner)?;
        fs::remove_file(&missing)?;
        let found = fetch(&tiny.set, &sources(folder.path(), &[&mirror]), &mut |_| ());
        if let Err(error) = found {
            failures.push(format!("{manner:?}: {error}"));
            fs::write(&missing, "")?;
        }
    }
    Ok(count)
}

/// Four at once, over what a writer left that was killed: each file is fetched once.
fn at_once(tiny: &Published, failures: &mut Vec<String>) -> Result<()> {
    let (good, requests) = tiny.serve(Manner::Good)?;
    let cache = tempfile::tempdir()?;
    let folder = cache.path().join(tiny.set.id);
    fs::create_dir(&folder)?;
    fs::write(folder.join(".unfinished-0"), b"half")?;
    let sources = Sources { deadline: LONGEST, ..sources(cache.path(), &[&good]) };
    let wrong = thread::scope(|scope| {
        let all = [(); 4].map(|()| scope.spawn(|| fetch(&tiny.set, &sources, &mut |_| ()).is_err()));
        all.into_iter().map(|one| usize::from(one.join().unwrap_or(true))).sum::<usize>()
    });
    let (found, requests) = (files(&folder)?.len(), requests.load(Ordering::SeqCst));
    if (wrong, found, requests) != (0, 4, 4) {
        failures.push(format!("four at once: {wrong} failed, {found} files, {requests} requests"));
    }
    source::load_set(&tiny.set, &sources, &mut |_| ())?;
    Ok(())
}

/// The program that [`processes`] starts and kills: it fetches as `data fetch` does, but a set that a server of this machine has.
pub fn fetch_tiny(mirror: &str, cache: &Path) -> Result<()> {
    let sources = Sources { deadline: LONGEST, ..sources(cache, &[mirror]) };
    fetch(&Published::tiny().set, &sources, &mut |_| ())?;
    Ok(())
}

/// Programs that fetch a whole set: after a kill at any moment the next one completes it and leaves nothing else, and of two at once each
/// file is fetched by one. Gives how many were killed before they had all.
fn processes(tiny: &Published, kills: usize, failures: &mut Vec<String>) -> Result<usize> {
    let (mirror, requests) = tiny.serve(Manner::Pieces)?;
    let root = tempfile::tempdir()?;
    let start = |cache: &Path| -> Result<Child> {
        Ok(program(&["verify", "--fetch-tiny", &mirror])?.arg(cache).spawn()?)
    };
    let found = |cache: &Path| files(&cache.join(tiny.set.id)).unwrap_or_default();
    let is_whole = |cache: &Path| {
        let path = |name: &str| cache.join(tiny.set.id).join(name.trim_start_matches('/'));
        let files = tiny.files.iter().map(|(name, bytes)| (path(name), bytes.clone()));
        found(cache) == files.collect()
    };
    let has_begun = |cache: &Path, running: &mut Child| -> Result<()> {
        while found(cache).is_empty() {
            ensure!(running.try_wait()?.is_none(), "the download ended by itself");
            sleep(Duration::from_millis(2));
        }
        Ok(())
    };
    let mut ends_whole = |running: Child, cache: &Path, what: &str| -> Result<()> {
        let output = running.wait_with_output()?;
        if !(output.status.success() && is_whole(cache)) {
            let told = String::from_utf8_lossy(&output.stderr);
            let left: Vec<_> = found(cache).into_keys().collect();
            failures.push(format!("{what}: {}, {} is there: {left:?}", output.status, told.trim()));
        }
        Ok(())
    };

    let whole = root.path().join("whole");
    let mut running = start(&whole)?;
    has_begun(&whole, &mut running)?;
    let begun = Instant::now();
    ends_whole(running, &whole, "alone")?;
    let takes = begun.elapsed();

    let (mut chance, mut killed) = (Chance::new(9), 0);
    for kill in 0..kills {
        let cache = root.path().join(format!("killed-{kill}"));
        let mut running = start(&cache)?;
        has_begun(&cache, &mut running)?;
        sleep(takes * chance.below(100) as u32 / 100);
        running.kill()?;
        running.wait()?;
        killed += usize::from(!is_whole(&cache));
        ends_whole(start(&cache)?, &cache, &format!("after kill {kill} of the program"))?;
    }

    let two = root.path().join("two");
    let before = requests.load(Ordering::SeqCst);
    let both = [start(&two)?, start(&two)?];
    both.into_iter().try_for_each(|one| ends_whole(one, &two, "two at once"))?;
    let asked = requests.load(Ordering::SeqCst) - before;

    // Who waits for another that is killed goes on in its place.
    let heir = root.path().join("heir");
    let mut first = start(&heir)?;
    has_begun(&heir, &mut first)?;
    let second = start(&heir)?;
    sleep(takes / 4);
    first.kill()?;
    first.wait()?;
    ends_whole(second, &heir, "two at once, one killed")?;
    if asked != tiny.files.len() {
        failures.push(format!("two at once: {asked} requests for {} files", tiny.files.len()));
    }
    Ok(killed)
}

/// The program, whose mirrors are the catalogue's: it reaches none, then a proxy that says it is the one without TLS.
fn from_outside(tiny: &Published, kills: usize, failures: &mut Vec<String>) -> Result<()> {
    let home = tempfile::tempdir()?;
    let fetching = |proxy: &str| -> Result<Command> {
        let mut command = program(&["data", "fetch", "fashion-mnist"])?;
        command.envs([("HOME", home.path()), ("XDG_CACHE_HOME", &home.path().join("cache"))]);
        command.env_remove("ALL_PROXY").env("HTTPS_PROXY", proxy);
        Ok(command)
    };
    let left = || -> Result<Vec<PathBuf>> {
        let caches =
            ["cache", "Library/Caches"].map(|name| home.path().join(name).join("byhand/fashion-mnist"));
        let cache = caches.into_iter().find(|cache| cache.is_dir());
        Ok(cache.map(|cache| files(&cache)).transpose()?.unwrap_or_default().into_keys().collect())
    };
    // A port of this machine on which nothing listens any more, and a proxy that has other files under the right names.
    let nobody = format!("http://{}/", TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let (proxy, asked) = tiny.serve(Manner::Endless)?;
    for (name, proxy) in [("no network", &nobody), ("a proxy", &proxy)] {
        let begun = Instant::now();
        let output = fetching(proxy)?.output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(1) || !told.contains("cannot download") || begun.elapsed() > LONGEST {
            failures.push(format!("{name}: {} after {:?}: {told}", output.status, begun.elapsed()));
        }
        ensure!(left()?.is_empty(), "{name} leaves {:?}", left()?);
    }
    if asked.load(Ordering::SeqCst) < 3 {
        failures.push("HTTPS_PROXY is not asked for every mirror".to_string());
    }
    let (slow, _) = tiny.serve(Manner::Slow)?;
    let mut chance = Chance::new(8);
    for kill in 0..kills {
        let mut running = fetching(&slow)?.spawn()?;
        while left()?.is_empty() {
            ensure!(running.try_wait()?.is_none(), "the download ended by itself");
            sleep(Duration::from_millis(2));
        }
        sleep(Duration::from_millis(chance.below(100) as u64));
        running.kill()?;
        running.wait()?;
        let output = fetching(&proxy)?.output()?;
        if output.status.code() != Some(1) || !left()?.is_empty() {
            failures.push(format!(
                "kill {kill}: the next download ended with {}, and {:?} is left",
                output.status,
                left()?
            ));
        }
    }
    Ok(())
}
