//! Checks that the same bits come out: for any threads, instruction sets, batches, and after any stop.

use std::{
    collections::BTreeSet,
    hint,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Result;
use byhand_datasets::{
    Augment, Dataset,
    digits::{self, Part},
};
use byhand_layers::{
    Network, Shape,
    init::{Init, init_network},
};
use byhand_models::{MODELS, NamedModel, Spec, weights_sha256};
use byhand_tensor::Isa;
use byhand_trainer::{Checkpoint, Fit, FitConfig, Silent};
use ndarray::{Array2, Axis};

use super::Outcome;

/// Digits as a model takes them.
fn data(model: &NamedModel, samples: usize) -> Result<Dataset> {
    let digits = digits::generate(Part::Train, samples, 3);
    let classes: Vec<u16> = (0..model.classes() as u16).collect();
    let digits = digits.keep_classes(&classes)?;
    Ok(if model.input.h == 14 { digits.halve()? } else { digits })
}

/// The digest of the weights after `steps` steps.
fn trained(network: &Network<f32>, data: &Dataset, steps: u64, threads: usize) -> Result<String> {
    let config = FitConfig {
        epochs: u64::MAX,
        max_steps: Some(steps),
        batch_size: 40,
        optimizer: "adam".parse()?,
        learning_rate: 1e-3,
        augment: Augment { shift: 1, ..Augment::default() },
        seed: 7,
        threads,
        ..FitConfig::default()
    };
    let mut fit = Fit::new(network, init_network(network, Init::HeNormal, 1), data, None, config)?;
    fit.run(&mut Silent)?;
    Ok(weights_sha256(fit.theta()))
}

pub fn threads(repeats: usize) -> Result<Outcome> {
    let (mut failures, mut runs) = (Vec::new(), 0);
    for model in MODELS {
        let (data, network) = (data(model, 120)?, model.network::<f32>());
        let mut digests = BTreeSet::new();
        for network in [&network, &network.unfused()] {
            for threads in [1, 2, 3, 7, 16] {
                digests.insert(trained(network, &data, 6, threads)?);
                runs += 1;
            }
        }
        under_load(|| -> Result<()> {
            for _ in 0..repeats {
                digests.insert(trained(&network, &data, 6, 3)?);
                runs += 1;
            }
            Ok(())
        })?;
        if digests.len() != 1 {
            failures.push(format!("{}: {} digests", model.name, digests.len()));
        }
    }
    Ok(Outcome::of(
        format!("{} models, {runs} runs: {} with more than one digest", MODELS.len(), failures.len()),
        &failures,
    ))
}

/// Runs `work` while every core has something else to do.
fn under_load<R>(work: impl FnOnce() -> R) -> R {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[cfg(not(feature = "proofs"))]
pub fn gradients_exact(_: usize) -> Result<Outcome> {
    Ok(Outcome::skipped("this build has no proofs; `cargo xtask gradcheck` builds them"))
}

#[cfg(feature = "proofs")]
pub fn gradients_exact(shapes: usize) -> Result<Outcome> {
    use byhand_layers::{
        AvgPool2d, Conv2d, ConvOptions, Dense, MaxPool2d, Padding, PoolOptions,
        check::{Checked, Clause, Options, check_layer},
    };

    use super::small::Chance;

    let mut chance = Chance::new(2);
    let mut layers: Vec<Box<dyn Checked>> = Vec::new();
    while layers.len() < shapes {
        let mut pair = |from: usize, to: usize| [(); 2].map(|()| from + chance.below(to - from));
        let ([h, w], kernel, stride, pad) = (pair(1, 16), pair(1, 5), pair(1, 4), pair(0, 3));
        let [inputs, outputs] = pair(1, 60);
        let [c, c_out] = pair(1, 7);
        let shape = Shape::new(c, h, w);
        let [dilation, sides] = [pair(1, 3), pair(0, 3)];
        let [groups, _] = pair(1, 3);
        let bias = h % 2 == 0;
        let pad = Padding::Sides([pad[0], pad[1], sides[0], sides[1]]);
        let pool = PoolOptions { stride, pad, dilation, ceil: bias, ..PoolOptions::new(kernel) };
        match layers.len() % 4 {
            0 => layers.extend(
                Conv2d::new(shape, c_out, ConvOptions { kernel, stride, pad, dilation, groups, bias })
                    .map(|layer| Box::new(layer) as Box<dyn Checked>),
            ),
            1 => layers.push(Box::new(Dense::new(inputs, outputs, bias)?)),
            2 => layers.extend(
                MaxPool2d::with_options(shape, pool).map(|layer| Box::new(layer) as Box<dyn Checked>),
            ),
            _ => layers.extend(
                AvgPool2d::with_options(shape, pool, w % 2 == 0)
                    .map(|layer| Box::new(layer) as Box<dyn Checked>),
            ),
        }
    }
    let (mut identities, mut failures) = (0, Vec::new());
    for (seed, layer) in layers.iter().enumerate() {
        let options = Options { seed: seed as u64, samples: vec![3, 17], ..Options::default() };
        let report = check_layer(&**layer, &options);
        let exact = report.outcomes.iter().filter(|outcome| outcome.clause == Clause::Adjoint);
        identities += exact.map(|outcome| outcome.checks).sum::<usize>();
        failures.extend(report.failures.iter().map(|failure| {
            format!("{} on {}: {}: {}", report.layer, report.input, failure.clause.name(), failure.detail)
        }));
    }
    let isas = Isa::available().len();
    Ok(Outcome::of(
        format!(
            "{shapes} shapes, {identities} exact identities on {isas} instruction sets: {} broken",
            failures.len()
        ),
        &failures,
    ))
}

pub fn batch_invariance(images: usize) -> Result<Outcome> {
    let mut failures = Vec::new();
    for model in MODELS {
        let network = model.network::<f32>();
        let theta = init_network(&network, Init::HeNormal, 1);
        let x = Array2::from_shape_fn((images, network.input().features()), |(image, pixel)| {
            ((image * 31 + pixel * 17) % 256) as f32 / 255.0
        });
        let bits = |y: Array2<f32>| y.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        let alone: Vec<u32> =
            x.axis_chunks_iter(Axis(0), 1).flat_map(|one| bits(network.predict(&theta, one))).collect();
        for batch in [2, 3, 5, 16, 17, 64, 256] {
            let batches = x.axis_chunks_iter(Axis(0), batch);
            if batches.flat_map(|some| bits(network.predict(&theta, some))).ne(alone.iter().copied()) {
                failures.push(format!("{} in batches of {batch}", model.name));
            }
        }
    }
    Ok(Outcome::of(
        format!(
            "{} models, {images} images alone and in batches of 2 to 256: {} differ",
            MODELS.len(),
            failures.len()
        ),
        &failures,
    ))
}

pub fn instruction_sets(steps: usize) -> Result<Outcome> {
    let fused: Vec<Isa> = Isa::available().into_iter().filter(|isa| isa.is_fused()).collect();
    if fused.len() < 2 {
        return Ok(Outcome::skipped(
            "this machine has fewer than two instruction sets with fused multiply-add",
        ));
    }
    let mut failures = Vec::new();
    for model in MODELS {
        let (data, network) = (data(model, 200)?, model.network::<f32>());
        // One thread: another instruction set is in use on this one alone.
        let digest = |isa: &Isa| isa.with(|| trained(&network, &data, steps as u64, 1));
        let digests = fused.iter().map(digest).collect::<Result<BTreeSet<String>>>()?;
        if digests.len() != 1 {
            failures.push(format!("{}: {} digests", model.name, digests.len()));
        }
    }
    let names: Vec<&str> = fused.iter().map(|isa| isa.name()).collect();
    Ok(Outcome::of(
        format!("{} models, {steps} steps on {}: {} differ", MODELS.len(), names.join(", "), failures.len()),
        &failures,
    ))
}

pub fn resume(stops: usize) -> Result<Outcome> {
    let train = digits::generate(Part::Train, 300, 3);
    let spec: Spec = "conv(4,5) relu pool(2) dropout(0.2) dense(10)".parse()?;
    let network = spec.build::<f32>(Shape::new(1, 28, 28))?;
    // Ten steps an epoch, the last one a short one.
    let config = |threads| -> Result<FitConfig> {
        Ok(FitConfig {
            epochs: 7,
            batch_size: 32,
            optimizer: "adam".parse()?,
            learning_rate: 1e-3,
            schedule: "one-cycle".parse()?,
            augment: Augment { shift: 2, ..Augment::default() },
            threads,
            ..FitConfig::default()
        })
    };
    let begin = |threads| -> Result<Fit<'_>> {
        Ok(Fit::new(&network, init_network(&network, Init::HeNormal, 1), &train, None, config(threads)?)?)
    };
    let mut whole = begin(1)?;
    whole.run(&mut Silent)?;
    let expected = weights_sha256(whole.theta());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("checkpoint");
    let mut failures = Vec::new();
    for stop in 1..=stops {
        let threads = [1, 2, 3, 7, 16];
        let mut first = begin(threads[stop % 5])?;
        first.run_until(stop as u64, &mut Silent)?;
        first.checkpoint().save(&path)?;
        let mut second = Fit::resume(
            &network,
            Checkpoint::load(&path)?,
            &train,
            None,
            config(threads[(stop + 1 + stop / 5) % 5])?,
        )?;
        second.run(&mut Silent)?;
        if weights_sha256(second.theta()) != expected {
            failures.push(format!("stopped after step {stop}"));
        }
    }
    let equal = stops - failures.len();
    Ok(Outcome::of(format!("{equal} of {stops} stops, other threads after: equal digest"), &failures))
}
