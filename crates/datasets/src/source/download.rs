//! Downloads: mirrors in order, bounded in bytes and time, verified before the file takes its place.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use base16ct::lower::encode_string;
use byhand_files::{Lock, NewFile, OS, lock, remove_unfinished};
use sha2::{Digest, Sha256};

use super::{Progress, Sources, verify_gz};
use crate::catalogue::{File, Set};
use crate::error::Error;
use crate::idx;

/// Puts the published `.gz` of `file` at `path`, or leaves what is there untouched and says why no mirror had it.
pub(super) fn download_file(
    set: &Set,
    file: &File,
    path: &Path,
    sources: &Sources,
    deadline: Instant,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    let folder = path.parent().expect("a file in the cache has a folder");
    let unwritable = |e| Error::io(folder.display().to_string(), "write to the cache folder", e);
    fs::create_dir_all(folder).map_err(unwritable)?;
    let _lock = lock_until(folder, deadline).map_err(unwritable)?;
    // Who had it until now may have brought the file.
    if verify_gz(file, path).is_ok() {
        return Ok(());
    }

    let mut failures: Vec<(&str, String)> = Vec::new();
    let published: Vec<String> = set.mirrors.iter().map(|&mirror| mirror.into()).collect();
    for mirror in sources.mirrors.as_ref().unwrap_or(&published) {
        let url = format!("{}/{}.gz", mirror.trim_end_matches('/'), file.name);
        let mut part = NewFile::create(&OS, path).map_err(unwritable)?;
        match receive(&url, file, &mut part, sources.connect_timeout, deadline, progress) {
            Ok(()) => return part.finish().map_err(unwritable),
            Err(reason) => failures.push((mirror, reason)),
        }
    }
    Err(Error::Download { file: file.name.into(), reason: summary(&failures) })
}

/// Takes the cache's folder. Who has waited in vain goes on without: the files are written whole in any case.
fn lock_until(folder: &Path, deadline: Instant) -> std::io::Result<Option<Lock>> {
    while Instant::now() < deadline {
        if let Ok(lock) = lock(folder)? {
            remove_unfinished(&OS, folder);
            return Ok(Some(lock));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(None)
}

/// Why each mirror failed, in one line; what all have in common is said once.
fn summary(failures: &[(&str, String)]) -> String {
    match failures {
        [] => "there is no mirror to ask".into(),
        [(_, first), rest @ ..] if !rest.is_empty() && rest.iter().all(|(_, reason)| reason == first) => {
            let mirrors: Vec<&str> = failures.iter().map(|(mirror, _)| *mirror).collect();
            format!("{first}, at each of {}", mirrors.join(", "))
        }
        _ => failures
            .iter()
            .map(|(mirror, reason)| format!("{mirror}: {reason}"))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

/// One attempt. The reason of a failure is for people.
fn receive(
    url: &str,
    file: &File,
    part: &mut NewFile<'_>,
    connect_timeout: Duration,
    deadline: Instant,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err("the time for downloads is up".into());
    }
    let mut response = agent(url, connect_timeout.min(left), left).get(url).call().map_err(|e| match e {
        ureq::Error::Io(e) => e.to_string(),
        ureq::Error::Timeout(which) => format!("no answer in time ({which})"),
        other => other.to_string(),
    })?;
    if let Some(offered) = response.body().content_length()
        && offered != file.gz_len
    {
        return Err(format!("expected {} bytes, the server offers {offered}", file.gz_len));
    }

    let mut body = response.body_mut().as_reader();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut received = 0;
    loop {
        let n =
            body.read(&mut buffer).map_err(|e| format!("after {received} of {} bytes: {e}", file.gz_len))?;
        if n == 0 {
            break;
        }
        received += n as u64;
        if received > file.gz_len {
            return Err(format!("expected {} bytes, found more", file.gz_len));
        }
        if Instant::now() > deadline {
            return Err(format!("the time for downloads is up after {received} of {} bytes", file.gz_len));
        }
        hasher.update(&buffer[..n]);
        part.write_all(&buffer[..n]).map_err(|e| format!("cannot write it: {e}"))?;
        progress(Progress { file: file.name, url, received, total: file.gz_len });
    }
    if received < file.gz_len {
        return Err(format!("expected {} bytes, found {received}", file.gz_len));
    }
    let found = encode_string(&hasher.finalize());
    if found != file.gz_sha256 {
        return Err(format!("expected SHA-256 {}, found {found}", file.gz_sha256));
    }
    check_inside(file, part).map_err(|e| e.to_string())
}

/// Whom to ask for `url`: the proxy of the environment (`HTTPS_PROXY`, `ALL_PROXY`), if there is one.
fn agent(url: &str, connect_timeout: Duration, left: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        // Who begins with TLS is not sent on without: the hash decides what is accepted, but who listens is nobody's business.
        .https_only(url.starts_with("https://"))
        .timeout_global(Some(left))
        .timeout_resolve(Some(connect_timeout))
        .timeout_connect(Some(connect_timeout))
        // Who has taken the call and says nothing is no better than who does not take it.
        .timeout_recv_response(Some(connect_timeout))
        .user_agent(concat!("byhand-datasets/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// The bytes inside, held against the catalogue's other hash.
fn check_inside(file: &File, part: &NewFile<'_>) -> Result<(), Error> {
    let part = fs::File::open(part.path()).map_err(|e| Error::io(file.name, "read", e))?;
    let idx = idx::read_rank(part, file.name, file.elements(), Some(file.dims.len() as u8))?;
    match file.idx_sha256 {
        Some(expected) if idx.sha256 != expected => Err(idx::format_error(
            file.name,
            0,
            crate::FormatProblem::Hash,
            format!("SHA-256 {expected} of the decompressed bytes"),
            idx.sha256,
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows a redirect asks as for the first address.
    #[test]
    fn a_mirror_with_tls_does_not_send_on_without() {
        let second = Duration::from_secs(1);
        let plain = "http://127.0.0.1:1/";
        let asked = |mirror: &str| agent(mirror, second, second).get(plain).call().unwrap_err();
        assert!(matches!(asked("https://127.0.0.1:1/"), ureq::Error::RequireHttpsOnly(_)));
        assert!(!matches!(asked(plain), ureq::Error::RequireHttpsOnly(_)));
    }
}
