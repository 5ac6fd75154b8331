//! Where data comes from: folders, the environment's folder, the cache, and the built-in digits.

use std::fs;
use std::io::Write;
use std::path::Path;

use byhand_datasets::digits::{self, Part};
use byhand_datasets::{
    Data, Dataset, Error, FormatProblem, Loaded, Origin, Reading, Sources, idx, load, source,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
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

/// An IDX file of bytes.
fn idx_file(dims: &[usize], data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    idx::write(&mut file, dims, data).unwrap();
    file
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
        let place = folder.path().join(inner);
        assert_eq!(loaded.origin, Origin::Folder(place.clone()));
        // They are not MNIST, and nobody is told that they are.
        assert_eq!(
            (loaded.source.to_string().as_str(), &loaded.source.data),
            ("mnist (unverified)", &Data::Mnist)
        );
        assert_eq!(loaded.source.folder, Some(place));
        let [notice] = &loaded.notices[..] else { panic!("{:?}", loaded.notices) };
        for words in
            ["not known as the published files of MNIST", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
        {
            assert!(notice.contains(words) && !notice.contains('\n'), "{words} in {notice}");
        }
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
    let notice = loaded.notices.concat();
    for words in ["MNIST is not at hand", "holds no MNIST", "built-in digits", "--data-dir", "BYHAND_DATA"] {
        assert!(notice.contains(words), "{words:?} in {notice:?}");
    }
    assert!(!notice.contains('\n'));
}

#[test]
fn built_in_digits_on_request_need_no_notice() {
    let loaded = quietly(&Data::Digits, &small_digits()).unwrap();
    assert_eq!(loaded.notices, [""; 0]);
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
    idx::write(&mut fewer, &[good.len() - 9], &good[8..good.len() - 1]).unwrap();
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
    let names = |n: u32| (0..n).map(|k| format!("class {k}\n")).collect::<String>();
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

/// Names that do not fit are refused when the data are read: file, line, expected, found.
#[test]
fn names_of_classes_that_do_not_fit() {
    let folder = tempdir().unwrap();
    write_data(folder.path(), false);
    let data = Data::Folder(folder.path().into());
    let path = folder.path().join("classes.txt");
    let refused = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        let e = quietly(&data, &Sources::default()).unwrap_err();
        assert!(matches!(e, Error::Line { .. }), "{e}");
        // The doctor says the same.
        assert_eq!(source::doctor(folder.path(), Reading::default()).unwrap().problems, [e.to_string()]);
        e.to_string().replace(&path.display().to_string(), "F")
    };
    assert_eq!(
        refused(b"a\nb\nc\nd\ne\nf\ng\nh\na\nj\n"),
        "F, line 9: expected a name of its own for each class, found \"a\", which stands in line 1 too"
    );
    assert_eq!(refused(b"a\nb\n \nd\n"), "F, line 3: expected the name of a class, found an empty line");
    assert_eq!(refused(b""), "F, line 1: expected the name of a class on each line, found an empty file");
    assert_eq!(
        refused(b"a\nb\nc\n"),
        "F, line 3: expected 10 names, one for each label from 0 to 9, found 3 names"
    );
    assert_eq!(
        refused(b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n"),
        "F, line 11: expected 10 names, one for each label from 0 to 9, found 12 names, here \"k\""
    );
    assert_eq!(
        refused(b"a\nb\xff\n"),
        "F, line 2: expected text in UTF-8, found other bytes: save the file as UTF-8"
    );
    let many: String = (0..65_537).map(|k| format!("{k}\n")).collect();
    assert_eq!(refused(many.as_bytes()), "F, line 65537: expected at most 65536 names, found 65537 names");
    assert!(refused(&vec![b'a'; 1_050_000]).contains("names of at most 1048576 bytes in all"));
    // As editors of other systems write it.
    fs::write(&path, b"\xef\xbb\xbfa\r\nb\r\nc\r\nd\r\ne\r\nf\r\ng\r\nh\r\ni\r\nj\r\n\r\n").unwrap();
    let loaded = quietly(&data, &Sources::default()).unwrap();
    assert_eq!(loaded.train.class_names().concat(), "abcdefghij");
}

/// A folder of EMNIST's letters: prefix, `test`, labels from 1, rows and columns exchanged.
#[test]
fn labels_that_count_from_1_and_images_that_lie() {
    let folder = tempdir().unwrap();
    let images = idx_file(&[52, 2, 3], &[9; 52 * 6]);
    let labels: Vec<u8> = (0..52).map(|k| 1 + k % 26).collect();
    for part in ["train", "test"] {
        let name = |kind: &str| format!("emnist-letters-{part}-{kind}-ubyte");
        write_file(folder.path(), &name("images-idx3"), &images, true);
        write_file(folder.path(), &name("labels-idx1"), &idx_file(&[52], &labels), true);
    }
    let data = Data::Folder(folder.path().into());
    let with = |first_label, transpose| {
        let reading = Reading { first_label, transpose, ..Reading::default() };
        quietly(&data, &Sources { reading, ..Sources::default() })
    };
    let refused = |first_label| with(first_label, false).unwrap_err().to_string();
    let text = refused(None);
    for words in [
        "emnist-letters-train-labels-idx1-ubyte.gz",
        "at byte 17",
        "from 0 to 9",
        "found 10",
        "run from 1 to 26",
        "classes.txt",
        "--first-label 1",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    // Without names the labels are the names; with names each label has one.
    let loaded = with(Some(1), true).unwrap();
    assert_eq!((loaded.train.classes(), loaded.train.class_names()[25].as_str()), (26, "26"));
    assert_eq!((loaded.train.labels()[25], loaded.test.image_size()), (25, (3, 2)));
    assert_eq!(loaded.notices, [""; 0]);
    assert!(with(Some(1), false).unwrap().notices.concat().contains("--transpose"));
    // What was read is the same, however it is understood.
    assert_eq!(with(Some(0), false).unwrap().source, loaded.source);
    let letters: String = ('a'..='z').map(|letter| format!("{letter}\n")).collect();
    fs::write(folder.path().join("classes.txt"), letters).unwrap();
    assert!(
        refused(None).ends_with("found 26; labels run from 1 to 26: give --first-label 1"),
        "{}",
        refused(None)
    );
    assert_eq!(with(Some(1), true).unwrap().train.class_names()[0], "a");
    assert!(
        refused(Some(2)).contains(
            "expected a label from 2 to 26, found 1; labels run from 1 to 26: give --first-label 1"
        )
    );
    // The doctor, asked the same, says the same.
    let doctor =
        |first_label| source::doctor(folder.path(), Reading { first_label, ..Reading::default() }).unwrap();
    assert_eq!(doctor(None).problems, [refused(None)]);
    assert!(doctor(Some(1)).is_healthy());
    assert!(doctor(Some(1)).to_string().contains("note: the names look like EMNIST"), "{}", doctor(Some(1)));
    // The digits that the program draws need no such help.
    let reading = Reading { first_label: Some(1), ..Reading::default() };
    assert!(
        quietly(&Data::Digits, &Sources { reading, ..small_digits() })
            .unwrap_err()
            .to_string()
            .contains("--first-label")
    );
}

/// Of several sets in one folder none is taken at random; one that is whole is.
#[test]
fn several_sets_in_one_folder() {
    let folder = tempdir().unwrap();
    let parts = write_data(folder.path(), false);
    let rename = |from: &str, to: &str| {
        fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
    };
    let own = || quietly(&Data::Folder(folder.path().into()), &Sources::default());
    for name in NAMES {
        rename(name, &format!("qmnist-{}", name.replace("t10k", "test")));
    }
    assert_is(&own().unwrap(), &parts);
    // A published set is not looked for under other names.
    assert!(matches!(quietly(&Data::Mnist, &in_folder(&folder)), Err(Error::Missing { .. })));
    fs::write(folder.path().join("xnist-images-idx3-ubyte"), b"").unwrap();
    fs::write(folder.path().join("other-train-images-idx3-ubyte"), b"").unwrap();
    assert_is(&own().unwrap(), &parts);
    rename("qmnist-test-labels-idx1-ubyte", "elsewhere");
    let text = own().unwrap_err().to_string();
    assert!(text.contains("expected one data set, found other-*, qmnist-*"), "{text}");
    fs::remove_file(folder.path().join("other-train-images-idx3-ubyte")).unwrap();
    let text = own().unwrap_err().to_string();
    assert!(
        text.ends_with("expected four files, qmnist-t10k-labels-idx1-ubyte (or with .gz) not found"),
        "{text}"
    );
    // The usual names come before all others.
    write_data(folder.path(), true);
    assert_is(&own().unwrap(), &parts);
}

#[test]
fn a_folder_in_the_place_of_a_file_and_a_file_in_the_place_of_a_folder() {
    let folder = tempdir().unwrap();
    let parts = write_data(folder.path(), false);
    let file = folder.path().join(NAMES[0]);
    // As some archives unpack: the folder beside the file does no harm.
    fs::create_dir(folder.path().join("train-images.idx3-ubyte")).unwrap();
    let own = || quietly(&Data::Folder(folder.path().into()), &Sources::default());
    assert_is(&own().unwrap(), &parts);
    fs::remove_file(&file).unwrap();
    let text = own().unwrap_err().to_string();
    assert!(text.contains("train-images.idx3-ubyte: expected a file, found a folder"), "{text}");
    assert_eq!(source::doctor(folder.path(), Reading::default()).unwrap().problems, [text]);

    let file = folder.path().join(NAMES[1]);
    let text = Data::from_os(file.as_os_str()).unwrap_err().to_string();
    assert!(text.contains("found the file") && text.contains("name the folder"), "{text}");
    let sources = Sources { env_dir: Some(file), ..small_digits() };
    let text = quietly(&Data::Mnist, &sources).unwrap_err().to_string();
    assert!(text.contains("expected a folder that holds the four files, found a file"), "{text}");
}

/// The same bytes have the same hash, gzipped or not; other bytes have another.
#[test]
fn what_was_read_has_a_hash() {
    let folder = tempdir().unwrap();
    write_data(folder.path(), false);
    let hash =
        |folder: &Path| quietly(&Data::Folder(folder.into()), &Sources::default()).unwrap().source.sha256;
    let lines: String = NAMES
        .iter()
        .map(|name| {
            let digest = Sha256::digest(fs::read(folder.path().join(name)).unwrap());
            digest.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n"
        })
        .collect();
    let expected: String = Sha256::digest(lines).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hash(folder.path()), expected);
    let gzipped = tempdir().unwrap();
    write_data(gzipped.path(), true);
    assert_eq!(hash(gzipped.path()), expected);
    let path = folder.path().join(NAMES[3]);
    let mut labels = fs::read(&path).unwrap();
    labels[10] = (labels[10] + 1) % 10;
    fs::write(&path, labels).unwrap();
    assert_ne!(hash(folder.path()), expected);
    // Of the built-in digits, whatever number of them is drawn.
    let drawn = |digits, digits_seed| {
        let sources = Sources { digits, digits_seed, ..Sources::default() };
        quietly(&Data::Digits, &sources).unwrap().source
    };
    assert_eq!(drawn((40, 10), 0), drawn((200, 300), 0));
    assert_ne!(drawn((40, 10), 0).sha256, drawn((40, 10), 1).sha256);
    assert_eq!((drawn((1, 1), 0).folder, drawn((1, 1), 0).to_string().as_str()), (None, "digits"));
}

/// Any path goes through a text and comes back the same.
#[test]
fn paths_as_text() {
    for path in ["/a/b c", "relative/%41", "", "/ü/ß", "file:x", "file:///x", "/a\nb"] {
        let text = source::path_text(Path::new(path));
        assert_eq!(source::path_of(&text), Path::new(path), "{text}");
        assert_eq!(text == path, !path.starts_with("file:"));
    }
    #[cfg(unix)]
    for bytes in [&b"/n\xff-%d\n"[..], b"n\xff", b"\xffile:", b"file:\xff"] {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
        let text = source::path_text(path);
        assert_eq!(source::path_of(&text), path, "{text}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempdir().unwrap();
        let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"n\xff"));
        let parts = write_data(&odd, false);
        let data = Data::from_os(odd.as_os_str()).unwrap();
        assert!(data.to_string().ends_with("/n%FF"), "{data}");
        assert_eq!(data.to_string().parse::<Data>().unwrap(), data);
        assert_is(&quietly(&data, &Sources::default()).unwrap(), &parts);
        assert!(source::doctor(&odd, Reading::default()).unwrap().is_healthy());
    }
}

#[test]
fn names_of_data() {
    assert_eq!("mnist".parse::<Data>().unwrap(), Data::Mnist);
    assert_eq!("fashion-mnist".parse::<Data>().unwrap().to_string(), "fashion-mnist");
    assert_eq!("digits".parse::<Data>().unwrap(), Data::Digits);
    let text = "mnits".parse::<Data>().unwrap_err().to_string();
    assert!(text.contains("\"mnist\"") && text.contains("found \"mnits\""), "{text}");
}

/// Training and the doctor read with the same reader: whatever is wrong, the doctor says it in the same words.
/// CIFAR-10's six files with so many images each; image `i` of a file has the label `i % 10` and red levels of `i`.
fn write_cifar(folder: &Path, images: usize) {
    fs::create_dir_all(folder).unwrap();
    let names = (1..=5).map(|n| format!("data_batch_{n}.bin")).chain(["test_batch.bin".to_string()]);
    for (file, name) in names.enumerate() {
        let mut bytes = Vec::new();
        for i in 0..images {
            bytes.push((i % 10) as u8);
            for (channel, level) in [i, 100, 100 + file].into_iter().enumerate() {
                // The first pixel of a plane says which it is.
                bytes.push(channel as u8);
                bytes.extend([level as u8; 1023]);
            }
        }
        fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn the_binary_form_of_cifar_10() {
    let folder = tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    write_cifar(&inner, 12);
    let own = |folder: &Path, reading| {
        quietly(&Data::Folder(folder.into()), &Sources { reading, ..Sources::default() })
    };
    // Here and in the folder that the archive unpacks to; without a file of names classes are numbers.
    let plain = own(&inner, Reading::default()).unwrap();
    assert_eq!((plain.train.len(), plain.test.len(), plain.train.channels()), (60, 12, 3));
    assert_eq!(plain.train.class_names()[9], "9");
    assert_eq!(own(folder.path(), Reading::default()).unwrap().source, plain.source);
    let (image, test) = (plain.train.image(12 + 5), plain.test.image(3));
    assert_eq!([image[[0, 0, 1]], image[[1, 31, 31]], image[[2, 0, 1]], image[[2, 0, 0]]], [5, 100, 101, 2]);
    assert_eq!((plain.train.labels()[12 + 5], test[[2, 9, 9]]), (5, 105));
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    fs::write(inner.join("batches.meta.txt"), names).unwrap();
    assert_eq!(own(&inner, Reading::default()).unwrap().train.class_names()[9], "truck");

    let grey = own(&inner, Reading { grey: true, transpose: true, ..Reading::default() }).unwrap();
    assert_eq!(grey.train.images(), plain.train.transpose().grey().unwrap().images());
    assert_eq!((grey.train.channels(), &grey.source.sha256), (1, &plain.source.sha256));
    let report = source::doctor(folder.path(), Reading::default()).unwrap();
    assert!(report.is_healthy(), "{report}");
    assert!(
        report
            .to_string()
            .contains("60 pictures for training and 12 for testing, 32x32, in colour, of 10 classes")
    );

    // The same as IDX files of four dimensions: the same data.
    let idx_folder = folder.path().join("idx");
    fs::create_dir(&idx_folder).unwrap();
    for (data, part) in [(&plain.train, "train"), (&plain.test, "t10k")] {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        idx::write_images(&mut images, data.images()).unwrap();
        idx::write_labels(&mut labels, data.labels()).unwrap();
        fs::write(idx_folder.join(format!("{part}-images-idx4-ubyte")), images).unwrap();
        fs::write(idx_folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    let again = own(&idx_folder, Reading::default()).unwrap();
    assert_eq!((again.train.images(), again.source.sha256), (plain.train.images(), plain.source.sha256));
    let report = source::doctor(&idx_folder, Reading::default()).unwrap();
    assert!(report.is_healthy() && report.to_string().contains("images 60x3x32x32"), "{report}");

    // What is wrong with a file is said with its place; nothing else is taken in its stead.
    let batch = inner.join("data_batch_3.bin");
    let good = fs::read(&batch).unwrap();
    let wrong = |bytes: &[u8]| {
        fs::write(&batch, bytes).unwrap();
        own(&inner, Reading::default()).unwrap_err().to_string()
    };
    let mut label = good.clone();
    label[2 * 3073] = 10;
    let place = batch.display();
    assert_eq!(wrong(&label), format!("{place}: at byte 6146: expected a label from 0 to 9, found 10"));
    let told = wrong(&good[..3073 + 100]);
    let expected = "expected 3073 bytes for each image (a label and 3072 pixels), found the end of the file after 100 of them";
    assert_eq!(told, format!("{place}: at byte 3173: {expected}"));
    assert!(wrong(b"").contains("at byte 0: expected 3073 bytes"));
    fs::write(&batch, &good).unwrap();
    let limited = Sources { max_bytes: 3073 * 30, ..Sources::default() };
    let told = quietly(&Data::Folder(inner.clone()), &limited).unwrap_err().to_string();
    assert!(
        told.contains("data_batch_3.bin") && told.contains("expected at most 18438 bytes, found more"),
        "{told}"
    );
    let told = own(&inner, Reading { first_label: Some(1), ..Reading::default() }).unwrap_err().to_string();
    assert!(told.contains("leave out --first-label"), "{told}");
    fs::write(inner.join("batches.meta.txt"), "cat\ndog\n").unwrap();
    let told = own(&inner, Reading::default()).unwrap_err().to_string();
    assert!(
        told.ends_with("batches.meta.txt, line 2: expected 10 names, one a line, found 2 names"),
        "{told}"
    );
    fs::remove_file(&batch).unwrap();
    let told = own(&inner, Reading::default()).unwrap_err().to_string();
    assert!(told.contains("CIFAR-10's six files") && told.ends_with("data_batch_3.bin not found"), "{told}");
    assert!(!source::doctor(folder.path(), Reading::default()).unwrap().is_healthy());
}

/// A PNG file of one colour, or of one grey level.
fn png(size: (u32, u32), pixel: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
    encoder.set_color(if pixel.len() == 3 { png::ColorType::Rgb } else { png::ColorType::Grayscale });
    let pixels = pixel.repeat((size.0 * size.1) as usize);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    file
}

#[test]
fn one_picture_in_colour_makes_all_of_three_channels() {
    let folder = tempdir().unwrap();
    let write = |name: &str, pixel: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png((3, 2), pixel)).unwrap();
    };
    let own = |grey, max_bytes| {
        let reading = Reading { grey, ..Reading::default() };
        quietly(&Data::Folder(folder.path().into()), &Sources { reading, max_bytes, ..Sources::default() })
    };
    for (name, level) in
        [("train/a/1.png", 10), ("train/a/2.png", 20), ("train/b/1.png", 30), ("test/a/1.png", 40)]
    {
        write(name, &[level]);
    }
    let grey = own(false, 24).unwrap();
    assert_eq!((grey.train.channels(), grey.test.channels()), (1, 1));
    // In the middle of the pictures for training, or for testing alone.
    for (name, at) in [("train/a/3.png", Some(2)), ("test/b/1.png", None)] {
        write(name, &[200, 100, 0]);
        let loaded = own(false, 1 << 10).unwrap();
        assert_eq!((loaded.train.channels(), loaded.test.channels()), (3, 3));
        let levels = |data: &Dataset, i: usize| [0, 1, 2].map(|channel| data.image(i)[[channel, 1, 2]]);
        assert_eq!(levels(&loaded.train, 1), [20; 3]);
        let coloured = match at {
            Some(i) => levels(&loaded.train, i),
            None => levels(&loaded.test, 1),
        };
        assert_eq!(coloured, [200, 100, 0]);
        let last = loaded.train.len() - 1;
        assert_eq!(levels(&loaded.train, last), [30; 3]);
        let same = own(true, 1 << 10).unwrap();
        assert_eq!(same.train.images(), loaded.train.grey().unwrap().images());
        let told = own(false, 80).unwrap_err().to_string();
        assert!(told.contains("at most 80 bytes of pixels in all pictures"), "{told}");
        fs::remove_file(folder.path().join(name)).unwrap();
    }
}

#[test]
fn the_doctor_says_what_training_says() {
    let agree = |what: &str, spoil: &dyn Fn(&Path)| {
        let folder = tempdir().unwrap();
        write_data(folder.path(), false);
        spoil(folder.path());
        let refused =
            quietly(&Data::Folder(folder.path().into()), &Sources::default()).unwrap_err().to_string();
        let report = source::doctor(folder.path(), Reading::default()).unwrap();
        assert_eq!(report.problems, [refused], "{what}");
        assert!(report.to_string().ends_with("something is wrong"), "{what}");
        // The same in a folder of that name, for `mnist`.
        let outer = tempdir().unwrap();
        write_data(&outer.path().join("mnist"), false);
        spoil(&outer.path().join("mnist"));
        let refused = quietly(&Data::Mnist, &in_folder(&outer)).unwrap_err().to_string();
        assert_eq!(source::doctor(outer.path(), Reading::default()).unwrap().problems, [refused], "{what}");
    };
    let put =
        |k: usize, bytes: Vec<u8>| move |folder: &Path| fs::write(folder.join(NAMES[k]), &bytes).unwrap();
    agree("no test images", &put(2, idx_file(&[0, 28, 28], &[])));
    agree("no training images", &put(0, idx_file(&[0, 28, 28], &[])));
    agree("no test labels", &put(3, idx_file(&[0], &[])));
    agree("test images of another size", &put(2, idx_file(&[20, 14, 14], &[0; 20 * 196])));
    agree("images that are labels", &put(0, idx_file(&[30], &[0; 30])));
    agree("labels that are images", &put(3, idx_file(&[20, 28, 28], &[0; 20 * 784])));
    agree("fewer labels", &put(1, idx_file(&[29], &[0; 29])));
    agree("a label that is no class", &put(1, idx_file(&[30], &[10; 30])));
    agree("a cut file", &put(1, vec![0, 0, 8, 1, 0, 0, 0, 30, 1, 2]));
    agree("a web page", &put(0, b"<html>not found</html>".to_vec()));
    agree("an empty file", &put(2, vec![]));
    agree("a missing file", &|folder| fs::remove_file(folder.join(NAMES[2])).unwrap());
    agree("a folder for a file", &|folder| {
        fs::remove_file(folder.join(NAMES[2])).unwrap();
        fs::create_dir(folder.join(NAMES[2])).unwrap();
    });
    #[cfg(unix)]
    agree("a link to nowhere", &|folder| {
        fs::remove_file(folder.join(NAMES[2])).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join(NAMES[2])).unwrap();
    });
}

#[test]
fn the_doctor_says_what_files_are() {
    let doctor = |path: &Path| source::doctor(path, Reading::default()).unwrap();
    let folder = tempdir().unwrap();
    write_data(&folder.path().join("mnist"), true);
    let report = doctor(folder.path());
    assert!(report.is_healthy(), "{report}");
    assert_eq!(report.files.len(), 4);
    let labels = report.files[1].content.as_ref().unwrap();
    assert_eq!((labels.kind(), &labels.dims[..], labels.gzipped), ("labels", &[20][..], true));
    assert_eq!(labels.histogram[..10].iter().sum::<u64>(), 20);
    assert_eq!(labels.published, None);
    let text = report.to_string();
    for words in
        ["images 20x28x28", "not a file of the catalogue", "note: ", "mnist (unverified)", "nothing wrong"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }

    // A file that no training reads is described, and is no problem.
    let mnist = folder.path().join("mnist");
    fs::write(mnist.join("photo-idx3-ubyte"), b"\x89PNG\r\n\x1a\n").unwrap();
    let report = doctor(folder.path());
    assert!(report.is_healthy(), "{report}");
    assert!(report.to_string().contains("photo-idx3-ubyte: at byte 0: expected an IDX file"), "{report}");
    // A file alone is examined for what it is.
    assert!(!doctor(&mnist.join("photo-idx3-ubyte")).is_healthy());
    assert!(doctor(&mnist.join("t10k-images-idx3-ubyte.gz")).is_healthy());

    // One label too many, said once.
    fs::remove_file(mnist.join("t10k-labels-idx1-ubyte.gz")).unwrap();
    write_file(&mnist, NAMES[3], &idx_file(&[21], &[0; 21]), false);
    let text = doctor(folder.path()).to_string();
    assert_eq!(text.matches("expected 20 labels, one an image of").count(), 1, "{text}");
    write_file(&mnist, NAMES[3], b"<html>", false);
    let text = doctor(folder.path()).to_string();
    assert_eq!(text.matches("web page").count(), 1, "{text}");

    // A class that nothing has is said.
    let own = tempdir().unwrap();
    write_data(own.path(), false);
    write_file(own.path(), NAMES[3], &idx_file(&[20], &[3; 20]), false);
    let report = doctor(own.path());
    assert!(report.is_healthy(), "{report}");
    assert!(
        report
            .to_string()
            .contains("note: classes are missing: no image of 0, 1, 2, 4, 5, 6, 7, 8, 9 for testing"),
        "{report}"
    );

    // Someone's own set beside the published ones: each is examined as what it is.
    let both = tempdir().unwrap();
    write_data(&both.path().join("mnist"), true);
    write_data(both.path(), false);
    for name in NAMES {
        fs::rename(both.path().join(name), both.path().join(format!("own-{name}"))).unwrap();
    }
    assert_eq!(doctor(both.path()).problems, [""; 0]);
    fs::write(both.path().join("own-t10k-labels-idx1-ubyte"), b"").unwrap();
    fs::write(both.path().join("mnist/t10k-labels-idx1-ubyte"), b"").unwrap();
    assert_eq!(doctor(both.path()).problems.len(), 2, "{}", doctor(both.path()));

    let empty = tempdir().unwrap();
    assert!(!doctor(empty.path()).is_healthy());
    assert!(matches!(
        source::doctor(&empty.path().join("nowhere"), Reading::default()),
        Err(Error::Io { .. })
    ));
}

#[test]
#[ignore = "needs the real MNIST and Fashion-MNIST in BYHAND_DATA; run with --ignored"]
fn the_real_mnist_and_fashion_mnist() {
    let folder = Sources::from_env()
        .env_dir
        .expect("BYHAND_DATA names the folder that holds mnist/ and fashion-mnist/");
    let sources = Sources { data_dir: Some(folder.clone()), ..Sources::default() };
    let mnist = quietly(&Data::Mnist, &sources).unwrap();
    assert_eq!((mnist.source.to_string().as_str(), &mnist.notices[..]), ("mnist", &[][..]));
    assert_eq!((mnist.train.len(), mnist.test.len(), mnist.train.image_size()), (60_000, 10_000, (28, 28)));
    assert_eq!(mnist.train.class_counts(), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    let fashion = quietly(&Data::FashionMnist, &sources).unwrap();
    assert_eq!(fashion.train.class_counts(), [6000; 10]);
    assert_eq!(fashion.train.class_names()[9], "Ankle boot");

    let report = source::doctor(&folder.join("mnist"), Reading::default()).unwrap();
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
