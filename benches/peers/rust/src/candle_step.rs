//! The step in candle.

use crate::{Layer, Net};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Conv2dConfig, Module, Optimizer, SGD, VarBuilder, VarMap, conv2d, linear, loss};

type Forward = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// A step on random data.
pub fn new(net: &Net, batch: usize) -> Box<dyn FnMut()> {
    let device = Device::Cpu;
    let variables = VarMap::new();
    let make = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let mut modules: Vec<Forward> = Vec::new();
    for (i, layer) in net.layers.iter().enumerate() {
        let make = make.pp(i);
        modules.push(match *layer {
            Layer::Conv(inputs, outputs, kernel, padding) => {
                let config = Conv2dConfig { padding, ..Default::default() };
                let conv = conv2d(inputs, outputs, kernel, config, make).expect("sizes fit");
                Box::new(move |x| conv.forward(x))
            }
            Layer::Pool => Box::new(|x| x.max_pool2d(2)),
            Layer::Relu => Box::new(|x| x.relu()),
            Layer::Flatten => Box::new(|x| x.flatten_from(1)),
            Layer::Dense(inputs, outputs) => {
                let dense = linear(inputs, outputs, make).expect("sizes fit");
                Box::new(move |x| dense.forward(x))
            }
        });
    }
    let [c, h, w] = net.input;
    let x = Tensor::rand(0f32, 1.0, (batch, c, h, w), &device).expect("a CPU tensor");
    let y = Tensor::new(net.labels(batch), &device).expect("a CPU tensor");
    let mut sgd = SGD::new(variables.all_vars(), 0.01).expect("variables");
    Box::new(move || {
        let mut step = || -> Result<()> {
            let mut out = x.clone();
            for module in &modules {
                out = module(&out)?;
            }
            sgd.backward_step(&loss::cross_entropy(&out, &y)?)
        };
        step().expect("shapes fit");
    })
}
