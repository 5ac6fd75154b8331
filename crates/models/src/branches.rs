//! The table of the words of the grammar that stand for branches, whose layers are written between their parentheses.

use byhand_layers::{Branches, Chain, Layer, LayerError, Scalar};

/// A layer of branches: its word, how many branches it has, and how it is made of them.
///
/// ```
/// use byhand_models::BranchKind;
/// let residual = BranchKind::<f32>::find("residual").unwrap();
/// assert_eq!(residual.signature, "residual(layers) or residual(layers | shortcut)");
/// ```
#[derive(Debug)]
pub struct BranchKind<T: Scalar> {
    /// The word in a layer spec.
    pub name: &'static str,
    /// How it is written.
    pub signature: &'static str,
    /// One line for a help page.
    pub about: &'static str,
    /// The fewest branches.
    pub least: usize,
    /// The most branches.
    pub most: usize,
    /// Makes the layer.
    pub build: Join<T>,
}

/// Makes a layer of branches.
pub type Join<T> = fn(Vec<Chain<dyn Layer<T>>>) -> Result<Branches<dyn Layer<T>>, LayerError>;

impl<T: Scalar> BranchKind<T> {
    /// The table, in the order of a help page.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "residual",
            signature: "residual(layers) or residual(layers | shortcut)",
            about: "what the layers make of the input, plus the input itself or what the shortcut makes of it",
            least: 1,
            most: 2,
            build: |mut chains| {
                let input = chains[0].input();
                let shortcut =
                    if chains.len() == 2 { chains.remove(1) } else { Chain::new(input, Vec::new())? };
                Branches::residual(chains.remove(0), shortcut)
            },
        },
        Self {
            name: "concat",
            signature: "concat(layers | layers | ...)",
            about: "the channels that each branch makes of the input, one below the other; linear is the input itself",
            least: 2,
            most: usize::MAX,
            build: Branches::concat,
        },
    ];

    /// The row of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|kind| kind.name == name)
    }
}
