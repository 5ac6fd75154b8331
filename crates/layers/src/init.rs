//! Initialisers: the numbers a network starts from, each with its formula and paper.

use crate::InitError;
use crate::network::{NamedParam, Network};
use byhand_tensor::{Number, Scalar};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use std::fmt;
use std::str::FromStr;

/// How one parameter tensor starts. `fan_in` and `fan_out` are the tensor's
/// (see [`ParamSpec`](crate::ParamSpec)); `N(0, s)` is normal with deviation `s`, `U(l)` uniform in `-l..l`.
///
/// `Display` and `FromStr` speak the same names: `he-normal`, `uniform(0.05)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Init {
    /// `N(0, sqrt(2 / fan_in))`. He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015. For layers behind which a ReLU stands.
    HeNormal,
    /// `U(sqrt(6 / fan_in))`: the same variance. He and others, 2015.
    HeUniform,
    /// `N(0, sqrt(2 / (fan_in + fan_out)))`. Glorot and Bengio, "Understanding the difficulty of training deep feedforward
    /// neural networks", 2010. For tanh.
    GlorotNormal,
    /// `U(sqrt(6 / (fan_in + fan_out)))`: the same variance. Glorot and Bengio, 2010.
    GlorotUniform,
    /// `N(0, sqrt(1 / fan_in))`. LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998.
    LeCunNormal,
    /// `U(sqrt(3 / fan_in))`: the same variance. LeCun and others, 1998.
    LeCunUniform,
    /// `U(limit)`.
    Uniform {
        /// Largest absolute value.
        limit: f64,
    },
    /// `N(0, std)`.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// `N(0, 1 / fan_in)`: standard normal numbers divided by the number of inputs, as many a first network written by hand
    /// does. Smaller than LeCun's by `sqrt(fan_in)`.
    ScaledNormal,
    /// `U(1 / sqrt(fan_in))`: what PyTorch starts weights and biases from. It is He's uniform with a leaky slope of `sqrt(5)`.
    ScaledUniform,
    /// All zero: biases.
    Zeros,
}

impl Init {
    /// Fills `out` for a tensor of these fans, from the given stream of random numbers.
    pub fn fill<T: Scalar>(self, fan_in: usize, fan_out: usize, rng: &mut impl Rng, out: &mut [T]) {
        let (fan_in, fan_out) = (fan_in as f64, fan_out as f64);
        match self {
            Self::HeNormal => normal((2.0 / fan_in).sqrt(), rng, out),
            Self::HeUniform => uniform((6.0 / fan_in).sqrt(), rng, out),
            Self::GlorotNormal => normal((2.0 / (fan_in + fan_out)).sqrt(), rng, out),
            Self::GlorotUniform => uniform((6.0 / (fan_in + fan_out)).sqrt(), rng, out),
            Self::LeCunNormal => normal((1.0 / fan_in).sqrt(), rng, out),
            Self::LeCunUniform => uniform((3.0 / fan_in).sqrt(), rng, out),
            Self::Uniform { limit } => uniform(limit, rng, out),
            Self::Normal { std } => normal(std, rng, out),
            Self::ScaledNormal => normal(1.0 / fan_in, rng, out),
            Self::ScaledUniform => uniform(1.0 / fan_in.sqrt(), rng, out),
            Self::Zeros => out.fill(T::ZERO),
        }
    }
}

/// Parameters for a whole network: weights from `init`, biases zero, and what starts from a number of its own from that.
///
/// The numbers depend on `seed`, on a tensor's place among the network's tensors and on its fans: the same on every machine, and
/// changing one layer leaves the numbers of the others as they are.
///
/// ```
/// use byhand_layers::init::{Init, init_network};
/// use byhand_layers::{Dense, Network};
/// let network: Network = Network::new(vec![Box::new(Dense::new(784, 10, true)?)])?;
/// let theta = init_network(&network, Init::HeNormal, 1);
/// assert_eq!(theta.len(), 7850);
/// assert!(theta[7840..].iter().all(|&b| b == 0.0));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
pub fn init_network<T: Scalar>(network: &Network<T>, init: Init, seed: u64) -> Vec<T> {
    init_network_with(network, seed, |param| if param.is_bias() { Init::Zeros } else { init })
}

