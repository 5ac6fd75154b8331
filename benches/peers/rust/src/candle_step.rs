//! The step in candle.

use crate::{Layer, Net, Step};
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Linear, Module, Optimizer, SGD, loss};

type Forward = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// A step from where `net` starts.
pub fn new(net: Net) -> Step {
    let device = Device::Cpu;
    let rate = net.rate;
    let mut parameters = net.parameters.iter();
    let mut variables = Vec::new();
    let mut own = |shape: &[usize]| {
        let (weight, bias) = parameters.next().expect("one a layer");
        let weight = Var::from_slice(weight, shape, &device).expect("sizes fit");
        let bias = Var::from_slice(bias, bias.len(), &device).expect("sizes fit");
        let tensors = [weight.as_tensor().clone(), bias.as_tensor().clone()];
        variables.extend([weight, bias]);
        tensors
    };
    let forward = chain(&net.layers, &mut own);
    let x = Tensor::from_slice(&net.x, net.shape(), &device).expect("sizes fit");
    let y = Tensor::from_slice(&net.labels, net.batch, &device).expect("sizes fit");
    let mut sgd = SGD::new(variables, rate).expect("variables");
    Box::new(move || {
        let mut step = || -> Result<f32> {
            let out = forward(&x)?;
            let loss = loss::cross_entropy(&out, &y)?;
            sgd.backward_step(&loss)?;
            loss.to_scalar()
        };
        step().expect("shapes fit")
    })
}

/// A chain of layers, each with the weight and bias that are its `own`.
fn chain(layers: &[Layer], own: &mut impl FnMut(&[usize]) -> [Tensor; 2]) -> Forward {
    let mut modules: Vec<Forward> = Vec::new();
    for layer in layers {
        modules.push(match *layer {
            Layer::Conv(inputs, outputs, kernel, padding, stride) => {
                let [weight, bias] = own(&[outputs, inputs, kernel, kernel]);
                let config = Conv2dConfig { padding, stride, ..Default::default() };
                let conv = Conv2d::new(weight, Some(bias), config);
                Box::new(move |x| conv.forward(x))
            }
            Layer::BatchNorm(channels) => {
                let [weight, bias] = own(&[channels]);
                let running = [bias.zeros_like(), weight.ones_like()];
                let [mean, variance] = running.map(|tensor| tensor.expect("a shape"));
                let norm = BatchNorm::new(channels, mean, variance, weight, bias, 1e-5).expect("sizes fit");
                Box::new(move |x| norm.forward_train(x))
            }
            Layer::Pool(window) => Box::new(move |x| x.max_pool2d(window)),
            Layer::GlobalAvgPool => Box::new(|x| x.mean((2, 3))),
            Layer::Relu => Box::new(|x| x.relu()),
            Layer::Flatten => Box::new(|x| x.flatten_from(1)),
            Layer::Residual(ref main, ref shortcut) => {
                let [main, shortcut] = [main, shortcut].map(|layers| chain(layers, own));
                Box::new(move |x| main(x)? + shortcut(x)?)
            }
            Layer::Dense(inputs, outputs) => {
                let [weight, bias] = own(&[outputs, inputs]);
                let dense = Linear::new(weight, Some(bias));
                Box::new(move |x| dense.forward(x))
            }
        });
    }
    Box::new(move |x| modules.iter().try_fold(x.clone(), |x, module| module(&x)))
}
