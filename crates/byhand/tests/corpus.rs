//! The fuzz targets on their committed corpus, and on changes of it: no reader panics or accepts what it should not.

// The targets take bytes as a fuzzer gives them; the file is that of the package for fuzzers.
#[allow(unreachable_pub, reason = "public for fuzzers")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

/// Takes any bytes.
type Target = fn(&[u8]);

/// Changes of each file: the bits of its first bytes, where headers are, and cuts.
const FLIPPED: usize = 48;

#[test]
fn the_corpus_is_read_without_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let targets: [(&str, Target); 5] = [
        ("idx", targets::idx),
        ("model", targets::model),
        ("checkpoint", targets::checkpoint),
        ("spec", targets::spec),
        ("settings", targets::settings),
    ];
    for (name, target) in targets {
        let files = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<Vec<u8>> = files.map(|path| fs::read(path).unwrap()).collect();
        assert!(files.len() >= 5, "{name} has a corpus");
        for bytes in files {
            target(&bytes);
            for at in 0..bytes.len().min(FLIPPED) {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    target(&changed);
                }
            }
            for cut in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                target(&bytes[..cut]);
            }
        }
    }
}
