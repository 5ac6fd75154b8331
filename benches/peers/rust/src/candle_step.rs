//! The step in candle.

use crate::{Layer, Net, Step};
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, Optimizer, SGD, loss};

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
        let tensors = (weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
        variables.extend([weight, bias]);
        tensors
    };
    let mut modules: Vec<Forward> = Vec::new();
    for layer in &net.layers {
        modules.push(match *layer {
            Layer::Conv(inputs, outputs, kernel, padding) => {
                let (weight, bias) = own(&[outputs, inputs, kernel, kernel]);
                let conv = Conv2d::new(weight, bias, Conv2dConfig { padding, ..Default::default() });
                Box::new(move |x| conv.forward(x))
            }
            Layer::Pool(window) => Box::new(move |x| x.max_pool2d(window)),
            Layer::Relu => Box::new(|x| x.relu()),
            Layer::Flatten => Box::new(|x| x.flatten_from(1)),
            Layer::Dense(inputs, outputs) => {
                let (weight, bias) = own(&[outputs, inputs]);
                let dense = Linear::new(weight, bias);
                Box::new(move |x| dense.forward(x))
            }
        });
    }
    let x = Tensor::from_slice(&net.x, net.shape(), &device).expect("sizes fit");
    let y = Tensor::from_slice(&net.labels, net.batch, &device).expect("sizes fit");
    let mut sgd = SGD::new(variables, rate).expect("variables");
    Box::new(move || {
        let mut step = || -> Result<f32> {
            let mut out = x.clone();
            for module in &modules {
                out = module(&out)?;
            }
            let loss = loss::cross_entropy(&out, &y)?;
            sgd.backward_step(&loss)?;
            loss.to_scalar()
        };
        step().expect("shapes fit")
    })
}
