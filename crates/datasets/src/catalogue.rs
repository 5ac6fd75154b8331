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
    pub class_names: &'static [&'static str],
    /// What the names of its files begin with; nothing where they are called as MNIST's.
    pub prefix: &'static str,
    /// The label of the first class.
    pub first_label: u16,
    /// Whether its files have rows and columns of the images exchanged.
    pub transpose: bool,
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
    class_names: DIGITS,
    ..AS_MNIST
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
    class_names: &[
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
    ..AS_MNIST
};

/// Kuzushiji-MNIST: Tarin Clanuwat et al., arXiv:1812.01718 (CODH, CC BY-SA 4.0).
pub static KMNIST: Set = Set {
    name: "KMNIST",
    id: "kmnist",
    files: [
        File {
            gz_len: 18_165_135,
            gz_sha256: "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            ..TRAIN_IMAGES
        },
        File {
            gz_len: 29_497,
            gz_sha256: "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            ..TRAIN_LABELS
        },
        File {
            gz_len: 3_041_136,
            gz_sha256: "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            ..TEST_IMAGES
        },
        File {
            gz_len: 5_120,
            gz_sha256: "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ..TEST_LABELS
        },
    ],
    mirrors: &[
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ],
    class_names: &["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    ..AS_MNIST
};

/// QMNIST: Chhavi Yadav and Leon Bottou, arXiv:1905.10498. Its training images are MNIST's, its 60,000 test images all that MNIST's were
/// chosen from.
pub static QMNIST: Set = Set {
    name: "QMNIST",
    id: "qmnist",
    files: [
        File {
            gz_len: 9_704_059,
            gz_sha256: "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d",
            ..blank("qmnist-train-images-idx3-ubyte", "train-images", &[60_000, 28, 28])
        },
        File {
            gz_len: 463_024,
            gz_sha256: "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
            ..blank("qmnist-train-labels-idx2-int", "train-labels", &[60_000])
        },
        File {
            gz_len: 9_742_279,
            gz_sha256: "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375",
            ..blank("qmnist-test-images-idx3-ubyte", "test-images", &[60_000, 28, 28])
        },
        File {
            gz_len: 526_800,
            gz_sha256: "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06",
            ..blank("qmnist-test-labels-idx2-int", "test-labels", &[60_000])
        },
    ],
    mirrors: &["https://raw.githubusercontent.com/facebookresearch/qmnist/master/"],
    class_names: DIGITS,
    prefix: "qmnist-",
    ..AS_MNIST
};

/// EMNIST's letters: Gregory Cohen et al., arXiv:1702.05373. Upper and lower case are one class. All of EMNIST comes in one archive,
/// which is
/// not fetched: its files are read where they were unpacked.
pub static EMNIST_LETTERS: Set = Set {
    name: "EMNIST letters",
    id: "emnist-letters",
    files: [
        blank("emnist-letters-train-images-idx3-ubyte", "train-images", &[124_800, 28, 28]),
        blank("emnist-letters-train-labels-idx1-ubyte", "train-labels", &[124_800]),
        blank("emnist-letters-test-images-idx3-ubyte", "test-images", &[20_800, 28, 28]),
        blank("emnist-letters-test-labels-idx1-ubyte", "test-labels", &[20_800]),
    ],
    class_names: CHARACTERS.split_at(36).0.split_at(10).1,
    prefix: "emnist-letters-",
    first_label: 1,
    ..AS_EMNIST
};

/// EMNIST's digits.
pub static EMNIST_DIGITS: Set = Set {
    name: "EMNIST digits",
    id: "emnist-digits",
    files: [
        blank("emnist-digits-train-images-idx3-ubyte", "train-images", &[240_000, 28, 28]),
        blank("emnist-digits-train-labels-idx1-ubyte", "train-labels", &[240_000]),
        blank("emnist-digits-test-images-idx3-ubyte", "test-images", &[40_000, 28, 28]),
        blank("emnist-digits-test-labels-idx1-ubyte", "test-labels", &[40_000]),
    ],
    class_names: DIGITS,
    prefix: "emnist-digits-",
    ..AS_EMNIST
};

/// EMNIST's digits and letters, as many of each; where upper and lower case look alike they are one class.
pub static EMNIST_BALANCED: Set = Set {
    name: "EMNIST balanced",
    id: "emnist-balanced",
    files: [
        blank("emnist-balanced-train-images-idx3-ubyte", "train-images", &[112_800, 28, 28]),
        blank("emnist-balanced-train-labels-idx1-ubyte", "train-labels", &[112_800]),
        blank("emnist-balanced-test-images-idx3-ubyte", "test-images", &[18_800, 28, 28]),
        blank("emnist-balanced-test-labels-idx1-ubyte", "test-labels", &[18_800]),
    ],
    class_names: MERGED,
    prefix: "emnist-balanced-",
    ..AS_EMNIST
};

/// EMNIST's digits and letters, merged as in [`EMNIST_BALANCED`], as many of each as people write.
pub static EMNIST_BYMERGE: Set = Set {
    name: "EMNIST by merge",
    id: "emnist-bymerge",
    files: [
        blank("emnist-bymerge-train-images-idx3-ubyte", "train-images", &[697_932, 28, 28]),
        blank("emnist-bymerge-train-labels-idx1-ubyte", "train-labels", &[697_932]),
        blank("emnist-bymerge-test-images-idx3-ubyte", "test-images", &[116_323, 28, 28]),
        blank("emnist-bymerge-test-labels-idx1-ubyte", "test-labels", &[116_323]),
    ],
    class_names: MERGED,
    prefix: "emnist-bymerge-",
    ..AS_EMNIST
};

/// EMNIST's digits, upper and lower case letters.
pub static EMNIST_BYCLASS: Set = Set {
    name: "EMNIST by class",
    id: "emnist-byclass",
    files: [
        blank("emnist-byclass-train-images-idx3-ubyte", "train-images", &[697_932, 28, 28]),
        blank("emnist-byclass-train-labels-idx1-ubyte", "train-labels", &[697_932]),
        blank("emnist-byclass-test-images-idx3-ubyte", "test-images", &[116_323, 28, 28]),
        blank("emnist-byclass-test-labels-idx1-ubyte", "test-labels", &[116_323]),
    ],
    class_names: CHARACTERS,
    prefix: "emnist-byclass-",
    ..AS_EMNIST
};

/// Every data set of the catalogue.
pub static SETS: [&Set; 9] = [
    &MNIST,
    &FASHION_MNIST,
    &KMNIST,
    &QMNIST,
    &EMNIST_LETTERS,
    &EMNIST_DIGITS,
    &EMNIST_BALANCED,
    &EMNIST_BYMERGE,
    &EMNIST_BYCLASS,
];

/// Which published file has this SHA-256, of the decompressed or of the gzipped bytes, in hexadecimal.
pub fn identify(sha256: &str) -> Option<(&'static Set, &'static File)> {
    // Of some files no hash is known.
    SETS.iter().filter(|_| !sha256.is_empty()).find_map(|set| {
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
            let known = SETS.map(|set| set.id).join(", ");
            Error::Request(format!("expected a data set of the catalogue ({known}), found \"{id}\""))
        })
    }
}

