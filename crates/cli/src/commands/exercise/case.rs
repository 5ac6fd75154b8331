//! What an exercise gives, and what right and wrong layers make of it.

use byhand_layers::loss::{Labels, Loss};
use byhand_layers::{Block, Layer, LayerError, Pass, Saved};
use byhand_museum::Piece;

/// Numbers under a name, in rows.
#[derive(Clone)]
pub struct Table {
    pub name: String,
    pub columns: usize,
    pub numbers: Vec<f64>,
}

impl Table {
    pub fn new(name: impl Into<String>, columns: usize, numbers: impl IntoIterator<Item = f64>) -> Self {
        Self { name: name.into(), columns, numbers: numbers.into_iter().collect() }
    }
}

/// What an exercise is made of. Everything that stands in a table of results is computed when it is asked for.
pub trait Case {
    /// What the reader is given.
    fn given(&self) -> Vec<Table>;

    /// What the layers of this repository make of it.
    fn right(&self) -> Vec<Table>;

    /// What a wrong layer of the museum makes of it, if it can stand in for the right one here.
    fn wrong(&self, piece: &Piece) -> Option<Vec<Table>>;
}

/// A case, or why its layer cannot be built.
pub type Made = Result<Box<dyn Case>, LayerError>;

/// Numbers that were computed in some other way. The museum has nothing to say.
pub struct Plain {
    pub given: Vec<Table>,
    pub right: Vec<Table>,
}

impl Case for Plain {
    fn given(&self) -> Vec<Table> {
        self.given.clone()
    }

    fn right(&self) -> Vec<Table> {
        self.right.clone()
    }

    fn wrong(&self, _piece: &Piece) -> Option<Vec<Table>> {
        None
    }
}

/// One layer, forward and backward.
pub struct OneLayer {
    pub layer: Box<dyn Layer<f32>>,
    pub theta: Vec<f32>,
    /// Sample after sample.
    pub x: Vec<f32>,
    pub dy: Vec<f32>,
    /// What the buffers of `dx` and `dtheta` hold when backward is called.
    pub before: f32,
}

impl OneLayer {
    fn samples(&self) -> usize {
        self.x.len() / self.layer.input().features()
    }

    /// The tensors of `values`, which are laid out as `theta` is.
    fn tensors(&self, prefix: &str, values: &[f32]) -> Vec<Table> {
        let mut start = 0;
        let table = |param: &byhand_layers::ParamSpec| {
            let range = start..start + param.len();
            start = range.end;
            let name = format!("{prefix}{}", &param.name[..1]);
            let columns =
                if param.shape.len() == 1 { param.len() } else { param.shape[param.shape.len() - 1] };
            Table::new(name, columns, values[range].iter().map(|&v| v.into()))
        };
        self.layer.params().iter().map(table).collect()
    }

    fn results(&self, layer: &dyn Layer<f32>) -> Vec<Table> {
        let pass = Pass::eval(Block::single(self.samples()));
        let mut y = vec![0.0; self.dy.len()];
        let mut tape = vec![0.0; layer.tape_len(pass.block)];
        let mut scratch = vec![0.0; layer.scratch_len(pass.block)];
        layer.forward(&pass, &self.theta, &self.x, &mut y, &mut tape, &mut scratch);
        let saved = Saved { x: &self.x, y: &y, tape: &tape };
        let mut dx = vec![self.before; self.x.len()];
        let mut dtheta = vec![self.before; self.theta.len()];
        layer.backward(&pass, &self.theta, saved, &self.dy, Some(&mut dx), &mut dtheta, &mut scratch);
        let mut tables = vec![
            Table::new("y", columns(self.layer.output()), y.into_iter().map(f64::from)),
            Table::new("dx", columns(self.layer.input()), dx.into_iter().map(f64::from)),
        ];
        tables.extend(self.tensors("d", &dtheta));
        tables
    }
}

impl Case for OneLayer {
    fn given(&self) -> Vec<Table> {
        let mut tables = vec![Table::new("x", columns(self.layer.input()), self.x.iter().map(|&v| v.into()))];
        tables.extend(self.tensors("", &self.theta));
        tables.push(Table::new("dy", columns(self.layer.output()), self.dy.iter().map(|&v| v.into())));
        tables
    }

    fn right(&self) -> Vec<Table> {
        self.results(&*self.layer)
    }

    fn wrong(&self, piece: &Piece) -> Option<Vec<Table>> {
        let wrong = piece.in_place_of(&*self.layer)?.ok()?;
        Some(self.results(&*wrong))
    }
}

/// An image is shown row by row, a flat sample as one row.
fn columns(shape: byhand_layers::Shape) -> usize {
    if shape.h * shape.w == 1 { shape.c } else { shape.w }
}

/// A loss and its gradient over a minibatch.
pub struct OneLoss {
    pub loss: Box<dyn Loss<f32>>,
    /// Whether it is plain softmax cross-entropy, of which the museum has wrong versions.
    pub in_museum: bool,
    /// Sample after sample.
    pub z: Vec<f32>,
    pub labels: Vec<u16>,
}

impl OneLoss {
    fn classes(&self) -> usize {
        self.z.len() / self.labels.len()
    }

    fn results(&self, loss: &dyn Loss<f32>) -> Vec<Table> {
        let samples = self.labels.len();
        let mut dz = vec![0.0; self.z.len()];
        let target = Labels(&self.labels).into();
        let stats =
            loss.value_and_gradient(Block::single(samples), &self.z, target, 1.0 / samples as f32, &mut dz);
        vec![
            Table::new("loss", 1, [stats.loss / samples as f64]),
            Table::new("dz", self.classes(), dz.into_iter().map(f64::from)),
        ]
    }
}

impl Case for OneLoss {
    fn given(&self) -> Vec<Table> {
        vec![
            Table::new("z", self.classes(), self.z.iter().map(|&v| v.into())),
            Table::new("labels", self.labels.len(), self.labels.iter().map(|&label| label.into())),
        ]
    }

    fn right(&self) -> Vec<Table> {
        self.results(&*self.loss)
    }

    fn wrong(&self, piece: &Piece) -> Option<Vec<Table>> {
        let wrong = piece.loss().filter(|_| self.in_museum)?;
        Some(self.results(&*wrong))
    }
}
