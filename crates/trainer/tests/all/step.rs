//! The step from outside: against a naive one, in and out of a session, from rows and from images.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use byhand_datasets::batches::epoch_order;
use byhand_datasets::{Augment, Normalize, Preprocessing};
use byhand_layers::loss::{Labels, Loss, LossStats, SoftmaxCrossEntropy, Target, Weighting};
use byhand_layers::{Block, Dense, Flatten, Layer, Mode, Network, Pass, Shape, Workspace, pack};
use byhand_models::weights_sha256;
use byhand_trainer::{
    BatchSource, DivergenceCause, ImageBatch, Optimizer, Plan, Rows, Sgd, StepConfig, StepStats, TargetRoom,
    Trainer, TrainerError,
};
use ndarray::Array2;

use crate::common::{cnn, large_cnn, mlp, mlp3, normed, theta, train, wide};

fn rows(indices: &[u32]) -> (Array2<f32>, Vec<u16>) {
    let x = Array2::from_shape_fn((indices.len(), 784), |(i, f)| {
        Normalize::unit().apply(train().image(indices[i] as usize)[[0, f / 28, f % 28]])
    });
    (x, indices.iter().map(|&i| train().labels()[i as usize]).collect())
}

fn trainer(network: &Network, batch_size: usize, threads: usize) -> Trainer {
    Trainer::new(network, theta(network), StepConfig { batch_size, threads, ..StepConfig::default() })
        .unwrap()
}

#[test]
fn one_step_of_sgd_is_the_naive_one() {
    for (network, n) in [cnn(), wide(), normed()]
        .into_iter()
        .flat_map(|network| [1, 5, 33, 200].map(|n| (network.clone(), n)))
    {
        let order = epoch_order(2, 0, train().len());
        let (x, labels) = rows(&order[..n]);

        // All samples in one block, one gradient.
        let theta = theta(&network);
        let block = Block::tiled(n);
        let pass = Pass { block, mode: Mode::Train { seed: 0, step: 0, first_sample: 0 } };
        let mut workspace = Workspace::new(&network, block);
        pack(x.view(), block, workspace.input_mut());
        network.forward(&pass, &theta, &mut workspace);
        let (logits, dlogits) = workspace.output_and_grad_mut();
        let loss = SoftmaxCrossEntropy::default();
        let stats = loss.value_and_gradient(block, logits, Labels(&labels).into(), 1.0 / n as f32, dlogits);
        let mut dtheta = vec![0.0; theta.len()];
        network.backward(&pass, &theta, &mut dtheta, &mut workspace);

        let mut trainer = trainer(&network, n, 2);
        let found = trainer.step(0.5, &Rows::new(x.view(), &labels)).unwrap();
        assert_eq!((found.samples, found.correct), (n, stats.correct));
        assert!((found.loss - stats.loss / n as f64).abs() < 1e-5 * found.loss);
        let largest = dtheta.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
        let states = network.params().iter().filter(|param| param.is_state).map(|param| param.range.clone());
        let states: Vec<usize> = states.flatten().collect();
        for (i, ((after, before), g)) in trainer.theta().iter().zip(&theta).zip(&dtheta).enumerate() {
            if states.contains(&i) {
                assert_eq!(*g, 0.0, "{n} samples, state {i}");
                continue;
            }
            let moved = before - after;
            assert!(
                (moved - 0.5 * g).abs() < 1e-5 * largest + 1e-6 * before.abs(),
                "{n} samples, parameter {i}"
            );
        }
    }
}

/// A step makes the running mean and variance 0.9 times what they were and 0.1 times those of the whole minibatch, however it is cut.
#[test]
fn running_statistics_are_those_of_the_minibatch() {
    let network = normed();
    let order = epoch_order(2, 0, train().len());
    for n in [5, 33, 200] {
        let (x, labels) = rows(&order[..n]);
        let theta = theta(&network);
        let (block, mut trainer) = (Block::single(n), trainer(&network, n, 2));
        let mut workspace = Workspace::new(&network, block);
        pack(x.view(), block, workspace.input_mut());
        network.forward(&Pass::train(block, 0, 0, 0), &theta, &mut workspace);
        trainer.step(0.5, &Rows::new(x.view(), &labels)).unwrap();
        let running = |name: &str| {
            let param = network.params().iter().find(|param| param.name == name).unwrap();
            trainer.theta()[param.range.clone()].to_vec()
        };
        // What the first normalisation is fed: six channels of 24 x 24.
        let values = workspace.activation(1);
        for channel in 0..6 {
            let of_channel = values.chunks(576).skip(channel).step_by(6).flatten().map(|&v| f64::from(v));
            let count = (n * 576) as f64;
            let mean = of_channel.clone().sum::<f64>() / count;
            let variance = of_channel.map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
            let found = ["1.running_mean", "1.running_var"].map(|name| f64::from(running(name)[channel]));
            assert!((found[0] - 0.1 * mean).abs() < 1e-6, "{n} samples, mean {channel}: {found:?}");
            assert!(
                (found[1] - 0.9 - 0.1 * variance).abs() < 1e-6,
                "{n} samples, variance {channel}: {found:?}"
            );
        }
    }
}

