//! A server on this machine that has the files of a small data set and is faulty in the manner that is asked for, for what downloads.
//!
//! The tests of `byhand-datasets` include this file too.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base16ct::lower::encode_string;
use byhand_datasets::catalogue::{File, MNIST, Set};
use byhand_datasets::digits::{self, Part};
use byhand_datasets::idx;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A data set like those of the catalogue, but small: what the catalogue would say of it, and the files.
pub struct Published {
    pub set: Set,
    /// The path on a server, and the gzipped bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Published {
    /// 300 and 200 of the built-in digits. What a catalogue holds for ever is never given back.
    pub fn tiny() -> Published {
        let mut set = Set { name: "Tiny", id: "tiny", mirrors: &[], ..MNIST };
        let mut files = Vec::new();
        for (part, n, first) in [(Part::Train, 300, 0), (Part::Test, 200, 2)] {
            let data = digits::generate(part, n, 9);
            let (mut images, mut labels) = (Vec::new(), Vec::new());
            idx::write_images(&mut images, data.images()).expect("a vector takes all bytes");
            idx::write_labels(&mut labels, data.labels()).expect("a vector takes all bytes");
            for (k, bytes) in [(first, images), (first + 1, labels)] {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&bytes).expect("a vector takes all bytes");
                let gz = encoder.finish().expect("a vector takes all bytes");
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

    /// Starts a server of the files: its address, and how many requests it has had. It ends with the program.
    pub fn serve(&self, manner: Manner) -> io::Result<(String, Arc<AtomicUsize>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}/", listener.local_addr()?);
        let requests = Arc::new(AtomicUsize::new(0));
        let (files, count) = (self.files.clone(), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up in the middle is part of the tests.
                let _ = stream.and_then(|stream| answer(stream, &files, manner));
            }
        });
        Ok((address, requests))
    }
}

fn sha256(bytes: &[u8]) -> &'static str {
    encode_string(&Sha256::digest(bytes)).leak()
}

/// How a server answers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Manner {
    Good,
    /// Good, and says that the bytes are packed once more, as some servers do of every `.gz`.
    Encoded,
    /// Sends to the good server at this port of this machine.
    Elsewhere(u16),
    /// One byte of the body is wrong.
    Corrupt,
    /// Promises all, sends half, hangs up.
    Short,
    /// Says nothing of a length and sends more than there is.
    Endless,
    /// Good, in pieces with pauses: a file takes a tenth of a second.
    Pieces,
    /// A byte at a time, without a word of a length.
    Slow,
    /// Says nothing at all.
    Stall,
    /// Hangs up before it says anything.
    Reset,
    /// Speaks another protocol.
    Garbage,
    /// Headers without end.
    Headers,
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

impl Manner {
    /// All that are not good, and are so at once.
    pub const BAD: [Manner; 15] = [
        Manner::Corrupt,
        Manner::Short,
        Manner::Endless,
        Manner::Reset,
        Manner::Garbage,
        Manner::Headers,
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
}

/// The first line of a request; the others are read past.
fn request(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first)?;
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(first)
}

fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>)], manner: Manner) -> io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut asked = request(&mut requests)?;
    // A client that takes this server for a proxy is let through to a plain server, which is this one.
    if asked.starts_with("CONNECT") {
        if !asked.contains(":80 ") {
            return stream.write_all(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        asked = request(&mut requests)?;
    }
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let place = files.iter().position(|(name, _)| name == path);
    let (place, status) = match (place, manner) {
        (Some(place), manner) if !matches!(manner, Manner::Status(_)) => (place, 200),
        (_, Manner::Status(status)) => (0, status),
        _ => (0, 404),
    };
    let sent_to = |address: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    match manner {
        Manner::Reset => return Ok(()),
        Manner::Garbage => return stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"),
        Manner::Headers => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            // Not for ever, if the client should fail to give up.
            return (0..1 << 20).try_for_each(|_| stream.write_all(b"Name: value\r\n"));
        }
        Manner::Stall => {
            thread::sleep(Duration::from_secs(5));
            return Ok(());
        }
        Manner::Circle => return stream.write_all(sent_to(path).as_bytes()),
        Manner::Elsewhere(port) => {
            return stream.write_all(sent_to(&format!("http://127.0.0.1:{port}{path}")).as_bytes());
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
    let headers = match manner {
        Manner::Endless | Manner::Slow => String::new(),
        Manner::Encoded => format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", body.len()),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    write!(stream, "HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n")?;
    match manner {
        Manner::Corrupt => body[20] ^= 1,
        Manner::Short => body.truncate(body.len() / 2),
        Manner::Endless => body.extend([0; 100_000]),
        _ => {}
    }
    if manner == Manner::Pieces {
        return body.chunks(body.len() / 20).try_for_each(|piece| {
            thread::sleep(Duration::from_millis(5));
            stream.write_all(piece)
        });
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
