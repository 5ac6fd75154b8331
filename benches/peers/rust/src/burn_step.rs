//! The step in burn.

use crate::{Layer, Net};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::MaxPool2dConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Int, Tensor};

#[derive(Module, Debug)]
struct Model {
    convs: Vec<Conv2d>,
    denses: Vec<Linear>,
}

/// A step on random data.
pub fn new(net: &Net, batch: usize) -> Box<dyn FnMut()> {
    let device = Device::flex().autodiff();
    let (mut convs, mut denses) = (Vec::new(), Vec::new());
    for layer in &net.layers {
        match *layer {
            Layer::Conv(inputs, outputs, kernel, pad) => convs.push(
                Conv2dConfig::new([inputs, outputs], [kernel, kernel])
                    .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                    .init(&device),
            ),
            Layer::Dense(inputs, outputs) => denses.push(LinearConfig::new(inputs, outputs).init(&device)),
            _ => {}
        }
    }
    let plain = Device::flex();
    let [c, h, w] = net.input;
    let x = Tensor::<4>::random([batch, c, h, w], Distribution::Uniform(0.0, 1.0), &plain);
    let y = Tensor::<1, Int>::from_ints(net.labels(batch).as_slice(), &device);
    let x = x.to_device(&device);
    let loss: CrossEntropyLoss = CrossEntropyLossConfig::new().init(&device);
    let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
    let mut sgd = SgdConfig::new().init();
    let layers = net.layers.clone();
    let mut model = Some(Model { convs, denses });
    Box::new(move || {
        let of = model.take().expect("put back after each step");
        let (mut images, mut rows) = (x.clone(), None::<Tensor<2>>);
        let (mut convs, mut denses) = (of.convs.iter(), of.denses.iter());
        for layer in &layers {
            match layer {
                Layer::Conv(..) => images = convs.next().expect("one a layer").forward(images),
                Layer::Pool => images = pool.forward(images),
                Layer::Flatten => rows = Some(images.clone().flatten(1, 3)),
                Layer::Dense(..) => rows = rows.map(|x| denses.next().expect("one a layer").forward(x)),
                Layer::Relu => match rows.take() {
                    Some(x) => rows = Some(relu(x)),
                    None => images = relu(images),
                },
            }
        }
        let gradients = loss.forward(rows.expect("flattened"), y.clone()).backward();
        let gradients = GradientsParams::from_grads(gradients, &of);
        model = Some(sgd.step(0.01, of, gradients));
    })
}
