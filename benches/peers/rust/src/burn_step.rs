//! The step in burn.

use crate::{Layer, Net, Step};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

#[derive(Module, Debug)]
struct Model {
    convs: Vec<Conv2d>,
    denses: Vec<Linear>,
}

/// A step from where `net` starts.
pub fn new(net: Net) -> Step {
    let device = Device::flex().autodiff();
    let (mut convs, mut denses, mut pools): (Vec<Conv2d>, Vec<Linear>, Vec<MaxPool2d>) = Default::default();
    let mut parameters = net.parameters.iter();
    for layer in &net.layers {
        let mut own = || parameters.next().expect("one a layer").clone();
        match *layer {
            Layer::Conv(inputs, outputs, kernel, pad) => {
                let (weight, bias) = own();
                let mut conv = Conv2dConfig::new([inputs, outputs], [kernel, kernel])
                    .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                    .init(&device);
                let weight = TensorData::new(weight, [outputs, inputs, kernel, kernel]);
                conv.weight = Param::from_data(weight, &device);
                conv.bias = Some(Param::from_data(TensorData::new(bias, [outputs]), &device));
                convs.push(conv);
            }
            Layer::Dense(inputs, outputs) => {
                let (weight, bias) = own();
                let mut dense = LinearConfig::new(inputs, outputs).init(&device);
                // burn keeps it as inputs x outputs.
                let turned =
                    (0..inputs * outputs).map(|i| weight[i % outputs * inputs + i / outputs]).collect();
                dense.weight =
                    Param::from_data(TensorData::new::<f32, _>(turned, [inputs, outputs]), &device);
                dense.bias = Some(Param::from_data(TensorData::new(bias, [outputs]), &device));
                denses.push(dense);
            }
            Layer::Pool(window) => {
                pools.push(MaxPool2dConfig::new([window, window]).with_strides([window, window]).init());
            }
            Layer::Relu | Layer::Flatten => {}
        }
    }
    let data = |values: &[f32], shape: Vec<usize>| TensorData::new(values.to_vec(), shape);
    let images = net.shape().len() == 4;
    let [c, h, w] = net.input;
    let x = Tensor::<4>::from_data(data(&net.x, vec![net.batch, c, h, w]), &device);
    let flat = (!images).then(|| Tensor::<2>::from_data(data(&net.x, net.shape()), &device));
    let labels: Vec<i32> = net.labels.iter().map(|&label| label as i32).collect();
    let y = Tensor::<1, Int>::from_ints(labels.as_slice(), &device);
    let loss_of: CrossEntropyLoss = CrossEntropyLossConfig::new().init(&device);
    let mut sgd = SgdConfig::new().init();
    let (layers, rate) = (net.layers, net.rate);
    let mut model = Some(Model { convs, denses });
    Box::new(move || {
        let of = model.take().expect("put back after each step");
        let (mut images, mut rows) = (x.clone(), flat.clone());
        let (mut convs, mut denses, mut pools) = (of.convs.iter(), of.denses.iter(), pools.iter());
        for layer in &layers {
            match layer {
                Layer::Conv(..) => images = convs.next().expect("one a layer").forward(images),
                Layer::Pool(_) => images = pools.next().expect("one a layer").forward(images),
                Layer::Flatten => rows = Some(images.clone().flatten(1, 3)),
                Layer::Dense(..) => rows = rows.map(|x| denses.next().expect("one a layer").forward(x)),
                Layer::Relu => match rows.take() {
                    Some(x) => rows = Some(relu(x)),
                    None => images = relu(images),
                },
            }
        }
        let loss = loss_of.forward(rows.expect("flattened"), y.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &of);
        model = Some(sgd.step(rate, of, gradients));
        loss.into_scalar()
    })
}
