//! A model file in another program: load it, and ask for the probabilities of pictures.
//!
//! `cargo run --release -p byhand --example model_file [MODEL.safetensors]`; without a file it trains a model and writes one first.
#![allow(clippy::print_stdout, reason = "an example may print")]

use std::path::PathBuf;

use byhand::prelude::*;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("byhand-model-{}", std::process::id()));
    let file = match std::env::args().nth(1).filter(|name| name.ends_with(".safetensors")) {
        Some(name) => PathBuf::from(name),
        None => {
            std::fs::create_dir_all(&folder)?;
            trained()?.save(&folder.join("model.safetensors"))?;
            folder.join("model.safetensors")
        }
    };

    let model = Model::load(&file)?;
    let test = digits::generate(digits::Part::Test, 300, 0);
    let probabilities = model.predict_proba(test.images())?;
    for (row, label) in probabilities.rows().into_iter().zip(test.labels()).take(5) {
        let (class, p) = row.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)).expect("a class");
        println!("a {label}: {} with {:.1} %", model.class_names[class], 100.0 * p);
    }
    let evaluation = model.evaluate(&test, &SoftmaxCrossEntropy::default())?;
    println!("{:.1} % of {} are right", 100.0 * evaluation.accuracy(), evaluation.samples);
    assert!(evaluation.accuracy() > 0.8, "{}", evaluation.accuracy());
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn trained() -> Result<Model, Box<dyn std::error::Error>> {
    let train = digits::generate(digits::Part::Train, 2_000, 0);
    let named = find("lenet")?;
    let network = named.network::<f32>();
    let config = FitConfig {
        epochs: 5,
        optimizer: "adam".parse()?,
        learning_rate: 3e-3,
        preprocessing: named.preprocessing,
        ..FitConfig::default()
    };
    let mut fit = Fit::new(&network, init_network(&network, named.init, 0), &train, None, config)?;
    fit.run(&mut Silent)?;
    Ok(Model {
        spec: named.spec(),
        input: named.input,
        class_names: train.class_names().to_vec(),
        preprocessing: named.preprocessing,
        notes: [("data".to_owned(), "digits".to_owned())].into(),
        theta: fit.into_theta(),
    })
}
