//! Branches: chains of layers side by side, whose outputs become one.

use crate::chain::Chain;
use crate::contract::{Describe, Kind, Layer, ParamSpec, Pass, Saved, downcast};
use crate::{LayerError, Shape};
use byhand_tensor::{Block, Loop, Scalar, vectorised};
use std::ops::Range;

/// Chains of layers on one input, whose outputs become one: a residual block, or branches joined by channel.
///
/// # Formula
/// ```text
/// residual      y = f(x) + g(x)               g is the identity, or a projection to the shape of f(x)
/// concat        y = [f1(x), f2(x), ...]       one below the other: the channels of f1(x), then those of f2(x), ...
/// ```
///
/// # Shapes
/// `y` of a residual block has the shape of `f(x)` and of `g(x)`; that of `concat` as many channels as all branches together. Tensors lie in
/// `theta` branch by branch and are named `main.0.weight` and `shortcut.0.weight`, or `0.0.weight` and `1.0.weight`.
///
/// # Backward
/// What is read twice gets two gradients, and has their sum:
/// ```text
/// residual      dx = f^T dy + g^T dy          with g the identity: f^T dy + dy
/// concat        dx = f1^T dy1 + f2^T dy2 + ...      where dy1, dy2, ... are the channels of dy that belong to each branch
/// ```
///
/// # Memory
/// Tape: what each branch leaves. Scratch: what a branch needs, and a gradient of its input and its output.
///
/// A [`Network`](crate::Network) does not run it as one layer: it runs the layers of the branches themselves, so that a batch
/// normalisation among them sees the whole minibatch; the results have the same bits.
///
/// # Reference
/// He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016. Szegedy and others, "Going deeper with convolutions", 2015.
///
/// ```
/// use byhand_layers::{BatchNorm, Branches, Chain, Conv2d, ConvOptions, Describe, Layer, Network, Padding, Shape};
/// use std::sync::Arc;
///
/// let shape = Shape::new(16, 28, 28);
/// let conv = Conv2d::new(shape, 16, ConvOptions { pad: Padding::axes([1, 1]), ..ConvOptions::square(3) })?;
/// let norm = BatchNorm::new(shape, BatchNorm::EPS, BatchNorm::MOMENTUM)?;
/// let layers: Vec<Arc<dyn Layer<f32>>> = vec![Arc::new(conv), Arc::new(norm)];
/// let main = Chain::new(shape, layers)?;
/// let block = Branches::residual(main, Chain::new(shape, vec![])?)?;
/// assert_eq!(block.spec(), "residual(conv(16,3,pad=1) batchnorm)");
/// assert_eq!(block.params()[0].name, "main.0.weight");
/// let network: Network = Network::new(vec![Box::new(block)])?;
/// assert_eq!(network.output(), shape);
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Debug)]
pub struct Branches<L: ?Sized> {
    chains: Vec<Chain<L>>,
    join: Join,
    output: Shape,
}

impl<L: Describe + ?Sized> Branches<L> {
    /// `y = main(x) + shortcut(x)`; a shortcut of no layers is the identity.
    ///
    /// # Errors
    /// `main` has no layer, the branches do not take the same input, or they do not give the same shape.
    pub fn residual(main: Chain<L>, shortcut: Chain<L>) -> Result<Self, LayerError> {
        let output = main.output();
        if !output.takes(shortcut.output()) {
            return Err(unequal_shortcut(&main, &shortcut));
        }
        if main.layers().is_empty() {
            return Err(refused(RESIDUAL, "layers of the main branch", "at least 1", "none".to_owned()));
        }
        Self::new(vec![main, shortcut], Join::Sum, output)
    }

    /// The outputs of all branches, one below the other.
    ///
    /// # Errors
    /// There are fewer than two branches, they do not take the same input, or do not give the same rows and columns.
    pub fn concat(chains: Vec<Chain<L>>) -> Result<Self, LayerError> {
        let [first, _, ..] = &*chains else {
            return Err(refused(CONCAT, "branches", "at least 2", chains.len().to_string()));
        };
        let Shape { h, w, .. } = first.output();
        for (branch, chain) in chains.iter().enumerate() {
            let found = chain.output();
            if (found.h, found.w) != (h, w) {
                let (expected, found) = (format!("{h}x{w} pixels, as the first gives"), found.to_string());
                return Err(LayerError::Branches { layer: CONCAT, branch: branch + 1, expected, found });
            }
        }
        let channels = chains.iter().map(|chain| chain.output().c).sum();
        let features = chains.iter().map(|chain| chain.output().features()).collect();
        Self::new(chains, Join::Concat(features), Shape::new(channels, h, w))
    }

