//! Downloads, against a server on this machine: good, bad, short, slow and absent mirrors.

// The check of downloads in `verify` has the same server.
#[allow(unreachable_pub, reason = "public for the other files of verify")]
#[path = "../../../cli/src/commands/verify/fault_server.rs"]
mod fault_server;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use byhand_datasets::digits::{self, Part};
use byhand_datasets::{Data, Error, Origin, Sources, load, source};
use fault_server::{Manner, Published};
use tempfile::{TempDir, tempdir};

fn sources(cache: &TempDir, mirrors: &[&str]) -> Sources {
    Sources {
        cache_dir: Some(cache.path().into()),
        download: true,
        mirrors: Some(mirrors.iter().map(|&mirror| mirror.into()).collect()),
        deadline: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(2),
        digits: (20, 10),
        ..Sources::default()
    }
}

/// Everything in the cache folder of the set but its lock, sorted.
fn cached(cache: &TempDir) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(cache.path().join("tiny")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| !path.ends_with(".lock"));
    names.sort();
    names
}

#[test]
fn a_good_mirror_once_and_then_the_cache() {
    let published = Published::tiny();
    let (mirror, requests) = published.serve(Manner::Good).unwrap();
    let cache = tempdir().unwrap();
    let sources = sources(&cache, &[&mirror]);
    let mut last = None;
    let loaded = source::load_set(&published.set, &sources, &mut |p| {
        assert!(p.received <= p.total);
        last = Some((p.file.to_string(), p.received, p.total));
    })
    .unwrap();
    assert_eq!(loaded.origin, Origin::Download(cache.path().join("tiny")));
    assert_eq!((&loaded.notices[..], loaded.train.name()), (&[][..], "Tiny"));
    assert_eq!((loaded.source.unverified, loaded.source.folder), (false, Some(cache.path().join("tiny"))));
    assert_eq!(loaded.train.images(), digits::generate(Part::Train, 300, 9).images());
    assert_eq!(loaded.test.labels(), digits::generate(Part::Test, 200, 9).labels());
    let (_, size) = (&published.files[3].0, published.files[3].1.len() as u64);
    assert_eq!(last, Some(("t10k-labels-idx1-ubyte".into(), size, size)));
    assert_eq!(requests.load(Ordering::SeqCst), 4);
    assert_eq!(cached(&cache).len(), 4, "nothing but the four files");

    let again = source::load_set(&published.set, &sources, &mut |_| panic!("nothing to download")).unwrap();
    assert_eq!(again.origin, Origin::Cache(cache.path().join("tiny")));
    assert_eq!(again.train, loaded.train);
    assert_eq!(requests.load(Ordering::SeqCst), 4);

    // A damaged file of the cache is fetched anew, the others are not.
    fs::write(&cached(&cache)[0], b"damaged").unwrap();
    source::fetch(&published.set, &sources, &mut |_| ()).unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), 5);
    let again = source::load_set(&published.set, &sources, &mut |_| ()).unwrap();
    assert_eq!(again.test, loaded.test);
}