#[test]
fn a_step_that_stores_no_gradient_has_the_bits_of_one_that_does() {
    const RATE: f64 = 0.3;
    // One sample alone, a part of a tile, a tile: one block each, and all layers on one rank. The last minibatch is smaller.
    for (name, network, sizes) in [("cnn", cnn(), [1, 7, 16]), ("mlp", mlp(), [1, 7, 8])] {
        for n in sizes {
            assert!(!Plan::new(&network, n).has_ranks());
            let mut trainer = trainer(&network, n, 1);
            let mut theta = theta(&network);
            for (step, n) in [n, n, n.div_ceil(2)].into_iter().enumerate() {
                let (x, labels) = rows(&epoch_order(2, step as u64, train().len())[..n]);
                let block = trainer.plan().block(n);
                let pass = Pass::train(block, 0, step as u64, 0);
                let mut workspace = Workspace::new(&network, block);
                pack(x.view(), block, workspace.input_mut());
                network.forward(&pass, &theta, &mut workspace);
                let (logits, dlogits) = workspace.output_and_grad_mut();
                let loss = SoftmaxCrossEntropy::default();
                loss.value_and_gradient(block, logits, Labels(&labels).into(), 1.0 / n as f32, dlogits);
                let mut dtheta = vec![0.0; theta.len()];
                network.backward(&pass, &theta, &mut dtheta, &mut workspace);
                theta.iter_mut().zip(&dtheta).for_each(|(theta, g)| *theta -= RATE as f32 * g);

                trainer.step(RATE, &Rows::new(x.view(), &labels)).unwrap();
                let differ = trainer.theta().iter().zip(&theta).filter(|(a, b)| a.to_bits() != b.to_bits());
                assert_eq!(differ.count(), 0, "{name}, {n} samples, step {step}");
            }
        }
    }
}

