//! Where data comes from: folders, the environment's folder, the cache, and the built-in digits.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use byhand_datasets::digits::{self, Part};
use byhand_datasets::{Data, Dataset, Error, FormatProblem, Loaded, Origin, Sources, idx, load, source};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::{TempDir, tempdir};

const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Four IDX files of built-in digits in a folder, as someone's own data.
fn write_data(folder: &Path, gzipped: bool) -> [Dataset; 2] {
    fs::create_dir_all(folder).unwrap();
    let parts = [digits::generate(Part::Train, 30, 5), digits::generate(Part::Test, 20, 5)];
    for (data, names) in parts.iter().zip(NAMES.chunks(2)) {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        idx::write_images(&mut images, data.images()).unwrap();
        idx::write_labels(&mut labels, data.labels()).unwrap();
        write_file(folder, names[0], &images, gzipped);
        write_file(folder, names[1], &labels, gzipped);
    }
    parts
}

fn write_file(folder: &Path, name: &str, bytes: &[u8], gzipped: bool) {
    if gzipped {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        fs::write(folder.join(format!("{name}.gz")), encoder.finish().unwrap()).unwrap();
    } else {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

fn small_digits() -> Sources {
    Sources { digits: (40, 10), ..Sources::default() }
}

fn quietly(data: &Data, sources: &Sources) -> Result<Loaded, Error> {
    load(data, sources, &mut |_| ())
}

fn in_folder(folder: &TempDir) -> Sources {
    Sources { data_dir: Some(folder.path().into()), ..small_digits() }
}

#[track_caller]
fn assert_is(loaded: &Loaded, parts: &[Dataset; 2]) {
    assert_eq!(loaded.train.images(), parts[0].images());
    assert_eq!(loaded.train.labels(), parts[0].labels());
    assert_eq!(loaded.test.images(), parts[1].images());
    assert_eq!(loaded.test.labels(), parts[1].labels());
}

#[test]
fn a_folder_with_the_files_or_with_the_folder_of_the_set() {
    for (inner, gzipped) in [("", false), ("", true), ("mnist", false), ("mnist", true)] {
        let folder = tempdir().unwrap();
        let parts = write_data(&folder.path().join(inner), gzipped);
        let loaded = quietly(&Data::Mnist, &in_folder(&folder)).unwrap();
        assert_is(&loaded, &parts);
        assert_eq!((loaded.train.name(), loaded.train.classes()), ("MNIST", 10));
        assert!(matches!(loaded.origin, Origin::Folder(_)));
        assert_eq!(loaded.notice, None);
    }
}

#[test]
fn names_with_a_dot() {
    let folder = tempdir().unwrap();
    let parts = write_data(folder.path(), false);
    for name in NAMES {
        let dotted = name.replace("-idx", ".idx");
        fs::rename(folder.path().join(name), folder.path().join(dotted)).unwrap();
    }
    assert_is(&quietly(&Data::Mnist, &in_folder(&folder)).unwrap(), &parts);
}

#[test]
fn an_explicit_folder_without_the_files_is_an_error() {
    let folder = tempdir().unwrap();
    let e = quietly(&Data::FashionMnist, &in_folder(&folder)).unwrap_err();
    assert!(matches!(e, Error::Missing { .. }));
    let text = e.to_string();
    assert!(
        text.contains("expected Fashion-MNIST's four files") && text.contains("fashion-mnist/"),
        "{text}"
    );

    write_data(folder.path(), true);
    fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
    let text = quietly(&Data::Mnist, &in_folder(&folder)).unwrap_err().to_string();
    assert!(text.contains("expected four files, t10k-labels-idx1-ubyte (or with .gz) not found"), "{text}");
}

#[test]
fn the_environment_s_folder_comes_after_the_explicit_one() {
    let [explicit, environment] = [(); 2].map(|()| tempdir().unwrap());
    let parts = write_data(environment.path(), false);
    let sources = Sources { env_dir: Some(environment.path().into()), ..small_digits() };
    assert_is(&quietly(&Data::Mnist, &sources).unwrap(), &parts);
    let both = Sources { data_dir: Some(explicit.path().into()), ..sources };
    assert!(matches!(quietly(&Data::Mnist, &both), Err(Error::Missing { .. })));
}

#[test]
fn built_in_digits_when_there_is_nothing_else_and_a_line_that_says_why() {
    let empty = tempdir().unwrap();
    let sources = Sources { env_dir: Some(empty.path().into()), ..small_digits() };
    let loaded = quietly(&Data::Mnist, &sources).unwrap();
    assert_eq!(loaded.origin, Origin::Digits { seed: digits::SEED });
    assert_eq!((loaded.train.len(), loaded.test.len()), (40, 10));
    let notice = loaded.notice.unwrap();
    for words in ["MNIST is not at hand", "holds no MNIST", "built-in digits", "--data-dir", "BYHAND_DATA"] {
        assert!(notice.contains(words), "{words:?} in {notice:?}");
    }
    assert!(!notice.contains('\n'));
}

#[test]
fn built_in_digits_on_request_need_no_notice() {
    let loaded = quietly(&Data::Digits, &small_digits()).unwrap();
    assert_eq!(loaded.notice, None);
    assert_eq!(loaded.train, digits::generate(Part::Train, 40, digits::SEED));
    assert_ne!(loaded.train.take(10).images(), loaded.test.images(), "training and test digits differ");
    let folder = tempdir().unwrap();
    assert!(matches!(quietly(&Data::Digits, &in_folder(&folder)), Err(Error::Request(_))));
}

#[test]
fn a_bad_file_is_an_error_and_never_a_reason_for_other_data() {
    let folder = tempdir().unwrap();
    write_data(folder.path(), false);
    let path = folder.path().join(NAMES[1]);
    let good = fs::read(&path).unwrap();
    let problem = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let sources = Sources { env_dir: Some(folder.path().into()), ..small_digits() };
        match quietly(&Data::Mnist, &sources).unwrap_err() {
            Error::Format(e) => {
                assert!(e.to_string().starts_with(&path.display().to_string()), "{e}");
                e.problem
            }
            other => panic!("{other}"),
        }
    };
    assert_eq!(problem(&good[..12]), FormatProblem::Truncated);
    assert_eq!(problem(&good[..7]), FormatProblem::Truncated);
    assert_eq!(problem(b""), FormatProblem::Truncated);
    assert_eq!(problem(b"<html>404</html>"), FormatProblem::Magic);
    assert_eq!(problem(&[&good[..], &[0]].concat()), FormatProblem::Trailing);
    assert_eq!(problem(&fs::read(folder.path().join(NAMES[0])).unwrap()), FormatProblem::Swapped);
    let mut label_10 = good.clone();
    label_10[8] = 10;
    assert_eq!(problem(&label_10), FormatProblem::Label);
    // One label too few for the images.
    let mut fewer = Vec::new();
    idx::write_labels(&mut fewer, &good[8..good.len() - 1]).unwrap();
    assert_eq!(problem(&fewer), FormatProblem::Dimensions);
    // More than MNIST has: refused by the header, before any of it is read.
    let mut more = vec![0, 0, 8, 1];
    more.extend(60_001u32.to_be_bytes());
    assert_eq!(problem(&more), FormatProblem::TooLarge);
}

#[test]
fn test_images_of_another_size() {
    let folder = tempdir().unwrap();
    let [_, test] = write_data(folder.path(), false);
    let mut halved = Vec::new();
    idx::write_images(&mut halved, test.halve().unwrap().images()).unwrap();
    fs::write(folder.path().join(NAMES[2]), halved).unwrap();
    let text = quietly(&Data::Mnist, &in_folder(&folder)).unwrap_err().to_string();
    assert!(text.contains("expected images of 28x28 like those for training, found 14x14"), "{text}");
}

#[test]
fn someone_s_own_data() {
    let folder = tempdir().unwrap();
    let own = folder.path().join("zip-codes");
    let parts = write_data(&own, true);
    let data: Data = own.to_str().unwrap().parse().unwrap();
    let loaded = quietly(&data, &Sources::default()).unwrap();
    assert_is(&loaded, &parts);
    assert_eq!((loaded.train.name(), loaded.train.classes()), ("zip-codes", 10));

    // One's own data are in the folder itself, not in a folder of it that happens to be called mnist.
    fs::create_dir(folder.path().join("mnist")).unwrap();
    write_data(&folder.path().join("mnist"), true);
    let outer = Data::Folder(folder.path().into());
    assert!(matches!(quietly(&outer, &Sources::default()), Err(Error::Missing { .. })));

    // More classes need names; then a label above 9 is fine.
    let names = |n: usize| (0..n).map(|k| format!("class {k}\n")).collect::<String>();
    let labels_path = own.join("train-labels-idx1-ubyte.gz");
    fs::remove_file(&labels_path).unwrap();
    write_file(&own, NAMES[1], &[&[0, 0, 8, 1, 0, 0, 0, 30][..], &[10; 30]].concat(), false);
    assert!(
        matches!(quietly(&data, &Sources::default()), Err(Error::Format(e)) if e.problem == FormatProblem::Label)
    );
    fs::write(own.join("classes.txt"), names(11)).unwrap();
    let loaded = quietly(&data, &Sources::default()).unwrap();
    assert_eq!(loaded.train.class_names()[10], "class 10");
}

#[test]
fn names_of_data() {
    assert_eq!("mnist".parse::<Data>().unwrap(), Data::Mnist);
    assert_eq!("fashion-mnist".parse::<Data>().unwrap().to_string(), "fashion-mnist");
    assert_eq!("digits".parse::<Data>().unwrap(), Data::Digits);
    let text = "mnits".parse::<Data>().unwrap_err().to_string();
    assert!(text.contains("\"mnist\"") && text.contains("found \"mnits\""), "{text}");
}

#[test]
fn the_doctor_says_what_files_are() {
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("mnist"), true);
    let report = source::doctor(folder.path()).unwrap();
    assert!(report.is_healthy(), "{report}");
    assert_eq!(report.files.len(), 4);
    let labels = report.files[1].content.as_ref().unwrap();
    assert_eq!((labels.kind(), &labels.dims[..], labels.gzipped), ("labels", &[20][..], true));
    assert_eq!(labels.histogram[..10].iter().sum::<u64>(), 20);
    assert_eq!(labels.published, None);
    let text = report.to_string();
    assert!(text.contains("images 20x28x28") && text.contains("not a file of the catalogue"), "{text}");

    // One label too many, a picture, a cut file.
    let mnist = folder.path().join("mnist");
    fs::remove_file(mnist.join("t10k-labels-idx1-ubyte.gz")).unwrap();
    write_file(&mnist, NAMES[3], &[&[0, 0, 8, 1, 0, 0, 0, 21][..], &[0; 21]].concat(), false);
    fs::write(mnist.join("photo-idx3-ubyte"), b"\x89PNG\r\n\x1a\n").unwrap();
    let report = source::doctor(folder.path()).unwrap();
    assert!(!report.is_healthy());
    let text = report.to_string();
    assert!(text.contains("expected 20 labels, one an image of"), "{text}");
    assert!(text.contains("photo-idx3-ubyte: at byte 0: expected an IDX file"), "{text}");

    // Images and labels exchanged: good files, badly named.
    let swapped = tempdir().unwrap();
    write_file(swapped.path(), NAMES[0], &[&[0, 0, 8, 1, 0, 0, 0, 2][..], &[0; 2]].concat(), false);
    let report = source::doctor(swapped.path()).unwrap();
    assert!(!report.is_healthy());
    assert!(report.to_string().contains("expected images, as it is called, found labels 2"), "{report}");

    // A label that is no class, until it has a name.
    let eleven = tempdir().unwrap();
    write_file(eleven.path(), NAMES[1], &[&[0, 0, 8, 1, 0, 0, 0, 2][..], &[0, 10]].concat(), false);
    let report = source::doctor(eleven.path()).unwrap();
    assert!(report.to_string().contains("expected labels below the 10 classes, found 10"), "{report}");
    let names: Vec<String> = (0..11).map(|class| format!("class {class}")).collect();
    fs::write(eleven.path().join("classes.txt"), names.join("\n")).unwrap();
    assert!(source::doctor(eleven.path()).unwrap().is_healthy());

    let empty = tempdir().unwrap();
    assert!(!source::doctor(empty.path()).unwrap().is_healthy());
    assert!(matches!(source::doctor(&empty.path().join("nowhere")), Err(Error::Io { .. })));
}

