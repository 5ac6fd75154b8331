//! What is known of the published data sets: file names, sizes, hashes, mirrors. Plain data.

use crate::error::Error;

/// One published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its name without `.gz`; both data sets use the same four.
    pub name: &'static str,
    /// How people call it, such as "t10k-images".
    pub short: &'static str,
    /// The dimensions in its IDX header.
    pub dims: &'static [usize],
    /// Bytes of the published `.gz`.
    pub gz_len: u64,
    /// SHA-256 of the published `.gz`.
    pub gz_sha256: &'static str,
    /// SHA-256 of the decompressed IDX file. `None` where no trusted source was at hand: the image files of
    /// Fashion-MNIST are then known by their published `.gz` alone.
    pub idx_sha256: Option<&'static str>,
}

impl File {
    /// The number of elements, one byte each.
    pub fn elements(&self) -> u64 {
        self.dims.iter().map(|&d| d as u64).product()
    }
}

/// A published data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// "MNIST".
    pub name: &'static str,
    /// "mnist": the name on a command line and of its folder.
    pub id: &'static str,
    /// Training images, training labels, test images, test labels.
    pub files: [File; 4],
    /// Addresses that end in `/`; a file's name and `.gz` follow. In the order to try, HTTPS first.
    pub mirrors: &'static [&'static str],
    /// What the classes are called.
    pub class_names: [&'static str; 10],
}

/// MNIST: Yann LeCun, Corinna Cortes, Christopher J. C. Burges, "The MNIST database of handwritten digits".
pub static MNIST: Set = Set {
    name: "MNIST",
    id: "mnist",
    files: [
        File {
            gz_len: 9_912_422,
            gz_sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            idx_sha256: Some("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ..TRAIN_IMAGES
        },
        File {
            gz_len: 28_881,
            gz_sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            idx_sha256: Some("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ..TRAIN_LABELS
        },
        File {
            gz_len: 1_648_877,
            gz_sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            idx_sha256: Some("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ..TEST_IMAGES
        },
        File {
            gz_len: 4_542,
            gz_sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            idx_sha256: Some("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
            ..TEST_LABELS
        },
    ],
    mirrors: &[
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ],
    class_names: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
};

/// Fashion-MNIST: Han Xiao, Kashif Rasul, Roland Vollgraf, arXiv:1708.07747 (Zalando SE, MIT licence).
pub static FASHION_MNIST: Set = Set {
    name: "Fashion-MNIST",
    id: "fashion-mnist",
    files: [
        File {
            gz_len: 26_421_880,
            gz_sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ..TRAIN_IMAGES
        },
        File {
            gz_len: 29_515,
            gz_sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            idx_sha256: Some("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            ..TRAIN_LABELS
        },
        File {
            gz_len: 4_422_102,
            gz_sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ..TEST_IMAGES
        },
        File {
            gz_len: 5_148,
            gz_sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            idx_sha256: Some("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
            ..TEST_LABELS
        },
    ],
    mirrors: &[
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        // The authors' own site speaks no HTTPS; the hash decides what is accepted.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ],
    class_names: [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
};

/// Every data set of the catalogue.
pub static SETS: [&Set; 2] = [&MNIST, &FASHION_MNIST];

/// Which published file has this SHA-256, of the decompressed or of the gzipped bytes, in hexadecimal.
pub fn identify(sha256: &str) -> Option<(&'static Set, &'static File)> {
    SETS.iter().find_map(|set| {
        let file = set.files.iter().find(|f| f.idx_sha256 == Some(sha256) || f.gz_sha256 == sha256)?;
        Some((*set, file))
    })
}

impl Set {
    /// "MNIST's t10k-images".
    pub fn file_title(&self, file: &File) -> String {
        format!("{}'s {}", self.name, file.short)
    }

    /// The data set called `id` on a command line.
    ///
    /// # Errors
    /// [`Error::Request`] when there is none.
    pub fn by_id(id: &str) -> Result<&'static Set, Error> {
        SETS.iter().copied().find(|set| set.id == id).ok_or_else(|| {
            Error::Request(format!(
                "expected a data set of the catalogue (mnist, fashion-mnist), found \"{id}\""
            ))
        })
    }
}

const TRAIN_IMAGES: File = blank("train-images-idx3-ubyte", "train-images", &[60_000, 28, 28]);
const TRAIN_LABELS: File = blank("train-labels-idx1-ubyte", "train-labels", &[60_000]);
const TEST_IMAGES: File = blank("t10k-images-idx3-ubyte", "t10k-images", &[10_000, 28, 28]);
const TEST_LABELS: File = blank("t10k-labels-idx1-ubyte", "t10k-labels", &[10_000]);

/// What the two data sets have in common.
const fn blank(name: &'static str, short: &'static str, dims: &'static [usize]) -> File {
    File { name, short, dims, gz_len: 0, gz_sha256: "", idx_sha256: None }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_hash_is_whole_and_names_its_own_file() {
        let mut seen = HashSet::new();
        for set in SETS {
            assert_eq!(Set::by_id(set.id).unwrap(), set);
            assert!(set.mirrors.iter().all(|mirror| mirror.ends_with('/')));
            for file in &set.files {
                for hash in [Some(file.gz_sha256), file.idx_sha256].into_iter().flatten() {
                    assert!(
                        hash.len() == 64 && hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')),
                        "{hash}"
                    );
                    assert!(seen.insert(hash), "{hash} stands twice");
                    assert_eq!(identify(hash), Some((set, file)));
                }
            }
        }
        assert_eq!(MNIST.file_title(&MNIST.files[2]), "MNIST's t10k-images");
        assert_eq!(identify("00"), None);
        let text = Set::by_id("emnist").unwrap_err().to_string();
        assert_eq!(text, "expected a data set of the catalogue (mnist, fashion-mnist), found \"emnist\"");
    }
}
