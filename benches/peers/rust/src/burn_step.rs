//! The step in burn.

use crate::{Layer, Net, Step};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::slice;

/// The layers with parameters, each kind in its order.
#[derive(Module, Debug)]
struct Model {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    denses: Vec<Linear>,
}

/// A step from where `net` starts.
pub fn new(net: Net) -> Step {
    let device = Device::flex().autodiff();
    let mut model = Model { convs: Vec::new(), norms: Vec::new(), denses: Vec::new() };
    model.add(&net.layers, &mut net.parameters.iter(), &device);
    let data = |values: &[f32], shape: Vec<usize>| TensorData::new(values.to_vec(), shape);
    let x = match net.shape()[..] {
        [_, _] => Data::Rows(Tensor::from_data(data(&net.x, net.shape()), &device)),
        _ => Data::Images(Tensor::from_data(data(&net.x, net.shape()), &device)),
    };
    let labels: Vec<i32> = net.labels.iter().map(|&label| label as i32).collect();
    let y = Tensor::<1, Int>::from_ints(labels.as_slice(), &device);
    let loss_of: CrossEntropyLoss = CrossEntropyLossConfig::new().init(&device);
    let mut sgd = SgdConfig::new().init();
    let mut model = Some(model);
    Box::new(move || {
        let of = model.take().expect("put back after each step");
        let mut next = Next { convs: of.convs.iter(), norms: of.norms.iter(), denses: of.denses.iter() };
        let Data::Rows(logits) = next.chain(&net.layers, x.clone()) else { panic!("expected flatten") };
        let loss = loss_of.forward(logits, y.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &of);
        model = Some(sgd.step(net.rate, of, gradients));
        loss.into_scalar()
    })
}

impl Model {
    fn add(
        &mut self,
        layers: &[Layer],
        parameters: &mut slice::Iter<'_, (Vec<f32>, Vec<f32>)>,
        device: &Device,
    ) {
        let of_vector =
            |values: &[f32]| Param::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
        for layer in layers {
            let mut own = || parameters.next().expect("one a layer");
            match *layer {
                Layer::Conv(inputs, outputs, kernel, pad, stride) => {
                    let (weight, bias) = own();
                    let mut conv = Conv2dConfig::new([inputs, outputs], [kernel, kernel])
                        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                        .with_stride([stride, stride])
                        .init(device);
                    let weight = TensorData::new(weight.clone(), [outputs, inputs, kernel, kernel]);
                    conv.weight = Param::from_data(weight, device);
                    conv.bias = Some(of_vector(bias));
                    self.convs.push(conv);
                }
                Layer::BatchNorm(channels) => {
                    let (weight, bias) = own();
                    let mut norm = BatchNormConfig::new(channels).init(device);
                    (norm.gamma, norm.beta) = (of_vector(weight), of_vector(bias));
                    self.norms.push(norm);
                }
                Layer::Dense(inputs, outputs) => {
                    let (weight, bias) = own();
                    let mut dense = LinearConfig::new(inputs, outputs).init(device);
                    // burn keeps it as inputs x outputs.
                    let turned =
                        (0..inputs * outputs).map(|i| weight[i % outputs * inputs + i / outputs]).collect();
                    dense.weight =
                        Param::from_data(TensorData::new::<f32, _>(turned, [inputs, outputs]), device);
                    dense.bias = Some(of_vector(bias));
                    self.denses.push(dense);
                }
                Layer::Residual(ref main, ref shortcut) => {
                    self.add(main, parameters, device);
                    self.add(shortcut, parameters, device);
                }
                Layer::Pool(_) | Layer::GlobalAvgPool | Layer::Relu | Layer::Flatten => {}
            }
        }
    }
}

/// What flows from layer to layer.
#[derive(Clone)]
enum Data {
    Images(Tensor<4>),
    Rows(Tensor<2>),
}

/// The layers that come next, of each kind.
struct Next<'a> {
    convs: slice::Iter<'a, Conv2d>,
    norms: slice::Iter<'a, BatchNorm>,
    denses: slice::Iter<'a, Linear>,
}

impl Next<'_> {
    fn chain(&mut self, layers: &[Layer], x: Data) -> Data {
        layers.iter().fold(x, |x, layer| match (layer, x) {
            (Layer::Residual(main, shortcut), x) => {
                let [main, shortcut] = [main, shortcut].map(|layers| self.chain(layers, x.clone()));
                match (main, shortcut) {
                    (Data::Images(main), Data::Images(shortcut)) => Data::Images(main + shortcut),
                    (Data::Rows(main), Data::Rows(shortcut)) => Data::Rows(main + shortcut),
                    _ => panic!("images and rows do not add up"),
                }
            }
            (Layer::Relu, Data::Images(x)) => Data::Images(relu(x)),
            (Layer::Relu, Data::Rows(x)) => Data::Rows(relu(x)),
            (Layer::Conv(..), Data::Images(x)) => Data::Images(next(&mut self.convs).forward(x)),
            (Layer::BatchNorm(_), Data::Images(x)) => Data::Images(next(&mut self.norms).forward(x)),
            (&Layer::Pool(window), Data::Images(x)) => {
                let pool: MaxPool2d =
                    MaxPool2dConfig::new([window, window]).with_strides([window, window]).init();
                Data::Images(pool.forward(x))
            }
            (Layer::GlobalAvgPool, Data::Images(x)) => Data::Images(x.mean_dim(3).mean_dim(2)),
            (Layer::Flatten, Data::Images(x)) => Data::Rows(x.flatten(1, 3)),
            (Layer::Dense(..), Data::Rows(x)) => Data::Rows(next(&mut self.denses).forward(x)),
            _ => panic!("a layer of images behind flatten, or one of rows before it"),
        })
    }
}

fn next<'a, T>(layers: &mut slice::Iter<'a, T>) -> &'a T {
    layers.next().expect("as many as were built")
}
