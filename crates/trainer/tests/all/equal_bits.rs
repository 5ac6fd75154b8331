//! The promise: one seed, one set of bits, for any number of threads, run after run, through any stop and resume.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use byhand_datasets::{Augment, Preprocessing};
use byhand_layers::Network;
use byhand_models::weights_sha256;
use byhand_trainer::{
    Checkpoint, Event, Fit, FitConfig, Hardest, ImageBatch, Progress, Sampling, Silent, StepConfig, Trainer,
    evaluate,
};

use crate::common::{cnn, large_cnn, mlp, normed, residual, test, theta, train, wide};

fn config() -> FitConfig {
    FitConfig {
        epochs: 3,
        batch_size: 96,
        max_steps: Some(12),
        optimizer: "adam".parse().unwrap(),
        learning_rate: 2e-3,
        schedule: "one-cycle".parse().unwrap(),
        augment: Augment { shift: 2, rotate: 0.1, ..Augment::default() },
        seed: 5,
        threads: 1,
        ..FitConfig::default()
    }
}

/// Every change of images, and all that is done to weights besides an update.
fn everything() -> FitConfig {
    FitConfig {
        augment: Augment {
            shift: 2,
            rotate: 0.2,
            scale: 0.1,
            shear: 0.1,
            elastic: 1.0,
            flip: true,
            erase: 6,
            mixup: 0.3,
        },
        optimizer: "sgd(momentum=0.9,nesterov)".parse().unwrap(),
        learning_rate: 0.02,
        weight_decay: 0.1,
        clip: Some(0.5),
        ema: Some(0.9),
        ..config()
    }
}

fn digest(network: &Network, config: FitConfig) -> String {
    let mut fit = Fit::new(network, theta(network), train(), None, config).unwrap();
    assert_eq!(fit.run(&mut Silent).unwrap(), Progress::Done);
    weights_sha256(fit.theta())
}

/// Trains on one thread and on each of these numbers of them to the same weights; their digest.
#[track_caller]
fn digest_of_all(threads: &[usize], network: &Network, config: FitConfig) -> String {
    let one = digest(network, FitConfig { threads: 1, ..config.clone() });
    for &threads in threads {
        let many = digest(network, FitConfig { threads, ..config.clone() });
        assert_eq!(many, one, "{:?}, {threads} threads", network.layers());
    }
    one
}

#[test]
fn any_number_of_threads_and_ten_repeats() {
    for (name, network) in [("cnn", cnn()), ("mlp", mlp()), ("normed", normed()), ("residual", residual())] {
        let one = digest_of_all(&[2, 3, 7, 16], &network, config());
        for repeat in 0..10 {
            assert_eq!(
                digest(&network, FitConfig { threads: 2, ..config() }),
                one,
                "{name}, repeat {repeat}"
            );
        }
        assert_ne!(digest(&network, FitConfig { seed: 6, ..config() }), one, "{name}, another seed");
    }
}

#[test]
fn everything_at_once() {
    // At 250 samples the first layers of wide networks lie on two ranks.
    for (network, batch_size) in [(cnn(), 96), (normed(), 96), (wide(), 250), (wide(), 1)] {
        digest_of_all(&[2, 3, 7, 16], &network, FitConfig { batch_size, ..everything() });
    }
}

#[test]
fn each_of_everything_counts() {
    let (network, config) = (mlp(), everything());
    let one = digest(&network, config.clone());
    let augment = config.augment;
    for other in [
        FitConfig { augment: Augment { elastic: 0.0, ..augment }, ..config.clone() },
        FitConfig { augment: Augment { flip: false, ..augment }, ..config.clone() },
        FitConfig { augment: Augment { erase: 0, ..augment }, ..config.clone() },
        FitConfig { augment: Augment { mixup: 0.0, ..augment }, ..config.clone() },
        FitConfig { weight_decay: 0.0, ..config.clone() },
        FitConfig { clip: None, ..config.clone() },
        FitConfig { ema: None, ..config.clone() },
    ] {
        assert_ne!(digest(&network, other.clone()), one, "{other:?} is the same");
    }
}