    fn new(chains: Vec<Chain<L>>, join: Join, output: Shape) -> Result<Self, LayerError> {
        let input = chains[0].input();
        match chains.iter().position(|chain| chain.input() != input) {
            Some(branch) => {
                let (expected, found) =
                    (format!("take {input}, as the first does"), chains[branch].input().to_string());
                Err(LayerError::Branches { layer: join.name(), branch: branch + 1, expected, found })
            }
            None => Ok(Self { chains, join, output }),
        }
    }

    /// The branches, in the order in which their parameters lie in `theta`, each with its name.
    pub fn chains(&self) -> impl Iterator<Item = (String, &Chain<L>)> {
        self.chains.iter().enumerate().map(|(branch, chain)| (self.join.name_of(branch), chain))
    }

    /// Whether it is a residual block: the first branch is its main one, the second its shortcut.
    pub fn is_residual(&self) -> bool {
        self.join == Join::Sum
    }

    /// Branches that are joined as these are.
    pub(crate) fn with_chains(&self, mut chains: Vec<Chain<L>>) -> Result<Self, LayerError> {
        match (&self.join, chains.pop()) {
            (Join::Sum, Some(shortcut)) => Self::residual(chains.remove(0), shortcut),
            (_, last) => Self::concat(chains.into_iter().chain(last).collect()),
        }
    }

    pub(crate) fn join(&self) -> &Join {
        &self.join
    }

    /// Where each branch's parameters lie.
    fn ranges(&self) -> impl Iterator<Item = (usize, &Chain<L>, Range<usize>)> {
        let mut start = 0;
        self.chains.iter().enumerate().map(move |(branch, chain)| {
            let len: usize = chain.params().iter().map(ParamSpec::len).sum();
            let range = start..start + len;
            start = range.end;
            (branch, chain, range)
        })
    }
}

impl<T: Scalar> Branches<dyn Layer<T>> {
    /// The layer, if it has branches.
    pub fn of(layer: &dyn Layer<T>) -> Option<&Self> {
        downcast(layer)
    }
}

impl<T: Scalar, L: Layer<T> + ?Sized> Layer<T> for Branches<L> {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        let mut rest = &mut *tape;
        for (branch, chain, range) in self.ranges() {
            let (own, others) = rest.split_at_mut(chain.tape_len(pass.block));
            chain.forward(&pass.for_layer(branch), &theta[range], x, own, scratch);
            rest = others;
        }
        let output = |branch: usize| {
            let before: usize = self.chains[..branch].iter().map(|chain| chain.tape_len(pass.block)).sum();
            self.chains[branch].output_of(pass.block, x, &tape[before..])
        };
        self.join.forward(pass.block, output, y);
    }

    /// Last branch first, as a network goes.
    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        let (block, x) = (pass.block, saved.x);
        let (branch_dx, scratch) = scratch.split_at_mut(x.len());
        let (branch_dy, scratch) = scratch.split_at_mut(dy.len());
        let (mut dx, mut tape, mut is_first) = (dx, saved.tape, true);
        let ranges: Vec<_> = self.ranges().collect();
        for (branch, chain, range) in ranges.into_iter().rev() {
            let (others, own) = tape.split_at(tape.len() - chain.tape_len(block));
            let branch_dy = &mut branch_dy[..block.len(chain.output().features())];
            self.join.backward(branch, block, dy, branch_dy);
            let wanted = dx.is_some().then_some(&mut *branch_dx);
            let (theta, dtheta) = (&theta[range.clone()], &mut dtheta[range]);
            chain.backward(&pass.for_layer(branch), theta, x, own, branch_dy, wanted, dtheta, scratch);
            match &mut dx {
                Some(dx) if is_first => dx.copy_from_slice(branch_dx),
                Some(dx) => add(branch_dx, dx),
                None => {}
            }
            (tape, is_first) = (others, false);
        }
    }

    fn remember(&self, block: Block, tape: &[T], theta: &mut [T]) {
        let mut tape = tape;
        for (_, chain, range) in self.ranges() {
            let (own, others) = tape.split_at(chain.tape_len(block));
            chain.remember(block, own, &mut theta[range]);
            tape = others;
        }
    }
}