#[test]
fn the_first_step_with_momentum_has_the_bits_of_plain_descent() {
    // The velocity is then the gradient: stored for one, for the other only where a layer does not keep its operands.
    // At 33 samples one layer of the last network lies on two ranks, of the one before two layers.
    for (name, network) in [("cnn", cnn()), ("wide", wide()), ("mlp", mlp())] {
        for n in [1, 7, 16, 33, 200, 1000] {
            let (x, labels) = rows(&epoch_order(2, 0, train().len())[..n]);
            let step = |momentum| {
                let optimizer = Optimizer::Sgd(Sgd { momentum, ..Sgd::default() });
                let config = StepConfig { optimizer, batch_size: n, threads: 2, ..StepConfig::default() };
                let mut trainer = Trainer::new(&network, theta(&network), config).unwrap();
                trainer.step(0.3, &Rows::new(x.view(), &labels)).unwrap();
                trainer.into_theta()
            };
            let (plain, with_momentum) = (step(0.0), step(0.9));
            let differ = plain.iter().zip(&with_momentum).filter(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(differ.count(), 0, "{name}, {n} samples");
        }
    }
}

#[test]
fn weights_of_a_threads_own_stay_those_of_all() {
    // Two shards of convolutions: on two threads the second one has a replica of the weights. First layers on two ranks, for one shard and
    // for two: one layer by its inputs, and two by what lies between them.
    for (network, most, shards) in
        [(large_cnn(), 8, 2), (mlp(), 24, 1), (mlp3(), 128, 2), (wide(), 24, 1), (wide(), 160, 2)]
    {
        let order = epoch_order(4, 0, train().len());
        let mut trainers = [1, 2, 3].map(|threads| trainer(&network, most, threads));
        assert_eq!(trainers[0].plan().shards(most), shards);
        // With a short minibatch between, with the first layer or all of them frozen for a while, and with operands so large that the
        // gradient is stored and looked at.
        let (first, all) = (network.params()[0].layer + 1, network.layers().len());
        let huge = 1e19;
        let steps = [
            (most, 0, 1.0),
            (most, 0, 1.0),
            (3, 0, 1.0),
            (most, 0, 1.0),
            (most, first, 1.0),
            (most, all, 1.0),
            (most, 0, 1.0),
            (most, 0, huge),
            (most, 0, 1.0),
        ];
        let mut frozen_before = 0;
        for (number, (n, frozen, scale)) in steps.into_iter().enumerate() {
            let (x, labels) = rows(&order[most * number..][..n]);
            let (x, rate) = (x * scale, 0.1 / f64::from(scale));
            let [one, two, three] = trainers.each_mut().map(|trainer| {
                if frozen != frozen_before {
                    trainer.freeze(frozen);
                }
                trainer.step(rate, &Rows::new(x.view(), &labels)).unwrap();
                weights_sha256(trainer.theta())
            });
            assert_eq!([&two, &three], [&one, &one], "{shards} shards, step {number}");
            frozen_before = frozen;
        }
    }
}

#[test]
fn a_step_leaves_nothing_to_the_next() {
    for network in [cnn(), wide()] {
        let order = epoch_order(4, 0, train().len());
        let (x, labels) = rows(&order[..200]);
        let many = Rows::new(x.view(), &labels);
        let mut used = trainer(&network, 200, 2);
        // Many shards, then one, then many: each as the first step of a trainer with these weights.
        for n in [200, 5, 40, 200, 1] {
            let (x, labels) = rows(&order[200..200 + n]);
            used.step(0.3, &many).unwrap();
            let config = StepConfig { batch_size: 200, threads: 2, ..StepConfig::default() };
            let mut fresh = Trainer::new(&network, used.theta().to_vec(), config).unwrap();
            fresh.step(0.3, &Rows::new(x.view(), &labels)).unwrap();
            used.step(0.3, &Rows::new(x.view(), &labels)).unwrap();
            assert_eq!(weights_sha256(used.theta()), weights_sha256(fresh.theta()), "{n} samples");
        }
    }
}

#[test]
fn frozen_layers_stay_and_the_others_move_as_if_nothing_were_frozen() {
    for (network, n) in [(cnn(), 40), (mlp(), 40), (wide(), 24), (mlp(), 1), (large_cnn(), 8)] {
        for optimizer in ["sgd", "sgd(momentum=0.9,weight_decay=0.1)", "adam"] {
            let step = |trainer: &mut Trainer, number: u64| {
                let (x, labels) = rows(&epoch_order(2, number, train().len())[..n]);
                trainer.step(0.01, &Rows::new(x.view(), &labels)).unwrap()
            };
            for layers in 0..=network.layers().len() {
                let config = StepConfig {
                    batch_size: n,
                    threads: 2,
                    optimizer: optimizer.parse().unwrap(),
                    ..StepConfig::default()
                };
                let mut free = Trainer::new(&network, theta(&network), config).unwrap();
                let mut frozen = Trainer::new(&network, theta(&network), config).unwrap();
                for number in 0..2 {
                    step(&mut free, number);
                    step(&mut frozen, number);
                }
                let before = free.theta().to_vec();
                frozen.freeze(layers);
                assert_eq!(step(&mut free, 2), step(&mut frozen, 2));
                for param in network.params() {
                    let expected = if param.layer < layers { &before } else { free.theta() };
                    let range = param.range.clone();
                    assert_eq!(frozen.theta()[range.clone()], expected[range], "{optimizer}: {}", param.name);
                }
                // Thawed, every layer moves again.
                frozen.freeze(0);
                let before = frozen.theta().to_vec();
                step(&mut frozen, 3);
                for param in network.params() {
                    let range = param.range.clone();
                    assert_ne!(frozen.theta()[range.clone()], before[range], "{optimizer}: {}", param.name);
                }
            }
        }
    }
}

#[test]
fn a_gradient_too_large_is_found_before_anything_moves() {
    // Activations and loss are finite, since the first weights are zero; their gradient, dy times a huge x, is not.
    let network = mlp();
    let mut weights = theta(&network);
    weights[..784 * 64].fill(0.0);
    weights[784 * 64..][..64].fill(1.0);
    let config = StepConfig { batch_size: 1, threads: 1, ..StepConfig::default() };
    let mut trainer = Trainer::new(&network, weights.clone(), config).unwrap();
    let x = Array2::from_elem((1, 784), f32::MAX);
    let diverged = trainer.step(0.1, &Rows::new(x.view(), &[3])).unwrap_err();
    assert_eq!(diverged.cause, DivergenceCause::Gradient);
    assert_eq!(diverged.place.as_deref(), Some("1.weight (dense)"));
    assert_eq!((trainer.theta(), trainer.steps()), (&weights[..], 0));
}

#[test]
fn a_gradient_too_large_behind_small_ones_is_found_before_anything_moves() {
    // Inputs, activations and the gradients of the layers behind are small; weights of 1e30 in the second layer make a gradient of the first
    // one's sums whose product with the input is not finite. Of the first network both layers lie on two ranks, of the other the first alone.
    for (network, tensor) in [(wide(), "1.weight (dense)"), (mlp3(), "0.weight (dense)")] {
        let [first, bias, second] = [0, 1, 2].map(|tensor| network.params()[tensor].range.clone());
        let (inputs, mut weights) = (second.len() / bias.len(), theta(&network));
        weights[first].fill(0.0);
        weights[bias].fill(1e-30);
        for (output, row) in weights[second].chunks_exact_mut(inputs).enumerate() {
            row.fill(if output % 2 == 0 { 1e30 } else { -1e30 });
        }
        let labels: Vec<u16> = (0..24).map(|i| i % 10).collect();
        let [large, none] = [1e15, 0.0].map(|x| Array2::from_elem((24, 784), x));
        for threads in [1, 2] {
            let config = StepConfig { batch_size: 24, threads, ..StepConfig::default() };
            let [mut trainer, mut other] =
                [(); 2].map(|()| Trainer::new(&network, weights.clone(), config).unwrap());
            let diverged = trainer.step(0.1, &Rows::new(large.view(), &labels)).unwrap_err();
            assert_eq!(diverged.cause, DivergenceCause::Gradient);
            assert_eq!(diverged.place.as_deref(), Some(tensor));
            assert_eq!((trainer.theta(), trainer.steps()), (&weights[..], 0));
            // Nothing of it is left to the next step.
            let [after, alone] = [&mut trainer, &mut other].map(|trainer| {
                trainer.step(1e-30, &Rows::new(none.view(), &labels)).unwrap();
                weights_sha256(trainer.theta())
            });
            assert_eq!(after, alone);
        }
    }
}

#[test]
fn in_and_out_of_a_session_from_rows_and_from_images() {
    let network = mlp();
    let order = epoch_order(2, 0, train().len());
    let digest = |size: usize, in_session: bool, from_rows: bool, threads: usize| {
        // The last batch is smaller.
        let batches = [&order[..size], &order[size..2 * size], &order[2 * size..2 * size + 5]];
        let mut trainer = trainer(&network, size, threads);
        let all = |trainer: &mut Trainer| {
            for indices in batches {
                let (x, labels) = rows(indices);
                let image_batch = ImageBatch::new(train(), indices, Preprocessing::default());
                let stats = match from_rows {
                    true => trainer.step(0.1, &Rows::new(x.view(), &labels)),
                    false => trainer.step(0.1, &image_batch),
                };
                assert_eq!(stats.unwrap().samples, indices.len());
            }
        };
        match in_session {
            true => trainer.session(all),
            false => all(&mut trainer),
        }
        assert_eq!(trainer.steps(), 3);
        weights_sha256(trainer.theta())
    };
    // Of 7 samples one comes after the other; of 20, 40 and 100 the first layer lies on two ranks, of 300 it does not.
    for size in [7, 20, 40, 100, 300] {
        let expected = digest(size, true, true, 1);
        for threads in [1, 2] {
            for in_session in [true, false] {
                for from_rows in [true, false] {
                    assert_eq!(digest(size, in_session, from_rows, threads), expected, "{size} samples");
                }
            }
        }
    }
}

#[test]
fn samples_too_large_for_tiles_are_not_cut() {
    // At 40 samples a first layer of fewer outputs lies on two ranks; with so many, samples come one after the other.
    let layers: Vec<Box<dyn Layer<f32>>> = vec![
        Box::new(Flatten::new(Shape::new(1, 28, 28))),
        Box::new(Dense::new(784, 24_000, true).unwrap()),
        Box::new(Dense::new(24_000, 2, true).unwrap()),
    ];
    let network = Network::new(layers).unwrap();
    let (x, _) = rows(&epoch_order(2, 0, train().len())[..40]);
    let labels = [0, 1].repeat(20);
    let [one, two] = [1, 2].map(|threads| {
        let mut trainer = trainer(&network, 40, threads);
        assert_eq!(trainer.plan().block(40).lanes(), 1);
        trainer.step(1e-4, &Rows::new(x.view(), &labels)).unwrap();
        weights_sha256(trainer.theta())
    });
    assert_eq!(one, two);
}

#[test]
fn images_that_change_are_those_that_the_batch_writes() {
    // Ranks read halves of the inputs, but a changed image is made as a whole.
    let network = mlp();
    let augment = Augment { shift: 2, rotate: 0.1, ..Augment::default() };
    let indices: Vec<u32> = (0..100).collect();
    for n in [20, 100] {
        for threads in [1, 2, 3] {
            let [mut from_images, mut from_rows] = [(); 2].map(|()| trainer(&network, n, threads));
            for step in 0..3 {
                let images = ImageBatch::new(train(), &indices[..n], Preprocessing::default());
                let images = images.augmented(&augment, 5, step);
                let labels = rows(&indices[..n]).1;
                let mut x = Array2::zeros((n, 784));
                let mut scratch = vec![0; images.scratch_len()];
                images.fill(0..n, Block::single(n), x.as_slice_mut().unwrap(), &mut scratch);
                from_images.step(0.1, &images).unwrap();
                from_rows.step(0.1, &Rows::new(x.view(), &labels)).unwrap();
            }
            let [images, rows] = [from_images, from_rows].map(|trainer| weights_sha256(trainer.theta()));
            assert_eq!(images, rows, "{n} samples, {threads} threads");
        }
    }
}

#[test]
fn residuals_are_what_the_softmax_leaves_of_the_class() {
    // 200 samples are several shards, each of tiles; a smaller minibatch has other borders; 2 samples lie one after the other.
    let network = cnn();
    for threads in [1, 2] {
        for sizes in [&[200, 170, 200][..], &[2, 1]] {
            let mut trainer = trainer(&network, sizes[0], threads);
            assert_eq!(trainer.residuals().count(), 0, "before the first step");
            for &size in sizes {
                let indices: Vec<u32> = (0..size as u32).map(|i| 3 * i).collect();
                let (x, labels) = rows(&indices);
                let mut expected = network.predict(trainer.theta(), x.view());
                for (mut logits, &label) in expected.outer_iter_mut().zip(&labels) {
                    logits.mapv_inplace(f32::exp);
                    let p = logits[usize::from(label)] / logits.sum();
                    logits[0] = 1.0 - p;
                }
                trainer.step(0.05, &Rows::new(x.view(), &labels)).unwrap();
                let found: Vec<f32> = trainer.residuals().collect();
                assert_eq!(found.len(), size);
                for (i, (found, expected)) in found.iter().zip(expected.column(0)).enumerate() {
                    assert!((found - expected).abs() < 1e-4, "sample {i} of {size}: {found}, {expected}");
                }
            }
        }
    }
}

#[test]
fn a_loss_of_ones_own_is_trained_for() {
    /// Half of softmax cross-entropy.
    #[derive(Debug)]
    struct Half;
    impl Loss<f32> for Half {
        fn value_and_gradient(
            &self,
            block: Block,
            logits: &[f32],
            target: Target<'_, f32>,
            scale: f32,
            dlogits: &mut [f32],
        ) -> LossStats {
            let whole = SoftmaxCrossEntropy::default();
            let LossStats { loss, correct } =
                whole.value_and_gradient(block, logits, target, scale / 2.0, dlogits);
            LossStats { loss: loss / 2.0, correct }
        }
    }
    let (x, labels) = rows(&epoch_order(2, 0, train().len())[..40]);
    let batch = Rows::new(x.view(), &labels);
    let (mut own, mut other) = (trainer(&cnn(), 40, 2).with_loss(Box::new(Half)), trainer(&cnn(), 40, 2));
    let (half, whole) = (own.step(0.2, &batch).unwrap(), other.step(0.1, &batch).unwrap());
    assert_eq!((2.0 * half.loss, half.correct), (whole.loss, whole.correct));
    assert_eq!(own.theta(), other.theta(), "halves are exact");
}

/// The mean is over what all samples of the minibatch count, however it is cut: a class of weight 2 does what its samples do that come
/// twice, an ignored sample what one does that does not come.
#[test]
fn samples_count_what_the_loss_says() {
    let indices = &epoch_order(2, 0, train().len())[..90];
    let (x, mut labels) = rows(indices);
    let weighting = |classes, ignore| Weighting { classes, ignore };
    let step = |x: &Array2<f32>, labels: &[u16], label_smoothing, weighting: Weighting, threads| {
        let loss = SoftmaxCrossEntropy { label_smoothing, weighting };
        let mut trainer = trainer(&cnn(), labels.len(), threads).with_loss(Box::new(loss));
        let stats = trainer.step(0.5, &Rows::new(x.view(), labels)).unwrap();
        (stats, trainer.residuals().collect::<Vec<_>>(), trainer.into_theta())
    };
    type Stepped = (StepStats, Vec<f32>, Vec<f32>);
    let compare = |what: &str, a: &Stepped, b: &Stepped| {
        assert!((a.0.loss - b.0.loss).abs() < 1e-5, "{what}: {} and {}", a.0.loss, b.0.loss);
        let apart = a.2.iter().zip(&b.2).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{what}: weights {apart} apart");
    };
    let mut weights = vec![1.0; 10];
    weights[usize::from(labels[0])] = 2.0;
    let again = (0..90).filter(|&i| labels[i] == labels[0]).map(|i| indices[i]);
    let (x_twice, labels_twice) = rows(&indices.iter().copied().chain(again).collect::<Vec<_>>());
    let weighted = step(&x, &labels, 0.0, weighting(weights.clone(), None), 2);
    compare("weighted", &weighted, &step(&x_twice, &labels_twice, 0.0, Weighting::none(), 2));
    assert_eq!(weighted.2, step(&x, &labels, 0.0, weighting(weights.clone(), None), 1).2, "threads");

    let kept: Vec<u32> = (0..90).filter(|i| i % 3 > 0).map(|i| indices[i]).collect();
    let (x_kept, labels_kept) = rows(&kept);
    (0..90).step_by(3).for_each(|i| labels[i] = 999);
    let ignoring = step(&x, &labels, 0.1, weighting(weights.clone(), Some(999)), 2);
    compare("ignored", &ignoring, &step(&x_kept, &labels_kept, 0.1, weighting(weights, None), 2));
    assert!((0..90).all(|i| (ignoring.1[i] == 0.0) == (i % 3 == 0)), "residuals");

    // None counts: nothing moves, and nothing is said to have gone wrong.
    let none = step(&x, &[999; 90], 0.1, weighting(vec![], Some(999)), 2);
    assert_eq!((none.0.loss, none.0.correct, none.2), (0.0, 0, theta(&cnn())));
}

#[test]
fn augmentation_is_the_same_in_both_layouts() {
    // Two samples lie one after the other, three side by side; sample i of a step is moved alike in both.
    let augment = Augment { shift: 3, rotate: 0.2, scale: 0.1, shear: 0.1, ..Augment::default() };
    let batch = ImageBatch::new(train(), &[4, 5, 6], Preprocessing::default()).augmented(&augment, 1, 9);
    let (single, tiled) = (Block::single(3), Block::tiled(3));
    let (mut x, mut y) = (vec![0.0; single.len(784)], vec![0.0; tiled.len(784)]);
    let mut scratch = vec![0; batch.scratch_len()];
    batch.fill(0..3, single, &mut x, &mut scratch);
    batch.fill(0..3, tiled, &mut y, &mut scratch);
    for sample in 0..3 {
        for feature in 0..784 {
            let (a, b) = (single.index(784, sample, feature), tiled.index(784, sample, feature));
            assert_eq!(x[a], y[b], "sample {sample}, feature {feature}");
        }
    }
    let plain = ImageBatch::new(train(), &[4, 5, 6], Preprocessing::default());
    let moved = x.clone();
    plain.fill(0..3, single, &mut x, &mut scratch);
    assert_ne!(x, moved);
}

/// A minibatch that breaks off when samples from the hundredth on, or the last of fewer, are asked for.
struct Broken<'a> {
    images: ImageBatch<'a>,
    how: Breaks,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Breaks {
    InTarget,
    InFill,
    NoSuchLabel,
    InRows,
}

impl Broken<'_> {
    fn reaches(&self, samples: &Range<usize>) -> bool {
        samples.end > 100 || samples.end == self.len()
    }
}

