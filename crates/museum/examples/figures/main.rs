//! Draws the figures of docs/backprop.md into docs/figures: `cargo run -p byhand-museum --example figures`.
//!
//! Whatever a figure shows as a result, layers have computed. The test of this example holds the stored files to what it draws.

// A program has no outside: `pub` here means "for the other files of this program".
#![allow(unreachable_pub)]

mod canvas;
mod figures;

use std::{fs, io, path::PathBuf};

/// Every figure: the name of its file and its text.
fn all() -> Vec<(&'static str, String)> {
    vec![
        ("graph", figures::graph()),
        ("dense-products", figures::dense_products()),
        ("bias-sum", figures::bias_sum()),
        ("kernel-flip", figures::kernel_flip()),
        ("stride-phases", figures::stride_phases()),
        ("pool-scatter", figures::pool_scatter()),
        ("pool-gradient", figures::pool_gradient()),
        ("activations", figures::activations()),
        ("softmax", figures::softmax()),
        ("initialisation", figures::initialisation()),
    ]
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "docs", "figures"].iter().collect()
}

fn main() -> io::Result<()> {
    fs::create_dir_all(folder())?;
    for (name, text) in all() {
        fs::write(folder().join(format!("{name}.svg")), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_figures_are_what_is_drawn() {
        for (name, text) in all() {
            let stored = fs::read_to_string(folder().join(format!("{name}.svg"))).unwrap();
            assert!(
                stored == text,
                "{name}.svg: draw it again with `cargo run -p byhand-museum --example figures`"
            );
        }
        assert_eq!(
            fs::read_dir(folder()).unwrap().count(),
            all().len(),
            "a file that no figure is drawn for"
        );
    }

    #[test]
    fn the_notebooks_pool_reaches_196_of_676_places() {
        let (wrong, right) = figures::pool_maps();
        let reached = |map: &[f64]| map.iter().filter(|share| **share > 0.0).count();
        assert_eq!((wrong.len(), right.len()), (676, 676));
        assert_eq!(reached(&wrong), 196);
        assert!(reached(&right) > 500, "{}", reached(&right));
    }
}