/// Parameters for a whole network, with an initialiser chosen for each tensor that does not start from a number of its own.
pub fn init_network_with<T: Scalar>(
    network: &Network<T>,
    seed: u64,
    mut choose: impl FnMut(&NamedParam) -> Init,
) -> Vec<T> {
    let mut theta = vec![T::ZERO; network.param_len()];
    for (stream, param) in network.params().iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream as u64);
        let theta = &mut theta[param.range.clone()];
        match param.start {
            Some(start) => theta.fill(T::from_f64(start)),
            None => choose(param).fill(param.fan_in, param.fan_out, &mut rng, theta),
        }
    }
    theta
}

const NAMES: [(&str, Init); 9] = [
    ("he-normal", Init::HeNormal),
    ("he-uniform", Init::HeUniform),
    ("glorot-normal", Init::GlorotNormal),
    ("glorot-uniform", Init::GlorotUniform),
    ("lecun-normal", Init::LeCunNormal),
    ("lecun-uniform", Init::LeCunUniform),
    ("scaled-normal", Init::ScaledNormal),
    ("scaled-uniform", Init::ScaledUniform),
    ("zeros", Init::Zeros),
];

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform { limit } => write!(f, "uniform({limit})"),
            Self::Normal { std } => write!(f, "normal({std})"),
            plain => f.pad(NAMES.iter().find(|(_, init)| init == plain).map_or("", |(name, _)| name)),
        }
    }
}

impl FromStr for Init {
    type Err = InitError;

    fn from_str(text: &str) -> Result<Self, InitError> {
        let argument = |name: &str| {
            let number = text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
            number.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
        };
        let plain = NAMES.iter().find(|(name, _)| *name == text).map(|&(_, init)| init);
        plain
            .or_else(|| argument("uniform").map(|limit| Self::Uniform { limit }))
            .or_else(|| argument("normal").map(|std| Self::Normal { std }))
            .ok_or_else(|| {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                let expected = format!("{}, uniform(LIMIT), normal(STD)", names.join(", "));
                InitError { expected, found: text.to_owned() }
            })
    }
}

/// Uniform in `-limit..limit`: the centres of 2^24 equal steps, so that the mean is exactly 0.
fn uniform<T: Scalar>(limit: f64, rng: &mut impl Rng, out: &mut [T]) {
    for value in out {
        *value = T::from_f64(signed_unit(rng) * limit);
    }
}

/// Normal numbers by the polar method (Marsaglia and Bray, "A convenient method for generating
/// normal variables", 1964). Its only function beyond the square root is our own f32 logarithm, so that no platform's
/// mathematical library has a say in the bits.
fn normal<T: Scalar>(std: f64, rng: &mut impl Rng, out: &mut [T]) {
    for pair in out.chunks_mut(2) {
        let (u, v, s) = loop {
            let (u, v) = (signed_unit(rng), signed_unit(rng));
            let s = u * u + v * v;
            if s < 1.0 {
                break (u, v, s as f32);
            }
        };
        let radius = f64::from(-2.0 * Number::ln(s) / s).sqrt();
        for (value, direction) in pair.iter_mut().zip([u, v]) {
            *value = T::from_f64(direction * radius * std);
        }
    }
}