impl BatchSource for Broken<'_> {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn target<'a>(&'a self, samples: Range<usize>, room: &'a mut TargetRoom) -> Target<'a, f32> {
        assert!(self.how != Breaks::InTarget || !self.reaches(&samples), "no such label");
        if self.how == Breaks::NoSuchLabel && self.reaches(&samples) {
            let labels = room.labels(samples.len());
            labels.fill(255);
            return Labels(labels).into();
        }
        self.images.target(samples, room)
    }

    fn fill(&self, samples: Range<usize>, block: Block, x: &mut [f32], scratch: &mut [u8]) {
        assert!(self.how != Breaks::InFill || !self.reaches(&samples), "no such sample");
        self.images.fill(samples, block, x, scratch);
    }

    fn rows(&self) -> Option<&[f32]> {
        assert!(self.how != Breaks::InRows, "no such rows");
        None
    }
}

#[test]
fn a_panic_of_the_source_reaches_the_caller_and_leaves_a_whole_trainer() {
    // Shards, one after the other or not; first layers on two ranks.
    for (network, n) in [(cnn(), 200), (cnn(), 3), (mlp(), 24), (wide(), 24), (wide(), 160)] {
        for (threads, optimizer) in [(1, "sgd"), (2, "sgd"), (2, "adam")] {
            let config = StepConfig {
                batch_size: n,
                threads,
                optimizer: optimizer.parse().unwrap(),
                ..StepConfig::default()
            };
            let indices: Vec<u32> = (0..2 * n as u32).collect();
            let images = |step: usize| {
                ImageBatch::new(train(), &indices[step % 2 * n..][..n], Preprocessing::default())
            };
            let [mut trainer, mut other] =
                [(); 2].map(|()| Trainer::new(&network, theta(&network), config).unwrap());
            for (step, how) in [Breaks::InTarget, Breaks::InFill, Breaks::NoSuchLabel, Breaks::InRows]
                .into_iter()
                .enumerate()
            {
                let broken = Broken { images: images(step + 1), how };
                let before = trainer.theta().to_vec();
                let panicking = || trainer.session(|trainer| trainer.step(0.01, &broken).map(|_| ()));
                assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err(), "{how:?}, {n} samples");
                assert_eq!((trainer.theta(), trainer.steps()), (&before[..], step as u64));
                for trainer in [&mut trainer, &mut other] {
                    trainer.step(0.01, &images(step)).unwrap();
                }
                let hashes = [&trainer, &other].map(|trainer| weights_sha256(trainer.theta()));
                assert_eq!(hashes[0], hashes[1], "{how:?}, {n} samples, {threads} threads, {optimizer}");
                assert_eq!(trainer.optimizer_state(), other.optimizer_state());
            }
        }
    }
}