#[test]
fn the_hardest_samples_are_the_same_for_any_number_of_threads() {
    let network = cnn();
    let run = |threads| {
        let config = StepConfig { batch_size: 96, threads, ..StepConfig::default() };
        let mut trainer = Trainer::new(&network, theta(&network), config).unwrap();
        let mut hardest = Hardest::new(1, train().len());
        for (epoch, share) in [(0, 1.0), (1, 0.3), (2, 0.2)] {
            let order = hardest.epoch(epoch, share).to_vec();
            for samples in order.chunks(96) {
                let batch = ImageBatch::new(train(), samples, Preprocessing::default());
                trainer.step(0.05, &batch).unwrap();
                hardest.record(samples, trainer.residuals());
            }
        }
        (hardest.epoch(3, 0.1).to_vec(), weights_sha256(trainer.theta()))
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn the_plan_cuts_these_batches() {
    // Otherwise the test above would compare one thread with itself.
    let network = cnn();
    let mut shards = 0;
    let mut note = |event: &Event| {
        if let Event::Started { shards: n, .. } = event {
            shards = *n;
        }
        ControlFlow::Continue(())
    };
    let config = FitConfig { max_steps: Some(1), ..config() };
    Fit::new(&network, theta(&network), train(), None, config).unwrap().run(&mut note).unwrap();
    assert!(shards >= 4, "{shards} shards");
}

#[test]
fn first_layers_on_two_ranks() {
    let network = wide();
    for (batch_size, optimizer) in [(1, "adam"), (8, "adam"), (40, "adam"), (64, "sgd"), (100, "sgd")] {
        let optimizer = optimizer.parse().unwrap();
        let config = FitConfig { batch_size, max_steps: Some(40), optimizer, ..config() };
        digest_of_all(&[2, 3], &network, config);
    }
}

#[test]
fn half_tiles() {
    let network = large_cnn();
    for batch_size in [5, 8] {
        let step = StepConfig { batch_size, ..StepConfig::default() };
        let trainer = Trainer::new(&network, theta(&network), step).unwrap();
        assert_eq!(trainer.plan().shards(batch_size), 2);
        digest_of_all(&[2, 3], &network, FitConfig { batch_size, max_steps: Some(20), ..config() });
    }
}

#[test]
fn one_sample_at_a_time() {
    digest_of_all(&[2], &cnn(), FitConfig { batch_size: 1, max_steps: Some(40), ..config() });
}

#[test]
fn evaluation_does_not_depend_on_threads() {
    let (network, config) = (cnn(), config());
    let theta = theta(&network);
    let on = |threads| {
        evaluate(&network, &theta, test(), &config.preprocessing, config.objective, threads).unwrap()
    };
    let one = on(1);
    for threads in [2, 3, 16] {
        let many = on(threads);
        assert_eq!(many, one);
        assert_eq!(many.loss.to_bits(), one.loss.to_bits());
    }
}

/// Every event but those that tell the time.
fn history(fit: &mut Fit<'_>, stop_at: Option<u64>) -> (Progress, Vec<Event>) {
    let mut events = Vec::new();
    let mut note = |event: &Event| {
        let mut event = event.clone();
        if let Event::EpochFinished { seconds, images_per_second, .. } = &mut event {
            (*seconds, *images_per_second) = (0.0, 0.0);
        }
        let stops = matches!(event, Event::Step { step, .. } if Some(step) == stop_at);
        if !matches!(event, Event::Started { .. } | Event::Finished { .. }) {
            events.push(event);
        }
        if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let progress = fit.run(&mut note).unwrap();
    (progress, events)
}

#[test]
fn stopped_anywhere_saved_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    // At 250 samples the first layers of dense networks lie on two ranks, which have weights of their own.
    let plateau = FitConfig {
        schedule: "plateau(patience=1,factor=0.1)".parse().unwrap(),
        patience: Some(3),
        epochs: 4,
        ..everything()
    };
    for (network, batch_size, optimizer, sampling, config) in [
        (cnn(), 300, "adam", Sampling::Shuffled, config()),
        (mlp(), 300, "sgd(momentum=0.9,nesterov)", Sampling::WithReplacement, config()),
        (mlp(), 250, "sgd", Sampling::InOrder, config()),
        (wide(), 250, "adam", Sampling::Shuffled, config()),
        (normed(), 300, "adam", Sampling::Shuffled, config()),
        (normed(), 300, "adam", Sampling::Shuffled, everything()),
        (wide(), 250, "sgd(momentum=0.9)", Sampling::Shuffled, plateau),
    ] {
        let config = FitConfig {
            batch_size,
            max_steps: None,
            optimizer: optimizer.parse().unwrap(),
            sampling,
            log_every: Some(4),
            threads: 2,
            ..config
        };
        let new = || Fit::new(&network, theta(&network), train(), Some(test()), config.clone()).unwrap();
        let mut whole = new();
        let (progress, expected) = history(&mut whole, None);
        assert_eq!(progress, Progress::Done);
        // In the middle of an epoch and of a window, at the end of an epoch, one step before the end.
        let epoch = train().len().div_ceil(batch_size) as u64;
        for stop_at in [1, 6, epoch, whole.total_steps() - 1] {
            let mut first = new();
            let (progress, mut events) = history(&mut first, Some(stop_at));
            assert_eq!((progress, first.step()), (Progress::Stopped, stop_at));
            first.checkpoint().save(&path).unwrap();
            let checkpoint = Checkpoint::load(&path).unwrap();
            assert_eq!(checkpoint, first.checkpoint());
            let mut second =
                Fit::resume(&network, checkpoint, train(), Some(test()), config.clone()).unwrap();
            let (progress, rest) = history(&mut second, None);
            assert_eq!(progress, Progress::Done);
            assert_eq!(weights_sha256(second.theta()), weights_sha256(whole.theta()), "stopped at {stop_at}");
            assert_eq!(second.checkpoint(), whole.checkpoint());
            events.extend(rest);
            assert_eq!(events, expected, "stopped at {stop_at}");
        }
    }
}

#[test]
fn an_evaluation_that_was_cut_short_is_made_up_for() {
    let network = mlp();
    let config = FitConfig { max_steps: None, patience: Some(2), ..config() };
    let new = || Fit::new(&network, theta(&network), train(), Some(test()), config.clone()).unwrap();
    let mut whole = new();
    whole.run(&mut Silent).unwrap();
    let (mut first, stop) = (new(), Arc::new(AtomicBool::new(false)));
    first.stop_on(stop.clone());
    let epoch = first.steps_per_epoch();
    let mut note = |event: &Event| {
        if matches!(event, Event::Step { step, .. } if *step == epoch) {
            stop.store(true, Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    };
    assert_eq!(first.run(&mut note).unwrap(), Progress::Stopped);
    assert!(first.best().is_none(), "the evaluation came to its end");
    let mut second =
        Fit::resume(&network, first.checkpoint(), train(), Some(test()), config.clone()).unwrap();
    second.run(&mut Silent).unwrap();
    assert!(whole.best().is_some());
    assert_eq!(second.checkpoint(), whole.checkpoint());
}

#[test]
fn epoch_by_epoch_is_the_same() {
    let network = mlp();
    let config = FitConfig { max_steps: None, ..config() };
    let mut whole = Fit::new(&network, theta(&network), train(), None, config.clone()).unwrap();
    whole.run(&mut Silent).unwrap();
    let mut parts = Fit::new(&network, theta(&network), train(), None, config).unwrap();
    let mut epochs = 1;
    while parts.run_epoch(&mut Silent).unwrap() == Progress::More {
        assert_eq!(parts.epoch(), epochs);
        epochs += 1;
    }
    assert_eq!(epochs, 3);
    assert_eq!(weights_sha256(parts.theta()), weights_sha256(whole.theta()));
}

#[test]
fn a_checkpoint_of_another_fit_is_refused_by_name() {
    let (network, config) = (mlp(), config());
    let mut fit = Fit::new(&network, theta(&network), train(), None, config.clone()).unwrap();
    fit.run_until(2, &mut Silent).unwrap();
    let resume = |network: &Network, data, config| {
        Fit::resume(network, fit.checkpoint(), data, None, config)
            .map(|fit| fit.step())
            .map_err(|e| e.to_string())
    };
    assert_eq!(resume(&network, train(), FitConfig { threads: 3, ..config.clone() }), Ok(2));
    for (wrong, expected) in [
        (
            resume(&network, train(), FitConfig { seed: 6, ..config.clone() }),
            "the checkpoint's seed is 5, found 6",
        ),
        (
            resume(&network, train(), FitConfig { batch_size: 32, ..config.clone() }),
            "batch size is 96, found 32",
        ),
        (resume(&network, test(), config.clone()), "training data is 2000 images"),
        (resume(&cnn(), train(), config.clone()), "network is 1x28x28"),
        (resume(&network, train(), FitConfig { epochs: 4, ..config.clone() }), "epochs is 3, found 4"),
    ] {
        let error = wrong.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    // With a constant rate a longer run is the same run, gone on with.
    let constant = FitConfig { schedule: "constant".parse().unwrap(), max_steps: Some(4), ..config };
    let mut short = Fit::new(&network, theta(&network), train(), None, constant.clone()).unwrap();
    short.run(&mut Silent).unwrap();
    let longer = FitConfig { max_steps: Some(9), ..constant };
    let mut on = Fit::resume(&network, short.checkpoint(), train(), None, longer.clone()).unwrap();
    on.run(&mut Silent).unwrap();
    assert_eq!(weights_sha256(on.theta()), digest(&network, longer));
}
