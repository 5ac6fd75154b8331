//! Fits from outside: learning, divergence, observers, evaluation, refused settings.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use byhand_datasets::batches::LastBatch;
use byhand_datasets::digits::{self, Part};
use byhand_datasets::{Augment, Crop, Dataset, Preprocessing, dataset::numbered_classes};
use byhand_layers::init::{Init, init_network};
use byhand_layers::{Dense, Layer, Network, Shape};
use byhand_trainer::metrics::{self, argmax};
use byhand_trainer::{
    Adam, AdamW, Checkpoint, DivergenceCause, Event, Fit, FitConfig, FitError, ImageBatch, Member, Objective,
    Optimizer, Progress, Rows, Sampling, Schedule, ScheduleShape, Sgd, Silent, StepConfig, Trainer,
    TrainerError, Views, evaluate, evaluate_each, evaluate_together, training_bytes,
};
use ndarray::{Array2, Array3, Array4, ArrayView2, Axis, s};

use crate::common::{cnn, mlp, test, theta, train};

#[test]
fn digits_are_learned_quickly() {
    let network = cnn();
    let train = &digits::generate(Part::Train, 6_000, digits::SEED);
    let config = FitConfig {
        epochs: 6,
        optimizer: "adam".parse().unwrap(),
        learning_rate: 3e-3,
        schedule: "cosine".parse().unwrap(),
        ..FitConfig::default()
    };
    let mut fit = Fit::new(&network, theta(&network), train, Some(test()), config).unwrap();
    let before = fit.evaluate(test()).unwrap();
    assert!((0.0..0.3).contains(&before.accuracy()), "untrained: {}", before.accuracy());
    let mut losses = Vec::new();
    let mut told = 0.0;
    let mut note = |event: &Event| {
        if let Event::EpochFinished { train_loss, test_accuracy, .. } = event {
            losses.push(*train_loss);
            told = test_accuracy.unwrap();
        }
        ControlFlow::Continue(())
    };
    assert_eq!(fit.run(&mut note).unwrap(), Progress::Done);
    let after = fit.evaluate(test()).unwrap();
    assert!(after.accuracy() > 0.95, "accuracy {}", after.accuracy());
    assert_eq!(after.accuracy(), told);
    assert_eq!(losses.len(), 6);
    assert!(losses[5] < 0.2 * losses[0], "{losses:?}");
}