#[test]
fn a_source_is_asked_for_its_rows_once_a_step() {
    /// Rows that are there when they are asked for first, and never again.
    struct Once<'a> {
        rows: Rows<'a>,
        asked: AtomicUsize,
    }
    impl BatchSource for Once<'_> {
        fn len(&self) -> usize {
            self.rows.len()
        }
        fn target<'a>(&'a self, samples: Range<usize>, room: &'a mut TargetRoom) -> Target<'a, f32> {
            self.rows.target(samples, room)
        }
        fn fill(&self, _: Range<usize>, _: Block, _: &mut [f32], _: &mut [u8]) {
            panic!("the rows are there");
        }
        fn rows(&self) -> Option<&[f32]> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            self.rows.rows().filter(|_| asked == 0)
        }
    }
    for (network, n) in [(mlp3(), 1), (mlp3(), 24), (mlp3(), 300), (wide(), 24), (wide(), 300)] {
        for threads in [1, 2] {
            let (x, labels) = rows(&epoch_order(2, 0, train().len())[..n]);
            let rows = Rows::new(x.view(), &labels);
            let once = Once { rows, asked: AtomicUsize::new(0) };
            let [mut trainer, mut other] = [(); 2].map(|()| trainer(&network, n, threads));
            trainer.step(0.1, &once).unwrap();
            other.step(0.1, &rows).unwrap();
            assert_eq!(once.asked.into_inner(), 1);
            assert_eq!(weights_sha256(trainer.theta()), weights_sha256(other.theta()), "{n} samples");
        }
    }
}

