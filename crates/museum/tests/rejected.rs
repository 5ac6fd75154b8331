//! Every piece, and every mutant of every right layer and loss, is rejected by at least two independent checks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use byhand_layers::check::{Checked, Clause, Options, catalogue, check_layer, check_loss};
use byhand_layers::loss::{Loss, NegativeLogLikelihood, SoftmaxCrossEntropy, SquaredError, Weighting};
use byhand_museum::{Check, MutantLoss, Mutation, PIECES, mutants};

#[test]
fn every_piece_is_rejected_by_the_checks_it_names() {
    let mut missed = Vec::new();
    for piece in PIECES {
        let mut found: Vec<Check> =
            piece.examine(&Options::quick()).into_iter().map(|finding| finding.check).collect();
        found.dedup();
        assert!(piece.caught_by.len() >= 2, "{} names fewer than two checks", piece.name);
        let silent: Vec<_> = piece.caught_by.iter().filter(|check| !found.contains(check)).collect();
        if !silent.is_empty() {
            missed.push(format!("{}: not found by {silent:?}, found by {found:?}", piece.name));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_mutant_of_every_layer_is_rejected_twice() {
    // A gradient is proved in f64 and, exactly, in f32 on integers: one instruction set tells all there is to tell.
    let options =
        Options { samples: vec![2, 17], isas: Options::quick().isas[..1].to_vec(), ..Options::quick() };
    let proofs = [
        Clause::Adjoint,
        Clause::CentralDifference,
        Clause::FourPointDifference,
        Clause::DualNumbers,
        Clause::TieSum,
        Clause::Convention,
    ];
    let rejected = AtomicUsize::new(0);
    let reject = |layer: Box<dyn Checked>| {
        let layer: Arc<dyn Checked> = Arc::from(layer);
        for mutant in mutants(&layer) {
            let report = check_layer(&mutant, &options);
            let found = report.failed_clauses();
            let found: Vec<&Clause> = found.iter().filter(|clause| proofs.contains(clause)).collect();
            assert!(
                found.len() >= 2,
                "{} on {}: {:?} of {:?} was found by {found:?} only",
                layer.spec(),
                layer.input(),
                mutant.mutation,
                mutant.gradient
            );
            rejected.fetch_add(1, Ordering::Relaxed);
        }
    };
    // They take so long that two processors share them.
    thread::scope(|scope| {
        scope.spawn(|| catalogue().into_iter().step_by(2).for_each(reject));
        catalogue().into_iter().skip(1).step_by(2).for_each(reject);
    });
    let rejected = rejected.into_inner();
    assert!(rejected > 150, "only {rejected} mutants were made");
}

#[test]
fn every_mutant_of_every_loss_is_rejected_twice() {
    reject_mutants(SoftmaxCrossEntropy::default());
    reject_mutants(SoftmaxCrossEntropy { label_smoothing: 0.1, ..Default::default() });
    let weighting = Weighting { classes: vec![1.0, 2.0, 0.5, 1.5, 3.0], ignore: Some(5) };
    reject_mutants(SoftmaxCrossEntropy { label_smoothing: 0.1, weighting: weighting.clone() });
    reject_mutants(NegativeLogLikelihood { weighting });
    reject_mutants(SquaredError);
}

fn reject_mutants<L: Loss<f32> + Loss<f64> + Clone>(loss: L) {
    for mutation in Mutation::ALL.into_iter().filter(|&mutation| mutation != Mutation::Transposed) {
        let report = check_loss(&MutantLoss { loss: loss.clone(), mutation }, 5, &Options::quick());
        let found = report.failed_clauses();
        for clause in [Clause::CentralDifference, Clause::FourPointDifference] {
            assert!(found.contains(&clause), "{loss:?}: {mutation:?} was found by {found:?} only");
        }
    }
}

#[test]
fn pieces_have_names_of_their_own_and_words_for_everything() {
    for (index, piece) in PIECES.iter().enumerate() {
        assert!(
            PIECES[..index].iter().all(|other| other.name != piece.name),
            "{} is there twice",
            piece.name
        );
        for words in [piece.name, piece.notebook, piece.mistake, piece.wrong, piece.right, piece.symptom] {
            assert!(!words.is_empty(), "{} lacks a word", piece.name);
        }
        assert!(!piece.caught_by.is_empty());
        assert!(
            (1..=10).contains(&piece.code().len()),
            "{}: {:?} is marked as wrong",
            piece.name,
            piece.code()
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert!(root.join(piece.file()).is_file(), "no file {}", piece.file());
    }
    for notebook in ["A", "B", "C", "D", "E"] {
        assert!(
            PIECES.iter().any(|piece| piece.notebook.contains(notebook)),
            "nothing from notebook {notebook}"
        );
    }
    assert_eq!(byhand_museum::find("pool-all-ties").unwrap().caught_by[0], Check::Clause(Clause::TieSum));
}
