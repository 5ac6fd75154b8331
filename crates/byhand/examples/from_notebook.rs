//! A notebook's program, step by step: first every step by hand, then the same with `Fit`. docs/from-notebook.md quotes it.
//!
//! `cargo run --release -p byhand --example from_notebook` trains on digits that the program draws; with `mnist` as an argument
//! on MNIST.

// An example may print.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use byhand::datasets::batches::{LastBatch, batches, epoch_order};
use byhand::layers::loss::Labels;
use byhand::layers::{Conv2d, ConvOptions, Dense, Flatten, MaxPool2d, Pass, Relu, pack};
use byhand::prelude::*;
use ndarray::{Array2, Axis};

fn main() -> Result<(), Box<dyn Error>> {
    let (train, test) = match std::env::args().nth(1) {
        Some(name) => {
            let data = load(&name.parse()?, &Sources::from_env(), &mut |_| ())?;
            (data.train, data.test)
        }
        None => few_digits(),
    };
    println!("by hand:  {:.3} of the test images are right", by_hand(&train, &test)?);
    println!("with Fit: {:.3}", with_fit(&train, &test, Path::new("digits.safetensors"))?);
    Ok(())
}

fn few_digits() -> (Dataset, Dataset) {
    (digits::generate(digits::Part::Train, 2_000, 0), digits::generate(digits::Part::Test, 500, 0))
}

/// Every step spelt out; the accuracy on the test images.
fn by_hand(train: &Dataset, test: &Dataset) -> Result<f64, Box<dyn Error>> {
    // Normalise: [N, 784] numbers in -0.5..0.5.
    let normalize = Normalize::centered();
    let to_rows = |images: &Dataset| {
        let (rows, columns) = images.image_size();
        Array2::from_shape_fn((images.len(), rows * columns), |(n, pixel)| {
            normalize.apply(images.image(n)[[0, pixel / columns, pixel % columns]])
        })
    };
    let (x_train, x_test) = (to_rows(train), to_rows(test));

    // Build.
    let (h, w) = train.image_size();
    let conv = Conv2d::new(Shape::new(1, h, w), 8, ConvOptions::square(3))?;
    let relu = Relu::new(conv.output());
    let pool = MaxPool2d::new(relu.output(), [2, 2], [2, 2])?;
    let flatten = Flatten::new(pool.output());
    let dense = Dense::new(flatten.output().features(), train.classes(), true)?;
    let network: Network = Network::new(vec![
        Box::new(conv),
        Box::new(relu),
        Box::new(pool),
        Box::new(flatten),
        Box::new(dense),
    ])?;

    // Initialise: He's rule for weights, zeros for biases, seed 0.
    let mut theta = init_network(&network, Init::HeNormal, 0);
    let mut dtheta = vec![0.0; network.param_len()];

    let (batch_size, learning_rate) = (50, 0.1);
    let block = Block::tiled(batch_size);
    let mut workspace = Workspace::new(&network, block);
    let loss = SoftmaxCrossEntropy::default();
    for epoch in 0..4 {
        let order = epoch_order(0, epoch, train.len());
        let mut sum = 0.0;
        let mut seen = 0;
        for (step, batch) in batches(&order, batch_size, LastBatch::Drop).enumerate() {
            // A minibatch: its rows and its labels.
            let chosen: Vec<usize> = batch.iter().map(|&index| index as usize).collect();
            let x = x_train.select(Axis(0), &chosen);
            let labels: Vec<u16> = chosen.iter().map(|&index| train.labels()[index]).collect();

            // Forward.
            let pass = Pass::train(block, 0, step as u64, 0);
            pack(x.view(), block, workspace.input_mut());
            network.forward(&pass, &theta, &mut workspace);

            // Loss, and its gradient.
            let (logits, dlogits) = workspace.output_and_grad_mut();
            let scale = 1.0 / batch_size as f32;
            let stats = loss.value_and_gradient(block, logits, Labels(&labels).into(), scale, dlogits);

            // Backward.
            dtheta.fill(0.0);
            network.backward(&pass, &theta, &mut dtheta, &mut workspace);

            // Update.
            for (theta, dtheta) in theta.iter_mut().zip(&dtheta) {
                *theta -= learning_rate * dtheta;
            }

            sum += stats.loss;
            seen += batch_size;
        }
        println!("epoch {epoch}: loss {:.3}", sum / seen as f64);
    }

    // Accuracy.
    let logits = network.predict(&theta, x_test.view());
    let right = logits.rows().into_iter().zip(test.labels()).filter(|(row, label)| {
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        best == Some(usize::from(**label))
    });
    Ok(right.count() as f64 / test.len() as f64)
}

/// The same with the library's own loop: on all cores, and saved.
fn with_fit(train: &Dataset, test: &Dataset, path: &Path) -> Result<f64, Box<dyn Error>> {
    // Network, weights, training.
    let spec: Spec = "conv(8,3) relu pool(2) dense(10)".parse()?;
    let (h, w) = train.image_size();
    let network = spec.build::<f32>(Shape::new(1, h, w))?;
    let config = FitConfig {
        epochs: 4,
        batch_size: 50,
        optimizer: "adam".parse()?,
        learning_rate: 3e-3,
        preprocessing: Preprocessing::centered(),
        ..FitConfig::default()
    };
    let mut fit = Fit::new(&network, init_network(&network, Init::HeNormal, 0), train, None, config)?;
    fit.run(&mut |event: &Event| {
        if let Event::EpochFinished { epoch, train_loss, .. } = event {
            println!("epoch {epoch}: loss {train_loss:.3}");
        }
        std::ops::ControlFlow::Continue(())
    })?;
    let accuracy = fit.evaluate(test)?.accuracy();

    // Save, and load.
    let model = Model {
        spec,
        input: network.input(),
        class_names: test.class_names().to_vec(),
        preprocessing: Preprocessing::centered(),
        notes: Default::default(),
        theta: fit.theta().to_vec(),
    };
    model.save(path)?;
    let again = Model::load(path)?;
    assert_eq!(again.theta, model.theta);
    Ok(accuracy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_learn_the_digits() {
        let (train, test) = few_digits();
        let accuracy = by_hand(&train, &test).unwrap();
        assert!(accuracy > 0.8, "{accuracy}");
        let path =
            std::env::temp_dir().join(format!("byhand-from-notebook-{}.safetensors", std::process::id()));
        let accuracy = with_fit(&train, &test, &path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(accuracy > 0.8, "{accuracy}");
    }
}