#[test]
fn bounds_are_checked() {
    let network = mlp();
    let config = StepConfig { batch_size: 4, threads: 1, ..StepConfig::default() };
    let few = Trainer::new(&network, vec![0.0; 5], config).unwrap_err();
    assert_eq!(few, TrainerError::Weights { expected: network.param_len(), found: 5 });
    let (x, labels) = rows(&[0, 1, 2, 3, 4]);
    let mut trainer = Trainer::new(&network, theta(&network), config).unwrap();
    let step = || trainer.step(0.1, &Rows::new(x.view(), &labels));
    let panic = catch_unwind(AssertUnwindSafe(step)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "a minibatch of 5 samples, expected 1 to 4");
}

#[test]
fn decay_clipping_and_average_are_their_formulas() {
    for (network, n) in [(cnn(), 64), (wide(), 40), (wide(), 250), (normed(), 64)] {
        let order = epoch_order(2, 0, train().len());
        let (x, labels) = rows(&order[..n]);
        let (start, lr) = (theta(&network), 0.5);
        let stepped = |config: StepConfig, steps: usize| {
            let config = StepConfig { batch_size: n, threads: 2, ..config };
            let mut trainer = Trainer::new(&network, theta(&network), config).unwrap();
            for _ in 0..steps {
                trainer.step(lr, &Rows::new(x.view(), &labels)).unwrap();
            }
            (trainer.theta().to_vec(), trainer.average().to_vec())
        };
        let (plain, average) = stepped(StepConfig::default(), 1);
        assert_eq!(average, plain, "without an average");
        let params =
            || network.params().iter().flat_map(|param| param.range.clone().map(move |i| (param, i)));
        let close = |found: &[f32], expected: &dyn Fn(usize) -> f32| {
            for (param, i) in params() {
                let (found, expected) = (found[i], expected(i));
                let apart = (found - expected).abs();
                assert!(
                    apart <= 1e-5 * expected.abs().max(0.1),
                    "{} {i}: {found}, not {expected}",
                    param.name
                );
            }
        };
        let squares = params()
            .filter(|(param, _)| !param.is_state)
            .map(|(_, i)| f64::from((start[i] - plain[i]) / 0.5).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        let is_state: Vec<bool> = params().map(|(param, _)| param.is_state).collect();
        let (clipped, _) = stepped(StepConfig { clip: Some(norm / 4.0), ..StepConfig::default() }, 1);
        let quarter = |i: usize| if is_state[i] { plain[i] } else { start[i] - (start[i] - plain[i]) / 4.0 };
        close(&clipped, &quarter);
        let (whole, _) = stepped(StepConfig { clip: Some(norm * 1.01), ..StepConfig::default() }, 1);
        close(&whole, &|i| plain[i]);

        let decays: Vec<bool> = params().map(|(param, _)| param.shape.len() > 1).collect();
        assert!(decays.contains(&true) && decays.contains(&false));
        let (decayed, _) = stepped(StepConfig { weight_decay: 0.2, ..StepConfig::default() }, 1);
        // A tenth of each weight goes; its gradient is that of the weight before.
        close(&decayed, &|i| if decays[i] { plain[i] - 0.1 * start[i] } else { plain[i] });

        let (second, average) = stepped(StepConfig { ema: Some(0.9), ..StepConfig::default() }, 2);
        assert_eq!(second, stepped(StepConfig::default(), 2).0, "an average moves nothing");
        close(&average, &|i| plain[i] / 11.0 + second[i] * 10.0 / 11.0);
    }
}

#[test]
fn settings_of_a_step_are_checked() {
    let refused = |config: StepConfig| Trainer::new(&mlp(), theta(&mlp()), config).unwrap_err().to_string();
    let none = StepConfig::default();
    for (config, expected) in [
        (
            StepConfig { weight_decay: -1.0, ..none },
            "weight decay: expected a number of at least 0, found -1",
        ),
        (StepConfig { clip: Some(0.0), ..none }, "clip: expected a number above 0, found 0"),
        (StepConfig { clip: Some(f64::NAN), ..none }, "clip: expected a number above 0, found NaN"),
        (StepConfig { ema: Some(1.0), ..none }, "ema: expected at least 0 and below 1, found 1"),
    ] {
        assert_eq!(refused(config), expected);
    }
}