#[test]
#[allow(clippy::print_stderr)] // says what was skipped
fn the_real_mnist_and_fashion_mnist() {
    let Some(folder) = Sources::from_env().env_dir else {
        eprintln!("skipped: BYHAND_DATA is not set, so the real MNIST and Fashion-MNIST are not checked");
        return;
    };
    let sources = Sources { data_dir: Some(folder.clone()), ..Sources::default() };
    let start = Instant::now();
    let mnist = quietly(&Data::Mnist, &sources).unwrap();
    eprintln!("MNIST loaded and hashed in {:.2} s", start.elapsed().as_secs_f64());
    assert_eq!((mnist.train.len(), mnist.test.len(), mnist.train.image_size()), (60_000, 10_000, (28, 28)));
    assert_eq!(mnist.train.class_counts(), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    let fashion = quietly(&Data::FashionMnist, &sources).unwrap();
    assert_eq!(fashion.train.class_counts(), [6000; 10]);
    assert_eq!(fashion.train.class_names()[9], "Ankle boot");

    let report = source::doctor(&folder.join("mnist")).unwrap();
    assert!(report.is_healthy(), "{report}");
    let published: Vec<_> =
        report.files.iter().map(|f| f.content.as_ref().unwrap().published.clone().unwrap()).collect();
    assert_eq!(
        published,
        ["t10k-images", "t10k-labels", "train-images", "train-labels"].map(|f| format!("MNIST's {f}"))
    );

    // MNIST where Fashion-MNIST was asked for, and training data where test data belong.
    let wrong = Sources { data_dir: Some(folder.join("mnist")), ..Sources::default() };
    let text = quietly(&Data::FashionMnist, &wrong).unwrap_err().to_string();
    assert!(text.contains("this is MNIST's train-images, expected Fashion-MNIST's train-images"), "{text}");
    // Someone's own folder that happens to hold a published set is recognised.
    let own = quietly(&Data::Folder(folder.join("fashion-mnist")), &Sources::default()).unwrap();
    assert_eq!(own.train.name(), "Fashion-MNIST");
}