impl<L: Describe + ?Sized> Describe for Branches<L> {
    fn name(&self) -> &'static str {
        self.join.name()
    }

    fn spec(&self) -> String {
        let chains = self.chains.iter().filter(|chain| !(self.is_residual() && chain.layers().is_empty()));
        format!("{}({})", self.name(), chains.map(Chain::spec).collect::<Vec<_>>().join(" | "))
    }

    fn kind(&self) -> Kind {
        let mut kinds = self.chains.iter().flat_map(Chain::layers).map(|layer| layer.kind());
        Kind::Composed { batch: kinds.any(Kind::is_batch) }
    }

    fn input(&self) -> Shape {
        self.chains[0].input()
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn params(&self) -> Vec<ParamSpec> {
        let of_branch = |(name, chain): (String, &Chain<L>)| {
            let named =
                move |param: ParamSpec| ParamSpec { name: format!("{name}.{}", param.name).into(), ..param };
            chain.params().into_iter().map(named)
        };
        self.chains().flat_map(of_branch).collect()
    }

    fn tape_len(&self, block: Block) -> usize {
        self.chains.iter().map(|chain| chain.tape_len(block)).sum()
    }

    fn scratch_len(&self, block: Block) -> usize {
        let gradients = block.len(self.input().features()) + block.len(self.output.features());
        gradients + self.chains.iter().map(|chain| chain.scratch_len(block)).max().unwrap_or(0)
    }

    fn flops(&self) -> u64 {
        self.chains.iter().flat_map(Chain::layers).map(|layer| layer.flops()).sum()
    }
}

/// Shares the layers.
impl<L: ?Sized> Clone for Branches<L> {
    fn clone(&self) -> Self {
        Self { chains: self.chains.clone(), join: self.join.clone(), output: self.output }
    }
}

const RESIDUAL: &str = "residual";
const CONCAT: &str = "concat";

/// A shortcut that does not give what the main branch gives, and one that would.
fn unequal_shortcut<L: Describe + ?Sized>(main: &Chain<L>, shortcut: &Chain<L>) -> LayerError {
    let (input, output) = (shortcut.input(), main.output());
    let found = shortcut.output();
    if !shortcut.layers().is_empty() {
        let expected = format!("{output}, as the main branch gives");
        return LayerError::Branches { layer: RESIDUAL, branch: 2, expected, found: found.to_string() };
    }
    let stride = input.h.div_ceil(output.h.max(1)).max(1);
    let is_reached =
        [(input.h, output.h), (input.w, output.w)].iter().all(|(from, to)| from.div_ceil(stride) == *to);
    let projection = match stride {
        _ if output.is_flat() && input.is_flat() => format!(", such as dense({})", output.features()),
        1 if is_reached => format!(", such as conv({},1)", output.c),
        _ if is_reached => format!(", such as conv({},1,stride={stride})", output.c),
        _ => String::new(),
    };
    let expected = format!("{output}, as the main branch gives (\"|\" and a shortcut behind it{projection})");
    LayerError::Branches { layer: RESIDUAL, branch: 2, expected, found: format!("{found}, the input itself") }
}

/// How the outputs of branches become one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Join {
    /// The sum of two.
    Sum,
    /// Of each sample the features of the first, then those of the second, and so on: so many.
    Concat(Vec<usize>),
}

impl Join {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sum => RESIDUAL,
            Self::Concat(_) => CONCAT,
        }
    }

    /// The name of a branch, as a PyTorch module of such branches has it.
    pub(crate) fn name_of(&self, branch: usize) -> String {
        match self {
            Self::Sum => ["main", "shortcut"][branch].to_owned(),
            Self::Concat(_) => branch.to_string(),
        }
    }

    /// Makes `y` of the parts.
    pub(crate) fn forward<'a, T: Scalar>(&self, block: Block, part: impl Fn(usize) -> &'a [T], y: &mut [T]) {
        match self {
            Self::Sum => vectorised(Sum { a: part(0), b: part(1), y }),
            Self::Concat(features) => {
                for branch in 0..features.len() {
                    let part = part(branch);
                    for (of_whole, of_part) in runs(features, branch, block) {
                        y[of_whole].copy_from_slice(&part[of_part]);
                    }
                }
            }
        }
    }

    /// Makes the gradient of a part of that of the whole.
    pub(crate) fn backward<T: Scalar>(&self, branch: usize, block: Block, dy: &[T], part: &mut [T]) {
        match self {
            Self::Sum => part.copy_from_slice(dy),
            Self::Concat(features) => {
                for (of_whole, of_part) in runs(features, branch, block) {
                    part[of_part].copy_from_slice(&dy[of_whole]);
                }
            }
        }
    }
}