const TRAIN_IMAGES: File = blank("train-images-idx3-ubyte", "train-images", &[60_000, 28, 28]);
const TRAIN_LABELS: File = blank("train-labels-idx1-ubyte", "train-labels", &[60_000]);
const TEST_IMAGES: File = blank("t10k-images-idx3-ubyte", "t10k-images", &[10_000, 28, 28]);
const TEST_LABELS: File = blank("t10k-labels-idx1-ubyte", "t10k-labels", &[10_000]);

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Digits, upper case, lower case.
const CHARACTERS: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K",
    "L", "M", "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "c", "d", "e", "f",
    "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z",
];

/// Digits, upper case, and the lower case that looks different.
const MERGED: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K",
    "L", "M", "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "d", "e", "f", "g",
    "h", "n", "q", "r", "t",
];

/// How MNIST's files are called and read, and others that took its place.
const AS_MNIST: Set = Set {
    name: "",
    id: "",
    files: [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS],
    mirrors: &[],
    class_names: &[],
    prefix: "",
    first_label: 0,
    transpose: false,
};

/// How EMNIST's are.
const AS_EMNIST: Set = Set { transpose: true, ..AS_MNIST };

/// What the files of a set have in common.
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
                // Of EMNIST's no hash is known.
                let gz = Some(file.gz_sha256).filter(|_| !set.mirrors.is_empty());
                for hash in [gz, file.idx_sha256].into_iter().flatten() {
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
        assert_eq!(
            EMNIST_LETTERS.class_names.first().zip(EMNIST_LETTERS.class_names.last()),
            Some((&"A", &"Z"))
        );
        assert_eq!((MERGED.len(), CHARACTERS.len()), (47, 62));
        let text = Set::by_id("emnist").unwrap_err().to_string();
        assert!(
            text.starts_with("expected a data set of the catalogue (mnist, fashion-mnist, kmnist, "),
            "{text}"
        );
    }
}