/// Uniform in -1..1, never 0: an odd multiple of 2^-24.
fn signed_unit(rng: &mut impl Rng) -> f64 {
    let steps = f64::from(rng.next_u32() >> 8) + 0.5;
    steps / f64::from(1 << 23) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv2d, ConvOptions, Dense, Describe, Flatten, Shape};

    const ALL: [Init; 11] = [
        Init::HeNormal,
        Init::HeUniform,
        Init::GlorotNormal,
        Init::GlorotUniform,
        Init::LeCunNormal,
        Init::LeCunUniform,
        Init::Uniform { limit: 0.05 },
        Init::Normal { std: 0.01 },
        Init::ScaledNormal,
        Init::ScaledUniform,
        Init::Zeros,
    ];

    fn network(c_out: usize) -> Network {
        let conv = Conv2d::new(Shape::new(1, 12, 12), c_out, ConvOptions::square(3)).unwrap();
        let flatten = Flatten::new(conv.output());
        let dense = Dense::new(flatten.output().features(), 10, true).unwrap();
        Network::new(vec![Box::new(conv), Box::new(flatten), Box::new(dense)]).unwrap()
    }

    #[test]
    fn moments_are_those_of_the_formula() {
        let (fan_in, fan_out) = (300.0f64, 100.0f64);
        let n = 200_000;
        for init in ALL {
            let mut w = vec![0.0f64; n];
            init.fill(300, 100, &mut ChaCha8Rng::seed_from_u64(3), &mut w);
            let mean = w.iter().sum::<f64>() / n as f64;
            let variance = w.iter().map(|w| (w - mean) * (w - mean)).sum::<f64>() / n as f64;
            let expected = match init {
                Init::HeNormal | Init::HeUniform => 2.0 / fan_in,
                Init::GlorotNormal | Init::GlorotUniform => 2.0 / (fan_in + fan_out),
                Init::LeCunNormal | Init::LeCunUniform => 1.0 / fan_in,
                Init::Uniform { limit } => limit * limit / 3.0,
                Init::Normal { std } => std * std,
                Init::ScaledNormal => 1.0 / (fan_in * fan_in),
                Init::ScaledUniform => 1.0 / (3.0 * fan_in),
                Init::Zeros => 0.0,
            };
            assert!(mean.abs() <= 5.0 * (expected / n as f64).sqrt(), "{init}: mean {mean}");
            assert!((variance - expected).abs() <= 0.02 * expected, "{init}: {variance} against {expected}");
        }
    }

    #[test]
    fn normal_numbers_have_normal_tails() {
        let n = 200_000;
        let mut w = vec![0.0f32; n];
        Init::Normal { std: 1.0 }.fill(1, 1, &mut ChaCha8Rng::seed_from_u64(4), &mut w);
        for (limit, expected) in [(1.0, 0.317_31), (2.0, 0.045_50), (3.0, 0.002_70)] {
            let outside = w.iter().filter(|w| w.abs() > limit).count() as f64 / n as f64;
            let sigma = (expected * (1.0 - expected) / n as f64).sqrt();
            assert!((outside - expected).abs() < 5.0 * sigma, "{outside} outside {limit} deviations");
        }
    }

    #[test]
    fn one_layer_changed_leaves_the_others_as_they_are() {
        let (a, b) = (network(4), network(4));
        let ta = init_network(&a, Init::HeNormal, 7);
        assert_eq!(ta, init_network(&b, Init::HeNormal, 7), "same seed");
        assert_ne!(ta, init_network(&b, Init::HeNormal, 8), "other seed");
        let wider = network(5);
        let tw = init_network(&wider, Init::HeNormal, 7);
        let weight = |net: &Network, theta: &[f32], name| {
            let param = net.params().iter().find(|p| p.name == name).unwrap();
            theta[param.range.clone()].to_vec()
        };
        assert_eq!(weight(&a, &ta, "0.weight")[..], weight(&wider, &tw, "0.weight")[..36]);
        let scale = (500.0f32 / 400.0).sqrt();
        let (wa, ww) = (weight(&a, &ta, "2.weight"), weight(&wider, &tw, "2.weight"));
        assert!(wa.iter().zip(&ww).all(|(a, w)| (a - w * scale).abs() < 1e-6), "same stream, other fans");
    }

    #[test]
    fn first_numbers_are_pinned() {
        let mut w = [0.0f32; 3];
        Init::Uniform { limit: 1.0 }.fill(1, 1, &mut ChaCha8Rng::seed_from_u64(0), &mut w);
        let uniform = w.map(f32::to_bits);
        Init::Normal { std: 1.0 }.fill(1, 1, &mut ChaCha8Rng::seed_from_u64(0), &mut w);
        let normal = w.map(f32::to_bits);
        assert_eq!(uniform, [1_050_568_942, 1_054_218_206, 1_055_613_698]);
        assert_eq!(normal, [1_064_711_241, 1_067_868_113, 1_071_491_649]);
    }

    #[test]
    fn text_round_trips() {
        for init in ALL {
            assert_eq!(init.to_string().parse(), Ok(init));
        }
        for text in ["he", "uniform", "uniform()", "normal(-1)", "normal(inf)", "uniform(0.1"] {
            let error = text.parse::<Init>().unwrap_err().to_string();
            assert!(error.contains("he-normal") && error.contains(text), "{error}");
        }
    }
}