/// Each fault by itself: nothing of it is accepted or left behind, it is told in one line, and it ends at once.
#[test]
fn every_bad_mirror_alone() {
    let published = Published::tiny();
    for manner in Manner::BAD {
        let (mirror, _) = published.serve(manner).unwrap();
        let cache = tempdir().unwrap();
        let begun = Instant::now();
        let error =
            source::fetch(&published.set, &sources(&cache, &[&mirror]), &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains(&mirror) && !error.contains('\n'), "{manner:?}: {error}");
        assert!(cached(&cache).is_empty(), "{manner:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{manner:?}");
    }
    // One that says nothing is given up as one that takes no call, and the next is asked.
    let (stall, _) = published.serve(Manner::Stall).unwrap();
    let (good, _) = published.serve(Manner::Good).unwrap();
    let cache = tempdir().unwrap();
    let sources =
        Sources { connect_timeout: Duration::from_millis(200), ..sources(&cache, &[&stall, &good]) };
    let begun = Instant::now();
    source::fetch(&published.set, &sources, &mut |_| ()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// A mirror that sends elsewhere is followed, and one that calls a `.gz` packed once more is understood.
#[test]
fn a_good_mirror_with_habits_of_its_own() {
    let published = Published::tiny();
    let (good, requests) = published.serve(Manner::Good).unwrap();
    let port = good.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    for manner in [Manner::Elsewhere(port), Manner::Encoded] {
        let (mirror, _) = published.serve(manner).unwrap();
        let cache = tempdir().unwrap();
        source::fetch(&published.set, &sources(&cache, &[&mirror]), &mut |_| ()).unwrap();
        assert_eq!(cached(&cache).len(), 4, "{manner:?}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}

/// Two at once into one cache: one brings the files, the other waits for them; a writer that was killed is tidied up after.
#[test]
fn two_at_once_fetch_each_file_once() {
    let published = Published::tiny();
    let (mirror, requests) = published.serve(Manner::Good).unwrap();
    let cache = tempdir().unwrap();
    let folder = cache.path().join("tiny");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(".unfinished-0"), b"half").unwrap();
    let sources = sources(&cache, &[&mirror]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| source::fetch(&published.set, &sources, &mut |_| ()).unwrap());
        }
    });
    assert_eq!(requests.load(Ordering::SeqCst), 4);
    assert_eq!(cached(&cache).len(), 4, "the four files and nothing else");
    for (name, bytes) in &published.files {
        assert_eq!(fs::read(folder.join(&name[1..])).unwrap(), *bytes);
    }
}

#[test]
fn a_good_mirror_after_bad_ones() {
    let published = Published::tiny();
    let bad = Manner::BAD.map(|manner| published.serve(manner).unwrap().0);
    let (good, _) = published.serve(Manner::Good).unwrap();
    let mirrors: Vec<&str> = bad.iter().chain([&good]).map(String::as_str).collect();
    let cache = tempdir().unwrap();
    let folder = source::fetch(&published.set, &sources(&cache, &mirrors), &mut |_| ()).unwrap();
    for (name, bytes) in &published.files {
        assert_eq!(fs::read(folder.join(&name[1..])).unwrap(), *bytes);
    }
    assert_eq!(cached(&cache).len(), 4, "nothing of the failed attempts stays");
}

#[test]
fn what_is_wrong_with_each_mirror_is_said_and_good_files_stay() {
    let published = Published::tiny();
    let (good, _) = published.serve(Manner::Good).unwrap();
    let bad = [Manner::Corrupt, Manner::Short, Manner::Endless, Manner::Status(404)];
    let bad = bad.map(|manner| published.serve(manner).unwrap().0);
    let cache = tempdir().unwrap();
    source::fetch(&published.set, &sources(&cache, &[&good]), &mut |_| ()).unwrap();
    let gone = cached(&cache).remove(1);
    fs::remove_file(&gone).unwrap();
    let before: Vec<_> = cached(&cache).iter().map(|path| fs::read(path).unwrap()).collect();

    let sources = sources(&cache, &bad.each_ref().map(String::as_str));
    let e = source::fetch(&published.set, &sources, &mut |_| ()).unwrap_err();
    let text = e.to_string();
    assert!(matches!(e, Error::Download { .. }));
    for words in ["cannot download t10k-labels-idx1-ubyte", "expected SHA-256", "found more", "404"] {
        assert!(text.contains(words), "{words:?} in {text:?}");
    }
    assert!(bad.iter().all(|mirror| text.contains(mirror)), "{text}");
    assert!(!text.contains('\n'));
    assert!(!gone.exists());
    assert_eq!(cached(&cache).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), before);
}

#[test]
fn a_slow_server_meets_the_deadline() {
    let published = Published::tiny();
    let (slow, _) = published.serve(Manner::Slow).unwrap();
    let cache = tempdir().unwrap();
    let sources = Sources { deadline: Duration::from_millis(400), ..sources(&cache, &[&slow, &slow]) };
    let loaded = source::load_set(&published.set, &sources, &mut |_| ()).unwrap();
    assert_eq!(loaded.origin, Origin::Digits { seed: 0 });
    let notice = loaded.notices.concat();
    assert!(
        notice.contains("Tiny is not at hand") && notice.contains("the time for downloads is up"),
        "{notice}"
    );
    assert!(cached(&cache).is_empty());
}

#[test]
fn no_network_means_the_built_in_digits_and_says_so() {
    // A port of this machine on which nothing listens any more.
    let nobody = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let cache = tempdir().unwrap();
    let loaded = load(&Data::Mnist, &sources(&cache, &[&nobody, &nobody]), &mut |_| ()).unwrap();
    assert_eq!(loaded.origin, Origin::Digits { seed: 0 });
    let notice = loaded.notices.concat();
    assert!(
        notice.contains("cannot download train-images-idx3-ubyte") && notice.contains(&nobody),
        "{notice}"
    );
}

#[test]
fn a_cache_that_cannot_be_written() {
    let published = Published::tiny();
    let (good, _) = published.serve(Manner::Good).unwrap();
    let cache = tempdir().unwrap();
    // A file where the folder should be: refused even to root.
    fs::write(cache.path().join("tiny"), b"in the way").unwrap();
    let sources = sources(&cache, &[&good]);
    let e = source::fetch(&published.set, &sources, &mut |_| ()).unwrap_err();
    assert!(e.to_string().contains("cannot write to the cache folder"), "{e}");
    let loaded = source::load_set(&published.set, &sources, &mut |_| ()).unwrap();
    assert!(loaded.notices.concat().contains("cannot write to the cache folder"));
    assert_eq!(fs::read(Path::new(cache.path()).join("tiny")).unwrap(), b"in the way");
}