/// Of each tile, where the features of a branch lie in the whole, and where in the part.
fn runs(
    features: &[usize],
    branch: usize,
    block: Block,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let [before, own, whole] = [&features[..branch], &features[branch..=branch], features]
        .map(|f| f.iter().sum::<usize>() * block.lanes());
    (0..block.tiles()).map(move |tile| {
        let (of_whole, of_part) = (tile * whole + before, tile * own);
        (of_whole..of_whole + own, of_part..of_part + own)
    })
}

/// `y = a + b`.
struct Sum<'a, T> {
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [T],
}

impl<T: Scalar> Loop for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((y, &a), &b) in self.y.iter_mut().zip(self.a).zip(self.b) {
            *y = a + b;
        }
    }
}

/// `to += from`: the second gradient of what is read twice.
pub(crate) fn add<T: Scalar>(from: &[T], to: &mut [T]) {
    vectorised(Add { from, to });
}

struct Add<'a, T> {
    from: &'a [T],
    to: &'a mut [T],
}

impl<T: Scalar> Loop for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to += from;
        }
    }
}

fn refused(layer: &'static str, what: &'static str, expected: &'static str, found: String) -> LayerError {
    LayerError::Value { layer, what, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Checked, Clause, Options, check_layer};
    use crate::trial::{Trial, random};
    use crate::{BatchNorm, Conv2d, ConvOptions, Dense, Dropout, Linear, MaxPool2d, Network, Padding, Relu};
    use byhand_tensor::{Isa, unpack};
    use ndarray::Array2;
    use std::sync::Arc;

    const SHAPE: Shape = Shape::new(3, 6, 7);

    fn conv(channels: usize, kernel: usize) -> Conv2d {
        let options =
            ConvOptions { pad: Padding::axes([kernel / 2; 2]), bias: false, ..ConvOptions::square(kernel) };
        Conv2d::new(SHAPE, channels, options).unwrap()
    }

    /// A residual block as ResNet has it, and one that is dropped; a projection; three branches, one of which is the input.
    fn blocks() -> Vec<Branches<dyn Checked>> {
        let norm = || Arc::new(BatchNorm::new(SHAPE, 1e-5, 0.1).unwrap());
        let relu = || Arc::new(Relu::new(SHAPE));
        let dropout = || Arc::new(Dropout::new(SHAPE, 0.4).unwrap());
        let chain = |layers: Vec<Arc<dyn Checked>>| Chain::new(SHAPE, layers).unwrap();
        let residual = |main, shortcut| Branches::residual(chain(main), chain(shortcut)).unwrap();
        let half = || {
            let options = ConvOptions { stride: [2, 2], ..ConvOptions::square(1) };
            Arc::new(Conv2d::new(SHAPE, 4, options).unwrap())
        };
        vec![
            residual(vec![Arc::new(conv(3, 3)), norm(), relu(), Arc::new(conv(3, 3)), norm()], vec![]),
            residual(
                vec![dropout(), Arc::new(conv(3, 3)), relu(), dropout()],
                vec![Arc::new(conv(3, 1)), norm()],
            ),
            residual(vec![half()], vec![half()]),
            Branches::concat(vec![
                chain(vec![relu()]),
                chain(vec![]),
                chain(vec![Arc::new(conv(3, 3)), dropout()]),
            ])
            .unwrap(),
        ]
    }

    /// The same for a network.
    fn of_f32(block: &Branches<dyn Checked>) -> Branches<dyn Layer<f32>> {
        let layers = |chain: &Chain<dyn Checked>| -> Vec<Arc<dyn Layer<f32>>> {
            chain.layers().iter().map(|layer| Arc::clone(layer) as _).collect()
        };
        let chains =
            block.chains.iter().map(|chain| Chain::new(chain.input(), layers(chain)).unwrap()).collect();
        Branches { chains, join: block.join.clone(), output: block.output }
    }

    #[test]
    fn proves_itself() {
        // With ReLUs among the layers a difference may step over a kink, where dual numbers take the branch that the numbers take.
        let excused = [Clause::CentralDifference, Clause::FourPointDifference];
        for block in blocks() {
            let report = check_layer(&block, &Options { samples: vec![1, 3, 17], ..Options::default() });
            let failed = report.failures.iter().find(|failure| !excused.contains(&failure.clause));
            assert!(failed.is_none(), "{}: {failed:?}", block.spec());
        }
    }

    /// Outputs, and gradients of input and parameters.
    fn run(network: &Network, block: Block) -> [Vec<f32>; 3] {
        let trial = Trial::new(network, block.samples(), random);
        let pass = Pass::train(block, 1, 2, 3);
        let [y, alone] = trial.run(network, &pass);
        let (features, mut ws) = (network.input().features(), trial.forward(network, &pass));
        let (mut dtheta, mut dx) = (vec![0.0; alone.len()], vec![f32::NAN; block.len(features)]);
        let backward = crate::exec::Backward {
            rows: None,
            dtheta: &mut dtheta,
            dx: Some(&mut dx),
            frozen: 0,
            save: &mut |_, _, _, _| false,
        };
        network.lowered().backward(&pass, &trial.theta, backward, &mut ws);
        assert_eq!(alone, dtheta, "without the gradient of the input");
        [y, unpack(block, features, &dx).into_raw_vec_and_offset().0, dtheta]
    }

    /// A layer that a network cannot look into, so that it is run as one.
    #[derive(Debug)]
    struct Sealed(Branches<dyn Layer<f32>>);

    impl Describe for Sealed {
        fn name(&self) -> &'static str {
            self.0.name()
        }
        fn spec(&self) -> String {
            self.0.spec()
        }
        fn kind(&self) -> Kind {
            self.0.kind()
        }
        fn input(&self) -> Shape {
            self.0.input()
        }
        fn output(&self) -> Shape {
            self.0.output()
        }
        fn params(&self) -> Vec<ParamSpec> {
            self.0.params()
        }
        fn tape_len(&self, block: Block) -> usize {
            self.0.tape_len(block)
        }
        fn scratch_len(&self, block: Block) -> usize {
            self.0.scratch_len(block)
        }
    }

    impl Layer<f32> for Sealed {
        fn forward(
            &self,
            pass: &Pass,
            theta: &[f32],
            x: &[f32],
            y: &mut [f32],
            tape: &mut [f32],
            scratch: &mut [f32],
        ) {
            self.0.forward(pass, theta, x, y, tape, scratch);
        }
        fn backward(
            &self,
            pass: &Pass,
            theta: &[f32],
            saved: Saved<'_, f32>,
            dy: &[f32],
            dx: Option<&mut [f32]>,
            dtheta: &mut [f32],
            scratch: &mut [f32],
        ) {
            self.0.backward(pass, theta, saved, dy, dx, dtheta, scratch);
        }
    }

    #[test]
    fn a_network_that_runs_the_layers_has_the_bits_of_one_layer() {
        for block in blocks().iter().map(of_f32) {
            let last = || Box::new(Dense::new(block.output().features(), 2, true).unwrap());
            // In the middle, at the beginning, and alone.
            let before = || Box::new(conv(3, 3));
            let networks = |layer: &dyn Fn() -> Box<dyn Layer<f32>>| -> [Network; 3] {
                let flat = || Box::new(crate::Flatten::new(block.output()));
                [vec![before(), layer(), flat(), last()], vec![layer(), flat(), last()], vec![layer()]]
                    .map(|layers: Vec<Box<dyn Layer<f32>>>| Network::new(layers).unwrap())
            };
            let sealed = networks(&|| Box::new(Sealed(block.clone())));
            for (flat, one) in networks(&|| Box::new(block.clone())).iter().zip(&sealed) {
                assert!(flat.lowered().len() > one.lowered().len());
                for samples in [Block::tiled(5), Block::tiled(17), Block::single(2)] {
                    for isa in Isa::available() {
                        let [found, expected] = isa.with(|| [flat, one].map(|network| run(network, samples)));
                        assert_eq!(found, expected, "{}, {samples:?}, {isa}", block.spec());
                    }
                }
            }
        }
    }

    /// `y = x + x` and the like, of which no operation is left but the sums: `dx` counts the ways from the output to the input.
    #[test]
    fn what_is_read_many_times_gets_all_gradients() {
        let chain = |layers: Vec<Arc<dyn Layer<f32>>>| Chain::new(Shape::flat(3), layers).unwrap();
        let identity = || -> Arc<dyn Layer<f32>> { Arc::new(Linear::new(Shape::flat(3))) };
        let twice = || Branches::residual(chain(vec![identity()]), chain(vec![])).unwrap();
        let thrice = Branches::residual(chain(vec![Arc::new(twice())]), chain(vec![])).unwrap();
        let both = Branches::concat(vec![chain(vec![]), chain(vec![Arc::new(thrice.clone())])]).unwrap();
        for (block, ways, width) in [(twice(), 2.0, 1), (thrice, 3.0, 1), (both, 4.0, 2)] {
            let network: Network = Network::new(vec![Box::new(block)]).unwrap();
            let x = ndarray::array![[1.0, -2.0, 4.0]];
            let dx = network.gradient_of_input(&[], x.view(), Array2::ones((1, 3 * width)).view());
            assert_eq!(dx, Array2::from_elem((1, 3), ways));
            assert_eq!(network.predict(&[], x.view()).sum(), 3.0 * ways);
        }
    }

    #[test]
    fn names_and_spec_are_those_of_the_grammar_and_of_pytorch() {
        let specs: Vec<String> = blocks().iter().map(Describe::spec).collect();
        let expected = [
            "residual(conv(3,3,pad=1,bias=false) batchnorm relu conv(3,3,pad=1,bias=false) batchnorm)",
            "residual(dropout(0.4) conv(3,3,pad=1,bias=false) relu dropout(0.4) | conv(3,1,bias=false) batchnorm)",
            "residual(conv(4,1,stride=2) | conv(4,1,stride=2))",
            "concat(relu | linear | conv(3,3,pad=1,bias=false) dropout(0.4))",
        ];
        assert_eq!(specs, expected);
        let names = |block: usize| -> Vec<String> {
            let network: Network =
                Network::new(vec![Box::new(conv(3, 1)), Box::new(of_f32(&blocks()[block]))]).unwrap();
            let names: Vec<String> = network.params().iter().map(|param| param.name.clone()).collect();
            // The layer says the same of itself.
            let own: Vec<String> =
                network.layers()[1].params().iter().map(|param| format!("1.{}", param.name)).collect();
            assert_eq!(names[1..], own);
            own
        };
        assert_eq!(names(1)[..3], ["1.main.1.weight", "1.shortcut.0.weight", "1.shortcut.1.weight"]);
        assert_eq!(names(3), ["1.2.0.weight"]);
        assert!(names(0).contains(&"1.main.4.running_var".to_owned()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let chain = |layers: Vec<Arc<dyn Checked>>| Chain::new(SHAPE, layers).unwrap();
        let half = || {
            let options = ConvOptions { stride: [2, 2], ..ConvOptions::square(1) };
            chain(vec![Arc::new(Conv2d::new(SHAPE, 8, options).unwrap())])
        };
        let pool = || chain(vec![Arc::new(MaxPool2d::new(SHAPE, [3, 3], [3, 3]).unwrap())]);
        let message = |made: Result<Branches<dyn Checked>, LayerError>| made.unwrap_err().to_string();
        assert_eq!(
            message(Branches::residual(half(), chain(vec![]))),
            "residual: expected branch 2 to give 8x3x4, as the main branch gives (\"|\" and a shortcut behind it, such as \
             conv(8,1,stride=2)), found 3x6x7, the input itself"
        );
        assert_eq!(
            message(Branches::residual(half(), pool())),
            "residual: expected branch 2 to give 8x3x4, as the main branch gives, found 3x2x2"
        );
        assert_eq!(
            message(Branches::residual(chain(vec![]), chain(vec![]))),
            "residual: layers of the main branch must be at least 1, found none"
        );
        assert_eq!(message(Branches::concat(vec![half()])), "concat: branches must be at least 2, found 1");
        assert_eq!(
            message(Branches::concat(vec![half(), pool()])),
            "concat: expected branch 2 to give 3x4 pixels, as the first gives, found 3x2x2"
        );
        let other = Chain::new(Shape::new(3, 6, 8), vec![]).unwrap();
        assert!(Branches::concat(vec![chain(vec![]), other]).is_err());
    }
}