#[test]
fn divergence_is_found_before_the_update() {
    for threads in [1, 2] {
        let network = cnn();
        let config =
            FitConfig { learning_rate: 1e9, epochs: 5, batch_size: 64, threads, ..FitConfig::default() };
        let mut fit = Fit::new(&network, theta(&network), train(), Some(test()), config).unwrap();
        let mut before = fit.theta().to_vec();
        let mut diverged = None;
        // Step by step, so that the weights before each are known.
        for step in 1..100 {
            match fit.run_until(step, &mut Silent) {
                Ok(_) => before = fit.theta().to_vec(),
                Err(FitError::Diverged(error)) => {
                    diverged = Some(error);
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        let error = diverged.expect("a rate of 1e9 diverges");
        assert_eq!(fit.step(), error.step);
        assert!(fit.theta().iter().zip(&before).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(error.epoch, Some(0));
        let message = error.to_string();
        for part in [
            "training diverged at step",
            "(epoch 0)",
            "not finite",
            "Lower the learning rate (now 1000000000)",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn the_first_bad_tensor_is_named() {
    let network = cnn();
    let mut weights = theta(&network);
    let bad = network.params().iter().find(|p| p.layer_name == "dense").unwrap();
    weights[bad.range.start + 3] = f32::NAN;
    let mut fit = Fit::new(&network, weights, train(), None, FitConfig::default()).unwrap();
    let mut told = None;
    let mut note = |event: &Event| {
        if let Event::Diverged { message, .. } = event {
            told = Some(message.clone());
        }
        ControlFlow::Continue(())
    };
    match fit.run(&mut note) {
        Err(FitError::Diverged(error)) => {
            assert_eq!(error.cause, DivergenceCause::Weights);
            assert_eq!(error.place.as_deref(), Some(&*format!("{} (dense)", bad.name)));
            assert_eq!(told, Some(error.to_string()));
        }
        other => panic!("{other:?}"),
    }
    // The gradients of the failed step are gone: with good weights the next run begins afresh.
    assert_eq!(fit.step(), 0);
}

#[test]
fn a_loss_that_overflows_is_no_update() {
    // Weights near the end of f32: the outputs are infinite.
    let network = Network::new(vec![Box::new(Dense::new(784, 10, true).unwrap())]).unwrap();
    let weights = vec![f32::MAX; network.param_len()];
    let mut fit = Fit::new(&network, weights.clone(), train(), None, FitConfig::default()).unwrap();
    assert!(matches!(fit.run(&mut Silent), Err(FitError::Diverged(_))));
    assert_eq!(fit.theta(), weights);
}

#[test]
fn observers_are_told_in_order_and_stop() {
    let network = mlp();
    let config = FitConfig {
        epochs: 2,
        batch_size: 300,
        log_every: Some(3),
        evaluate_every: Some(5),
        ..FitConfig::default()
    };
    let mut fit = Fit::new(&network, theta(&network), train(), Some(test()), config.clone()).unwrap();
    let (mut names, mut samples) = (Vec::new(), Vec::new());
    let mut note = |event: &Event| {
        names.push(serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_string());
        if let Event::Window { samples: n, accuracy, loss, .. } = event {
            samples.push(*n);
            assert!((0.0..=1.0).contains(&accuracy.unwrap()) && *loss > 0.0);
        }
        ControlFlow::Continue(())
    };
    assert_eq!(fit.run(&mut note).unwrap(), Progress::Done);
    // 2,000 samples in batches of 300: six full ones and one of 200.
    let expected = "started evaluated step step step window step step evaluated step window step epoch_finished \
                    step step window step evaluated step step window step step epoch_finished finished";
    assert_eq!(names.join(" "), expected);
    assert_eq!(samples, [900, 900, 800, 900]);

    let mut fit = Fit::new(&network, theta(&network), train(), None, config.clone()).unwrap();
    let mut finished = None;
    let mut stop = |event: &Event| match event {
        Event::Step { step: 4, .. } => ControlFlow::Break(()),
        Event::Finished { step, stopped, .. } => {
            finished = Some((*step, *stopped));
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Continue(()),
    };
    assert_eq!(fit.run(&mut stop).unwrap(), Progress::Stopped);
    assert_eq!(finished, Some((4, true)));
    assert_eq!(fit.run(&mut Silent).unwrap(), Progress::Done);
    assert_eq!(fit.step(), 14);
    assert_eq!(fit.run(&mut Silent).unwrap(), Progress::Done, "nothing is left to do");
    assert_eq!(fit.step(), 14);
}

/// A program may look at the weights in the middle of an epoch, and go on.
#[test]
fn an_epoch_counts_its_seconds_from_its_first_step() {
    let network = mlp();
    let config = FitConfig { epochs: 2, batch_size: 100, ..FitConfig::default() };
    let mut fit = Fit::new(&network, theta(&network), train(), None, config).unwrap();
    let (mut epochs, mut whole) = (0.0, 0.0);
    let mut note = |event: &Event| {
        match event {
            Event::Step { step, .. } if step % 7 == 0 => return ControlFlow::Break(()),
            Event::EpochFinished { seconds, .. } => epochs += seconds,
            Event::Finished { train_seconds, .. } => whole = *train_seconds,
            _ => {}
        }
        ControlFlow::Continue(())
    };
    while fit.run(&mut note).unwrap() != Progress::Done {}
    assert!((0.5..1.001).contains(&(epochs / whole)), "{epochs} s of {whole} s");
}

#[test]
fn evaluation_equals_a_naive_one() {
    let preprocessing = Preprocessing::centered();
    // The loss is the plain one, also of a network that was trained with label smoothing.
    let objective = Objective::SoftmaxCrossEntropy { label_smoothing: 0.2 };
    let images = test().images();
    let x = Array2::from_shape_fn((test().len(), 784), |(i, f)| {
        f32::from(images[[i, 0, f / 28, f % 28]]) * (1.0 / 255.0) - 0.5
    });
    for network in [cnn(), mlp()] {
        let theta = theta(&network);
        let (found, predictions) =
            evaluate_each(&network, &theta, test(), &preprocessing, objective, 2).unwrap();
        assert_eq!(evaluate(&network, &theta, test(), &preprocessing, objective, 1).unwrap(), found);
        let logits = network.predict(&theta, x.view());
        let (mut loss, mut counts) = (0.0, Array2::<u64>::zeros((10, 10)));
        assert_eq!(predictions.len(), test().len());
        for ((row, &label), said) in logits.rows().into_iter().zip(test().labels()).zip(predictions) {
            let sum: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
            let p = |class: usize| f64::from(row[class]).exp() / sum;
            loss += sum.ln() - f64::from(row[usize::from(label)]);
            let class = argmax(row.iter());
            counts[[usize::from(label), class]] += 1;
            assert_eq!(usize::from(said.class), class);
            assert!((f64::from(said.probability) - p(class)).abs() < 1e-5, "{said:?}");
            assert!((f64::from(said.of_truth) - p(label.into())).abs() < 1e-5, "{said:?}");
        }
        loss /= test().len() as f64;
        assert_eq!(found.samples, 500);
        assert_eq!(found.confusion.counts(), counts);
        assert!((found.loss - loss).abs() < 1e-5 * loss, "{} and {loss}", found.loss);
    }
}

/// Smoothing, weights of the classes and mixup are for training: what is told of the test set and chosen by it is without.
#[test]
fn a_fit_tells_the_plain_loss_of_the_test_set() {
    let network = mlp();
    let config = FitConfig {
        objective: Objective::SoftmaxCrossEntropy { label_smoothing: 0.3 },
        class_weights: (1..=10).map(f64::from).collect(),
        augment: Augment { mixup: 0.4, ..Augment::default() },
        threads: 1,
        ..FitConfig::default()
    };
    let mut told = Vec::new();
    let mut fit = Fit::new(&network, theta(&network), train(), Some(test()), config.clone()).unwrap();
    let mut observer = |event: &Event| {
        if let Event::EpochFinished { test_loss, .. } = event {
            told.extend(*test_loss);
        }
        ControlFlow::Continue(())
    };
    fit.run(&mut observer).unwrap();
    let plain =
        evaluate(&network, fit.theta(), test(), &config.preprocessing, Objective::default(), 1).unwrap();
    assert_eq!(fit.evaluate(test()).unwrap(), plain);
    assert_eq!((told, fit.best().unwrap().loss), (vec![plain.loss], plain.loss));
}

#[test]
fn crops_and_sampling_reach_the_network() {
    let network = Network::new(vec![Box::new(Dense::new(20 * 20, 10, true).unwrap())]).unwrap();
    let preprocessing =
        Preprocessing { crop: Some(Crop::center((28, 28), 20, 20)), ..Preprocessing::default() };
    for sampling in [Sampling::Shuffled, Sampling::WithReplacement, Sampling::InOrder] {
        let config = FitConfig {
            epochs: 4,
            batch_size: 48,
            sampling,
            last_batch: LastBatch::Drop,
            preprocessing,
            ..FitConfig::default()
        };
        let mut fit = Fit::new(&network, theta(&network), train(), Some(test()), config).unwrap();
        assert_eq!(fit.steps_per_epoch(), 41);
        fit.run(&mut Silent).unwrap();
        let accuracy = fit.evaluate(test()).unwrap().accuracy();
        assert!(accuracy > 0.6, "{sampling:?}: {accuracy}");
    }
}

#[test]
fn images_halved_on_the_way_give_the_bits_of_a_halved_data_set() {
    let network = Network::new(vec![Box::new(Dense::new(12 * 10, 10, true).unwrap())]).unwrap();
    let whole = Preprocessing { crop: Some(Crop { y: 1, x: 2, h: 12, w: 10 }), ..Preprocessing::unit() };
    for (batch_size, augment) in [
        (5, Augment { shift: 2, ..Augment::default() }),
        (40, Augment { rotate: 0.3, mixup: 0.4, ..Augment::default() }),
        (1, Augment { flip: true, erase: 6, ..Augment::default() }),
        (40, Augment::default()),
    ] {
        let config = FitConfig { batch_size, augment, max_steps: Some(9), ..FitConfig::default() };
        let trained = |train, test, preprocessing| {
            let config = FitConfig { preprocessing, ..config.clone() };
            let mut fit = Fit::new(&network, theta(&network), train, Some(test), config).unwrap();
            fit.run(&mut Silent).unwrap();
            (fit.theta().to_vec(), fit.evaluate(test).unwrap())
        };
        let [half_train, half_test] = [train(), test()].map(|data| data.halve().unwrap());
        assert_eq!(trained(train(), test(), whole.halved()), trained(&half_train, &half_test, whole));
    }
}

/// How bright the upper half of an image is, and how bright the lower.
fn brightness() -> [Dataset; 2] {
    [train(), test()].map(|digits| {
        let half = |image: ArrayView2<'_, u8>, y: usize| {
            image.slice(s![y..y + 14, ..]).iter().map(|&p| f32::from(p)).sum::<f32>() / (14.0 * 28.0 * 255.0)
        };
        let rows = Array2::from_shape_fn((digits.len(), 2), |(i, k)| {
            half(digits.image(i).index_axis_move(Axis(0), 0), 14 * k)
        });
        Dataset::regression("brightness", digits.images().to_owned(), rows).unwrap()
    })
}

#[test]
fn a_regression_is_fitted_evaluated_and_resumed() {
    let [train, test] = brightness();
    let layers: Vec<Box<dyn Layer<f32>>> = vec![Box::new(Dense::new(784, 2, true).unwrap())];
    let network = Network::new(layers).unwrap();
    let config = FitConfig {
        epochs: 8,
        optimizer: "adam".parse().unwrap(),
        objective: Objective::SquaredError,
        learning_rate: 1e-3,
        schedule: "cosine".parse().unwrap(),
        log_every: Some(20),
        ..FitConfig::default()
    };
    let trained = |threads| {
        let config = FitConfig { threads, ..config.clone() };
        let mut fit =
            Fit::new(&network, vec![0.0; network.param_len()], &train, Some(&test), config.clone()).unwrap();
        let mut none = |event: &Event| {
            let (Event::EpochFinished { train_accuracy: accuracy, test_accuracy: None, .. }
            | Event::Window { accuracy, .. }) = event
            else {
                assert!(!matches!(event, Event::EpochFinished { .. }), "{event:?}");
                return ControlFlow::Continue(());
            };
            assert_eq!(*accuracy, None);
            ControlFlow::Continue(())
        };
        fit.run_until(100, &mut none).unwrap();
        let mut fit = Fit::resume(&network, fit.checkpoint(), &train, Some(&test), config).unwrap();
        fit.run(&mut none).unwrap();
        fit.theta().to_vec()
    };
    let after = trained(1);
    assert_eq!(trained(3), after);

    // By the formula, from predictions.
    let x = Preprocessing::unit().apply(test.images());
    let (y, t) = (network.predict(&after, x.view()), test.targets().unwrap());
    let rmse = metrics::rmse(y.view(), t);
    let found = evaluate(&network, &after, &test, &Preprocessing::unit(), config.objective, 2).unwrap();
    assert!(
        (found.loss - rmse * rmse).abs() < 1e-6 * found.loss,
        "two outputs, halved: {rmse}, {}",
        found.loss
    );
    assert!(found.accuracy().is_nan() && found.samples == 500);
    let spread = t.mapv(f64::from).std_axis(Axis(0), 0.0).mean().unwrap();
    assert!(rmse < 0.5 * spread, "{rmse} against a spread of {spread}");

    // Rows in memory are trained on as the images they come from.
    let rows = Preprocessing::unit().apply(train.images());
    let step = StepConfig { objective: config.objective, batch_size: 40, ..StepConfig::default() };
    let [mut images, mut lying] = [(); 2].map(|()| Trainer::new(&network, theta(&network), step).unwrap());
    let indices: Vec<u32> = (0..40).collect();
    let batch = Rows::regression(rows.slice(s![..40, ..]), train.targets().unwrap().slice_move(s![..40, ..]));
    lying.step(0.1, &batch).unwrap();
    images.step(0.1, &ImageBatch::new(&train, &indices, Preprocessing::unit())).unwrap();
    assert_eq!(images.theta(), lying.theta());
    assert!(images.residuals().all(|residual| residual > 0.0));

    let three =
        Network::new(vec![Box::new(Dense::new(784, 3, true).unwrap()) as Box<dyn Layer<f32>>]).unwrap();
    let error = Fit::new(&three, theta(&three), &train, None, config.clone()).unwrap_err().to_string();
    assert_eq!(error, "brightness: expected target rows of 3 numbers (the network's outputs), found 2");

    // Cross-entropy takes distributions, and nothing else.
    let config = FitConfig { objective: Objective::default(), ..config };
    let error = Fit::new(&network, theta(&network), &train, None, config.clone()).unwrap_err().to_string();
    assert_eq!(
        error,
        "objective: expected squared-error for target rows that are no distributions, found softmax-cross-entropy"
    );
    let soft = Array2::from_shape_fn((train.len(), 2), |(i, k)| if i % 2 == k { 0.75 } else { 0.25 });
    let soft = Dataset::regression("soft", train.images().to_owned(), soft).unwrap();
    Fit::new(&network, theta(&network), &soft, None, config).unwrap().run(&mut Silent).unwrap();
}

/// Images whose class is which channel is brighter, changed in every way on the way, are learned, to the same bits by any number of threads.
#[test]
fn images_in_colour_are_learned() {
    let images = Array4::from_shape_fn((120, 3, 12, 9), |(i, c, y, x)| {
        (40 + 60 * u8::from(i % 3 == c)).wrapping_add(((7 * i + 5 * y + 3 * x) % 50) as u8)
    });
    let labels = (0..120).map(|i| i % 3).collect();
    let data = Dataset::new("hues", images, labels, numbered_classes(3)).unwrap();
    let network = "conv(4,3) relu pool(2) dense(3)".parse::<byhand_models::Spec>().unwrap();
    let network = network.build::<f32>(Shape::new(3, 10, 8)).unwrap();
    let augment = Augment {
        shift: 1,
        rotate: 0.2,
        elastic: 1.0,
        flip: true,
        erase: 3,
        mixup: 0.2,
        ..Augment::default()
    };
    let preprocessing =
        Preprocessing { crop: Some(Crop::center((12, 9), 10, 8)), ..Preprocessing::centered() };
    let trained = |augment: Augment, threads: usize| {
        let config = FitConfig {
            epochs: 20,
            batch_size: 24,
            optimizer: "adam".parse().unwrap(),
            learning_rate: 0.01,
            augment,
            preprocessing,
            threads,
            ..FitConfig::default()
        };
        let mut fit = Fit::new(&network, theta(&network), &data, None, config).unwrap();
        fit.run(&mut Silent).unwrap();
        (fit.evaluate(&data).unwrap().accuracy(), fit.theta().to_vec())
    };
    for augment in [augment, Augment { shift: 1, ..Augment::default() }, Augment::default()] {
        let (accuracy, theta) = trained(augment, 1);
        assert!(accuracy > 0.9, "{augment:?}: {accuracy}");
        assert_eq!(theta, trained(augment, 3).1, "{augment:?}");
    }
    let grey = data.grey().unwrap();
    let error =
        Fit::new(&network, theta(&network), &grey, None, FitConfig { preprocessing, ..FitConfig::default() });
    assert!(error.unwrap_err().to_string().contains("3x10x8"));
}

#[test]
fn more_classes_than_a_byte_has() {
    // Class k is lit at pixel k.
    let images = Array3::from_shape_fn((400, 20, 20), |(i, y, x)| if 20 * y + x == i { 255 } else { 0 });
    let data = Dataset::new("pixels", images, (0..400).collect(), numbered_classes(400)).unwrap();
    let network =
        Network::new(vec![Box::new(Dense::new(400, 400, true).unwrap()) as Box<dyn Layer<f32>>]).unwrap();
    let config = FitConfig { epochs: 20, learning_rate: 20.0, ..FitConfig::default() };
    let mut fit = Fit::new(&network, theta(&network), &data, None, config).unwrap();
    fit.run(&mut Silent).unwrap();
    let found = fit.evaluate(&data).unwrap();
    assert_eq!((found.accuracy(), found.confusion.counts()[[399, 399]]), (1.0, 1));
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let network = mlp();
    let new = |config: FitConfig| match Fit::new(&network, theta(&network), train(), None, config) {
        Ok(_) => "accepted".to_string(),
        Err(error) => error.to_string(),
    };
    let standard = FitConfig::default;
    for (found, expected) in [
        (new(FitConfig { batch_size: 0, ..standard() }), "batch size: expected 1 to 1048576, found 0"),
        (
            new(FitConfig { batch_size: 1_000_000_000_000, ..standard() }),
            "batch size: expected 1 to 1048576, found 1000000000000",
        ),
        (new(FitConfig { epochs: 0, ..standard() }), "epochs: expected at least 1, found 0"),
        (new(FitConfig { max_steps: Some(0), ..standard() }), "max_steps: expected at least 1, found 0"),
        (new(FitConfig { log_every: Some(0), ..standard() }), "log_every: expected at least 1, found 0"),
        (
            new(FitConfig { learning_rate: f64::NAN, ..standard() }),
            "learning rate: expected a number of at least 0, found NaN",
        ),
        (
            new(FitConfig { batch_size: 3_000, last_batch: LastBatch::Drop, ..standard() }),
            "batch size: expected at most the 2000 training samples, as incomplete batches are dropped, found 3000",
        ),
    ] {
        assert_eq!(found, expected);
    }
    let few = Fit::new(&network, vec![0.0; 3], train(), None, standard());
    assert!(matches!(few, Err(TrainerError::Weights { found: 3, .. })));
    let halved = train().halve().unwrap();
    let error = Fit::new(&network, theta(&network), &halved, None, standard()).unwrap_err().to_string();
    assert!(error.contains("expected images that make an input of") && error.contains("1x14x14"), "{error}");
    let nothing = train().take(0);
    assert!(matches!(
        Fit::new(&network, theta(&network), &nothing, None, standard()),
        Err(TrainerError::Empty { .. })
    ));
    let five = Network::new(vec![Box::new(Dense::new(784, 5, true).unwrap())]).unwrap();
    let error = Fit::new(&five, theta(&five), train(), None, standard()).unwrap_err().to_string();
    assert!(error.contains("expected at most 5 classes (the network's outputs), found 10"), "{error}");
}

/// What text is refused for is refused of a value too, in the same words.
#[test]
fn values_are_checked_as_their_texts_are() {
    let network = mlp();
    let refused = |config: FitConfig| {
        Fit::new(&network, theta(&network), train(), None, config).unwrap_err().to_string()
    };
    let (sgd, adam) = (Sgd::default(), Adam::default());
    let optimizers = [
        (Optimizer::Sgd(Sgd { momentum: 1.5, ..sgd }), "sgd(momentum=1.5)"),
        (Optimizer::Sgd(Sgd { momentum: f64::NAN, ..sgd }), "sgd(momentum=nan)"),
        (Optimizer::Sgd(Sgd { nesterov: true, ..sgd }), "sgd(nesterov)"),
        (Optimizer::Sgd(Sgd { weight_decay: -0.1, ..sgd }), "sgd(weight_decay=-0.1)"),
        (Optimizer::Adam(Adam { beta1: -0.5, ..adam }), "adam(beta1=-0.5)"),
        (Optimizer::Adam(Adam { beta2: 2.0, ..adam }), "adam(beta2=2)"),
        (Optimizer::AdamW(AdamW(Adam { eps: 0.0, ..adam })), "adamw(eps=0)"),
        (Optimizer::AdamW(AdamW(Adam { weight_decay: f64::INFINITY, ..adam })), "adamw(weight_decay=inf)"),
    ];
    for (optimizer, text) in optimizers {
        same(
            refused(FitConfig { optimizer, ..FitConfig::default() }),
            text.parse::<Optimizer>().unwrap_err(),
        );
    }
    let smoothed = |label_smoothing| Objective::SoftmaxCrossEntropy { label_smoothing };
    for (objective, text) in [
        (smoothed(5.0), "softmax-cross-entropy(label_smoothing=5)"),
        (smoothed(f64::NAN), "softmax-cross-entropy(label_smoothing=nan)"),
    ] {
        same(
            refused(FitConfig { objective, ..FitConfig::default() }),
            text.parse::<Objective>().unwrap_err(),
        );
    }
    let shaped = |shape| Schedule { shape, warmup: 0 };
    for (schedule, text) in [
        (shaped(ScheduleShape::Step { parts: 0, factor: 0.1 }), "step(parts=0)"),
        (shaped(ScheduleShape::Step { parts: 3, factor: -1.0 }), "step(factor=-1)"),
        (shaped(ScheduleShape::Cosine { floor: 1.5 }), "cosine(floor=1.5)"),
        (shaped(ScheduleShape::OneCycle { rise: 1.0, start: 25.0, end: 1e4 }), "one-cycle(rise=1)"),
        (shaped(ScheduleShape::OneCycle { rise: 0.3, start: 0.5, end: 1e4 }), "one-cycle(start=0.5)"),
        (Schedule { warmup: u64::MAX, ..Schedule::CONSTANT }, "constant(warmup=18446744073709551615)"),
    ] {
        same(refused(FitConfig { schedule, ..FitConfig::default() }), text.parse::<Schedule>().unwrap_err());
    }
    for augment in [
        Augment { rotate: f32::NAN, ..Augment::default() },
        Augment { scale: 1.0, ..Augment::default() },
        Augment { shear: -1.0, ..Augment::default() },
        Augment { elastic: f32::INFINITY, ..Augment::default() },
        Augment { mixup: 1.5, ..Augment::default() },
    ] {
        assert!(refused(FitConfig { augment, ..FitConfig::default() }).contains("expected"));
    }
}

/// Both name the setting, its range and the value.
#[track_caller]
fn same(value: String, text: impl std::fmt::Display) {
    let text = text.to_string();
    let plain = text.split_once("`: ").unwrap().1.replace('`', "");
    let plain = plain
        .strip_prefix("expected ")
        .map_or(plain.clone(), |rest| rest.replacen(" to be ", ": expected ", 1));
    assert_eq!(value, plain, "{text}");
}

/// Set from another thread, the flag stops a fit after the step in hand and an evaluation after some samples; what was learnt
/// stays, and the fit goes on where it stopped.
#[test]
fn a_flag_stops_a_fit_and_an_evaluation() {
    let network = mlp();
    let config = FitConfig { epochs: 2, threads: 2, ..FitConfig::default() };
    let mut whole = Fit::new(&network, theta(&network), train(), Some(test()), config.clone()).unwrap();
    whole.run(&mut Silent).unwrap();
    let mut fit = Fit::new(&network, theta(&network), train(), Some(test()), config).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    fit.stop_on(Arc::clone(&stop));
    let mut stop_at_ten = |event: &Event| {
        if matches!(event, Event::Step { step: 10, .. }) {
            stop.store(true, Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    };
    assert_eq!(fit.run(&mut stop_at_ten).unwrap(), Progress::Stopped);
    assert_eq!(fit.step(), 10);
    assert_eq!(fit.evaluate(test()), Err(TrainerError::Stopped));
    assert_eq!(fit.run(&mut Silent).unwrap(), Progress::Stopped);
    assert_eq!(fit.step(), 10);
    stop.store(false, Ordering::Relaxed);
    assert_eq!(fit.run(&mut Silent).unwrap(), Progress::Done);
    assert_eq!(fit.theta(), whole.theta());
    assert!(fit.evaluate(test()).is_ok());
}

#[test]
fn a_checkpoint_beyond_the_end_is_refused() {
    let network = mlp();
    let config = |epochs| FitConfig { epochs, ..FitConfig::default() };
    let mut fit = Fit::new(&network, theta(&network), train(), None, config(2)).unwrap();
    fit.run(&mut Silent).unwrap();
    let resumed =
        |epochs| Fit::resume(&network, fit.checkpoint(), train(), None, config(epochs)).map(|fit| fit.step());
    assert!(matches!(resumed(1), Err(FitError::Beyond { .. })));
    assert_eq!(resumed(2).unwrap(), fit.step());
    assert_eq!(resumed(3).unwrap(), fit.step());
}

/// What is foretold is at least what weights, gradient and the optimiser's state take, and grows with each of them.
#[test]
fn memory_is_foretold() {
    let (small, large) = (mlp(), cnn());
    let config = StepConfig { threads: 1, ..StepConfig::default() };
    let adam = StepConfig { optimizer: Optimizer::Adam(Adam::default()), ..config };
    for network in [&small, &large] {
        let parameters = 4 * network.param_len() as u64;
        let plain = training_bytes(network, &config);
        assert!(plain > 3 * parameters);
        assert_eq!(training_bytes(network, &adam), plain + 2 * parameters);
        assert!(training_bytes(network, &StepConfig { threads: 5, ..config }) > plain);
        assert!(training_bytes(network, &StepConfig { batch_size: 1 << 20, ..config }) > plain + (784 << 20));
    }
}

/// A fit whose rate moves nothing: no epoch is better than the first. What every step's rate is, and the fit's progress.
fn still(config: FitConfig) -> (Vec<f64>, Progress, u64, Checkpoint) {
    let network = mlp();
    let config = FitConfig { learning_rate: 1e-30, batch_size: 1000, threads: 1, ..config };
    let mut fit = Fit::new(&network, theta(&network), train(), Some(test()), config.clone()).unwrap();
    let mut rates = Vec::new();
    let mut note = |event: &Event| {
        if let Event::Step { learning_rate, .. } = event {
            rates.push(learning_rate / 1e-30);
        }
        ControlFlow::Continue(())
    };
    let progress = fit.run(&mut note).unwrap();
    assert!(fit.is_over());
    assert_eq!(fit.best().unwrap().epoch, 1);
    // Who resumes it finds nothing to do.
    let checkpoint = fit.checkpoint();
    let mut again = Fit::resume(&network, checkpoint.clone(), train(), Some(test()), config).unwrap();
    assert!(again.is_over());
    assert_eq!((again.run(&mut Silent).unwrap(), again.step()), (Progress::Done, fit.step()));
    (rates, progress, fit.epoch(), checkpoint)
}

#[test]
fn patience_ends_a_fit_and_a_plateau_lowers_its_rate() {
    let schedule = "plateau(patience=2,factor=0.5)".parse().unwrap();
    let (rates, progress, epochs, _) = still(FitConfig { epochs: 6, schedule, ..FitConfig::default() });
    assert_eq!((progress, epochs), (Progress::Done, 6));
    let halves = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25];
    assert!(
        rates.iter().zip(halves.iter().flat_map(|rate| [rate; 2])).all(|(a, b)| (a - b).abs() < 1e-9),
        "{rates:?}"
    );

    let (rates, progress, epochs, _) =
        still(FitConfig { epochs: 9, patience: Some(3), ..FitConfig::default() });
    assert_eq!((progress, epochs, rates.len()), (Progress::Done, 4, 8));

    let network = mlp();
    for (config, setting) in [
        (FitConfig { patience: Some(3), ..FitConfig::default() }, "patience: expected a test set"),
        (FitConfig { schedule, ..FitConfig::default() }, "schedule: expected a test set"),
        (FitConfig { patience: Some(0), ..FitConfig::default() }, "patience: expected at least 1"),
    ] {
        let test = (config.patience == Some(0)).then(test);
        let error = Fit::new(&network, theta(&network), train(), test, config).unwrap_err().to_string();
        assert!(error.contains(setting), "{error}");
    }
}

#[test]
fn a_moving_average_is_what_is_evaluated_and_given_back() {
    let network = mlp();
    let config = FitConfig { ema: Some(0.99), epochs: 2, threads: 1, ..FitConfig::default() };
    let run = |config: FitConfig| {
        let mut fit = Fit::new(&network, theta(&network), train(), Some(test()), config).unwrap();
        fit.run(&mut Silent).unwrap();
        fit
    };
    let (averaged, plain) = (run(config.clone()), run(FitConfig { ema: None, ..config }));
    assert_eq!(averaged.checkpoint().theta(), plain.theta(), "training is the same");
    assert_ne!(averaged.theta(), plain.theta());
    let FitConfig { preprocessing, objective, .. } = FitConfig::default();
    let found = evaluate(&network, averaged.theta(), test(), &preprocessing, objective, 1).unwrap();
    assert_eq!(averaged.evaluate(test()).unwrap(), found);
    assert_eq!(averaged.best().unwrap().loss, found.loss);
    assert_eq!(averaged.best().unwrap().theta, averaged.theta());
}

#[test]
fn an_ensemble_says_the_mean_of_its_members_on_all_views() {
    let network = mlp();
    let thetas: Vec<Vec<f32>> = (0..2).map(|seed| init_network(&network, Init::HeNormal, seed)).collect();
    let preprocessing = Preprocessing::centered();
    let members: Vec<Member<'_>> =
        thetas.iter().map(|theta| Member { network: &network, theta, preprocessing }).collect();
    let mirrored = test().mirror();
    assert_eq!(mirrored.image(3)[[0, 5, 2]], test().image(3)[[0, 5, 25]]);
    let moved = |dy: i32, dx: i32| Preprocessing {
        crop: Some(Crop { y: -dy, x: -dx, h: 28, w: 28 }),
        ..preprocessing
    };
    let here = [moved(0, 0), moved(1, 0), moved(-1, 0), moved(0, 1), moved(0, -1)];
    for (views, data, seen) in [
        (Views::default(), vec![test()], &here[..1]),
        (Views { shift: true, flip: false }, vec![test()], &here[..]),
        (Views { shift: true, flip: true }, vec![test(), &mirrored], &here[..]),
    ] {
        let mut mean = ndarray::Array2::<f32>::zeros((test().len(), 10));
        for theta in &thetas {
            for data in &data {
                for seen in seen {
                    mean += &network.predict_proba(theta, seen.apply(data.images()).view());
                }
            }
        }
        mean /= (thetas.len() * views.count()) as f32;
        let of = |threads| evaluate_together(&members, test(), views, threads).unwrap();
        let found = of(1);
        assert_eq!(found, of(3));
        let rows = mean.outer_iter().zip(test().labels());
        let loss: f64 = rows.clone().map(|(row, &label)| -f64::from(row[usize::from(label)]).ln()).sum();
        assert!((found.loss - loss / test().len() as f64).abs() < 1e-5, "{views:?}: {}", found.loss);
        let right =
            rows.filter(|(row, label)| row[usize::from(**label)] >= row.iter().copied().fold(0.0, f32::max));
        assert!((right.count() as f64 / test().len() as f64 - found.accuracy()).abs() < 0.005);
    }
    assert!(evaluate_together(&[], test(), Views::default(), 1).is_err());
    assert!("shift,flop".parse::<Views>().unwrap_err().to_string().contains("found `flop`"));
    assert_eq!("flip, shift".parse::<Views>().unwrap().to_string(), "shift,flip");
}
