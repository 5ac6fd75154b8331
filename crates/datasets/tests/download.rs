//! Downloads, against a server on this machine: good, bad, short, slow and absent mirrors.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use byhand_datasets::catalogue::{File, MNIST, Set};
use byhand_datasets::digits::{self, Part};
use byhand_datasets::{Data, Error, Origin, Sources, idx, load, source};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tempfile::{TempDir, tempdir};

/// A data set like the catalogue's, but small: the files' gzipped bytes, and what the catalogue would say of them.
struct Published {
    set: Set,
    files: Vec<(String, Vec<u8>)>,
}

fn published() -> Published {
    let mut set = MNIST;
    set.name = "Tiny";
    set.id = "tiny";
    set.mirrors = &[];
    let mut files = Vec::new();
    for (part, n, first) in [(Part::Train, 300, 0), (Part::Test, 200, 2)] {
        let data = digits::generate(part, n, 9);
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        idx::write_images(&mut images, data.images()).unwrap();
        idx::write_labels(&mut labels, data.labels()).unwrap();
        for (k, bytes) in [(first, images), (first + 1, labels)] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            let gz = encoder.finish().unwrap();
            let file = &mut set.files[k];
            *file = File {
                dims: if k == first { vec![n, 28, 28] } else { vec![n] }.leak(),
                gz_len: gz.len() as u64,
                gz_sha256: sha256(&gz),
                idx_sha256: Some(sha256(&bytes)),
                ..*file
            };
            files.push((format!("/{}.gz", file.name), gz));
        }
    }
    Published { set, files }
}

fn sha256(bytes: &[u8]) -> &'static str {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>().leak()
}

/// How a server answers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Manner {
    Good,
    /// One byte of the body is wrong.
    Corrupt,
    /// Promises all, sends half, hangs up.
    Short,
    /// Says nothing of a length and sends more than there is.
    Endless,
    /// A byte at a time.
    Slow,
    /// Says nothing at all.
    Stall,
    /// Hangs up before it says anything.
    Reset,
    /// Sends a page for people with status 200, as a captive portal does.
    Page,
    /// The page, made as long as the file.
    LongPage,
    /// Another file of the set under this name.
    Other,
    /// Sends to itself again and again.
    Circle,
    Status(u16),
}

/// All that are not good, and are so at once.
const BAD: [Manner; 13] = [
    Manner::Corrupt,
    Manner::Short,
    Manner::Endless,
    Manner::Reset,
    Manner::Page,
    Manner::LongPage,
    Manner::Other,
    Manner::Circle,
    Manner::Status(403),
    Manner::Status(404),
    Manner::Status(500),
    Manner::Status(503),
    Manner::Status(204),
];

/// A server on this machine: its address, and how many requests it has had. It ends with the test program.
fn serve(published: &Published, manner: Manner) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let (files, count) = (published.files.clone(), requests.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            // A client that hangs up in the middle is part of the tests.
            let _ = answer(stream.unwrap(), &files, manner);
        }
    });
    (address, requests)
}

fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>)], manner: Manner) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    for line in lines.by_ref() {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap();
    let place = files.iter().position(|(name, _)| name == path);
    let (place, status) = match (place, manner) {
        (Some(place), manner) if !matches!(manner, Manner::Status(_)) => (place, 200),
        (_, Manner::Status(status)) => (0, status),
        _ => (0, 404),
    };
    match manner {
        Manner::Reset => return Ok(()),
        Manner::Stall => {
            thread::sleep(Duration::from_secs(5));
            return Ok(());
        }
        Manner::Circle => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return stream.write_all(head.as_bytes());
        }
        _ if status != 200 => {
            return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        _ => {}
    }
    let mut body = files[place].1.clone();
    match manner {
        Manner::Page => body = b"<html>Please log in</html>".into(),
        Manner::LongPage => {
            body = b"<html>Please log in</html>".iter().copied().cycle().take(body.len()).collect()
        }
        Manner::Other => body = files[(place + 1) % files.len()].1.clone(),
        _ => {}
    }
    let length = match manner {
        Manner::Endless => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    write!(stream, "HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n")?;
    match manner {
        Manner::Corrupt => body[20] ^= 1,
        Manner::Short => body.truncate(body.len() / 2),
        Manner::Endless => body.extend([0; 100_000]),
        _ => {}
    }
    if manner == Manner::Slow {
        // Not for ever, if the client should fail to give up.
        for byte in body.iter().take(100) {
            stream.write_all(&[*byte])?;
            thread::sleep(Duration::from_millis(50));
        }
        return Ok(());
    }
    stream.write_all(&body)
}

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
    let published = published();
    let (mirror, requests) = serve(&published, Manner::Good);
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
    let published = published();
    for manner in BAD {
        let (mirror, _) = serve(&published, manner);
        let cache = tempdir().unwrap();
        let begun = Instant::now();
        let error =
            source::fetch(&published.set, &sources(&cache, &[&mirror]), &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains(&mirror) && !error.contains('\n'), "{manner:?}: {error}");
        assert!(cached(&cache).is_empty(), "{manner:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{manner:?}");
    }
    // One that says nothing is given up as one that takes no call, and the next is asked.
    let (stall, _) = serve(&published, Manner::Stall);
    let (good, _) = serve(&published, Manner::Good);
    let cache = tempdir().unwrap();
    let sources =
        Sources { connect_timeout: Duration::from_millis(200), ..sources(&cache, &[&stall, &good]) };
    let begun = Instant::now();
    source::fetch(&published.set, &sources, &mut |_| ()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// Two at once into one cache: one brings the files, the other waits for them; a writer that was killed is tidied up after.
#[test]
fn two_at_once_fetch_each_file_once() {
    let published = published();
    let (mirror, requests) = serve(&published, Manner::Good);
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
    let published = published();
    let bad = BAD.map(|manner| serve(&published, manner).0);
    let (good, _) = serve(&published, Manner::Good);
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
    let published = published();
    let (good, _) = serve(&published, Manner::Good);
    let bad = [Manner::Corrupt, Manner::Short, Manner::Endless, Manner::Status(404)];
    let bad = bad.map(|manner| serve(&published, manner).0);
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
    let published = published();
    let (slow, _) = serve(&published, Manner::Slow);
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
    let published = published();
    let (good, _) = serve(&published, Manner::Good);
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
