//! The exercises, in the order of docs/backprop.md.

use std::slice;

use byhand_layers::init::Init;
use byhand_layers::loss::{Labels, Loss, SoftmaxCrossEntropy, SquaredError};
use byhand_layers::{
    AvgPool2d, Block, Conv2d, ConvOptions, Dense, Describe, Dropout, Dual, Flatten, Layer, LayerError,
    MaxPool2d, Network, Pass, Relu, Saved, Shape, Sigmoid, Tanh, Workspace,
};
use byhand_trainer::{Adam, Optimizer, OptimizerState, Sgd};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use super::case::{Made, OneLayer, OneLoss, Plain, Table};

/// An exercise.
pub struct Exercise {
    pub name: &'static str,
    /// The heading of the page that it belongs to.
    pub section: &'static str,
    /// One line for the list.
    pub title: &'static str,
    pub question: &'static str,
    /// Told with a wrong answer.
    pub hint: &'static str,
    /// Told with the right one.
    pub why: &'static str,
    pub case: fn() -> Made,
    pub task: Task,
}

/// What is asked.
pub enum Task {
    /// The numbers of these tables of the right results.
    Numbers(&'static [&'static str]),
    /// Which wrong line of the museum gives the results that are shown: this one.
    WrongLine(&'static str),
}

use Task::{Numbers, WrongLine};

const FIRST: &str = "A dense network by hand";
const IMAGE: &str = "An image network by hand";

/// Every exercise.
pub const EXERCISES: &[Exercise] = &[
    Exercise {
        name: "mlp-label",
        section: FIRST,
        title: "the gradient of W1 for the other label",
        question: "The network of the page, but the label of x = (1, 2) is 1. What is dW1?",
        hint: "begin with dz = p - q = (1/4 - 0, 3/4 - 1); the hidden unit that is off passes nothing on",
        why: "only dz has changed, by the factor -1/3, and everything below it is linear in dz",
        case: || mlp(1),
        task: Numbers(&["dW1"]),
    },
    Exercise {
        name: "mlp-step",
        section: FIRST,
        title: "the loss after one step",
        question: "The same network with label 1. Subtract 0.1 times its gradient from each parameter. What is the loss then?",
        hint: "dW2 = dz times r, db2 = dz, dW1 and db1 as in mlp-label; move all twelve numbers, then go forward again",
        why: "the label already had 3/4, so the gradient is a third as large and the loss falls by less",
        case: || mlp(1),
        task: Numbers(&["loss after the step"]),
    },
    Exercise {
        name: "image-label",
        section: IMAGE,
        title: "the gradient of the kernel for the other label",
        question: "The image network of the page, but the label is 1. What is dw, the gradient of the kernel?",
        hint: "dz is (1/4, -1/4); compare it with the page's (-3/4, 3/4) before you compute anything else",
        why: "maxima and masks stay where they were, so every gradient is -1/3 of the page's",
        case: image,
        task: Numbers(&["dw"]),
    },
    Exercise {
        name: "rule-paths",
        section: "The rule",
        title: "a number that is used twice",
        question: "a = 2*x, b = x*x, L = a*b. At x = 3, what is dx, the derivative of L with respect to x?",
        hint: "da = b and db = a; x went into a with strength 2 and into b with strength 2*x: add up both ways",
        why: "2*9 on one way and 6*6 on the other; computed here with a dual number",
        case: || {
            let x = Dual { value: 3.0, slope: 1.0 };
            let (a, b) = (Dual { value: 2.0, slope: 0.0 } * x, x * x);
            let right = vec![Table::new("dx", 1, [(a * b).slope])];
            Ok(Box::new(Plain { given: vec![Table::new("x", 1, [x.value])], right }))
        },
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "dense-dx",
        section: "Dense",
        title: "the input gradient of a square layer",
        question: "A dense layer with two inputs and two outputs. What is dx?",
        hint: "x[0] went into y[0] with strength w[0, 0] and into y[1] with strength w[1, 0]: go down the columns of w",
        why: "dx[k] sums column k of w times dy",
        case: || {
            one_layer(Dense::new(2, 2, true)?, &[2.0, -1.0, 4.0, 3.0, 0.0, 0.0], &[1.0, 1.0], &[1.0, 2.0])
        },
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "dense-batch",
        section: "Dense",
        title: "weight and bias gradients of two samples",
        question: "A dense layer with three inputs and two outputs meets a minibatch of two samples (the rows of x and of dy). What \
                   are dw and db?",
        hint: "compute dw of each sample, dy[o] times x[k], and add the two; db adds the rows of dy",
        why: "each weight was used once per sample, so its gradient is a sum over samples; nothing is divided",
        case: || {
            one_layer(
                Dense::new(3, 2, true)?,
                &[1.0, 0.0, 2.0, -1.0, 1.0, 1.0, 0.0, 0.0],
                &[1.0, 0.0, 2.0, -1.0, 3.0, 1.0],
                &[2.0, 1.0, 1.0, -1.0],
            )
        },
        task: Numbers(&["dw", "db"]),
    },
    Exercise {
        name: "dense-bug-1",
        section: "Dense",
        title: "find the bug",
        question: "A dense layer and two samples. One line of its backward pass is wrong.",
        hint: "work out dx, dw and db yourself; one of them differs. Then ask what the wrong numbers are made of",
        why: "The bias was used by both samples",
        case: || {
            one_layer(
                Dense::new(2, 2, true)?,
                &[2.0, -1.0, 4.0, 3.0, 0.0, 0.0],
                &[1.0, 0.0, 2.0, -1.0],
                &[1.0, 2.0, -1.0, 1.0],
            )
        },
        task: WrongLine("dense-bias-not-summed"),
    },
    Exercise {
        name: "dense-bug-2",
        section: "Dense",
        title: "find the bug",
        question: "The same layer, called in the middle of a step: the buffers of dx, dw and db already hold 1 everywhere. A \
                   backward pass overwrites dx and adds to dw and db. One line is wrong.",
        hint: "work out each gradient yourself, and add the 1 where it belongs",
        why: "A minibatch may come in several parts, and the gradient is their sum",
        case: || {
            Ok(Box::new(OneLayer {
                layer: Box::new(Dense::new(2, 2, true)?),
                theta: vec![2.0, -1.0, 4.0, 3.0, 0.0, 0.0],
                x: vec![1.0, 3.0],
                dy: vec![1.0, 2.0],
                before: 1.0,
            }))
        },
        task: WrongLine("dense-overwrites"),
    },
    Exercise {
        name: "conv-dw",
        section: "Convolution",
        title: "the gradient of a 2 x 2 kernel",
        question: "A convolution of one channel with a kernel of 2 x 2, stride 1, no padding. What is dw?",
        hint: "dw is a sum of 2 x 2 patches of x, one per output, each times its dy; nothing is flipped",
        why: "dw correlates x with dy",
        case: || {
            one_layer(
                conv([1, 3, 3], [2, 2], [1, 1])?,
                &[1.0, 2.0, 3.0, 4.0, 0.0],
                &[1.0, 2.0, 0.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0],
                &[1.0, 0.0, 2.0, -1.0],
            )
        },
        task: Numbers(&["dw"]),
    },
    Exercise {
        name: "conv-dx",
        section: "Convolution",
        title: "the gradient of the image",
        question: "The same kind of convolution. What is dx?",
        hint: "scatter: for each output lay a copy of w, times its dy, over the window that it came from, and add",
        why: "two copies of w, which overlap in the middle",
        case: || {
            one_layer(
                conv([1, 3, 3], [2, 2], [1, 1])?,
                &[1.0, 2.0, 3.0, 4.0, 0.0],
                &[1.0, 2.0, 0.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0],
                &[1.0, 0.0, 0.0, -1.0],
            )
        },
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "conv-phases",
        section: "Convolution",
        title: "one row of pixels, three taps, stride 2",
        question: "A convolution along one row: seven pixels, a kernel of three taps, stride 2. What is dx?",
        hint: "pixel q and tap v meet output (q - v) / 2, where that is a whole number: even pixels meet taps 0 and 2, odd ones tap 1",
        why: "even and odd pixels are two phases, with two taps and with one",
        case: || {
            one_layer(
                conv([1, 1, 7], [1, 3], [1, 2])?,
                &[1.0, 2.0, 3.0, 0.0],
                &[1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 1.0],
                &[1.0, 1.0, -1.0],
            )
        },
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "conv-bug-1",
        section: "Convolution",
        title: "find the bug",
        question: "A convolution of two channels into one, kernel 2 x 2, stride 1 (w and x: one channel above the other). Only one dy is \
                   not zero, so dx should show w as it is. One line is wrong.",
        hint: "find each number of w in dx: which axes run backwards, row, column or channel?",
        why: "The turn by 180 degrees belongs to the two spatial axes, and to the gather form only",
        case: || {
            one_layer(
                conv([2, 3, 3], [2, 2], [1, 1])?,
                &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0],
                &[1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 1.0],
                &[1.0, 0.0, 0.0, 0.0],
            )
        },
        task: WrongLine("conv-rotated-axes"),
    },
    Exercise {
        name: "conv-bug-2",
        section: "Convolution",
        title: "find the bug",
        question: "A convolution of one channel, kernel 1 x 2, stride 2 along rows and 1 along columns. One line is wrong.",
        hint: "window (i, j) covers row 2*i and columns j and j + 1; see where the gradient of window (1, 0) went",
        why: "Nobody sees it while both strides are equal",
        case: || {
            one_layer(
                conv([1, 3, 3], [1, 2], [2, 1])?,
                &[1.0, 2.0, 0.0],
                &[1.0, 2.0, 0.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0],
                &[1.0, 0.0, 3.0, 0.0],
            )
        },
        task: WrongLine("conv-swapped-strides"),
    },
    Exercise {
        name: "pool-overlap",
        section: "Max pooling",
        title: "overlapping windows, with a tie",
        question: "A max-pool of 2 x 2 with stride 1. What is dx?",
        hint: "mark the maximum of each of the four windows, at a tie the first in row order, and add the dy of all windows that \
               chose a place",
        why: "one 5 is the maximum of two windows and gets both gradients, and no gradient is lost",
        case: || {
            one_layer(
                MaxPool2d::new(Shape::new(1, 3, 3), [2, 2], [1, 1])?,
                &[],
                &[1.0, 5.0, 2.0, 5.0, 0.0, 2.0, 3.0, 2.0, 2.0],
                &[1.0, 2.0, 3.0, 4.0],
            )
        },
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "pool-bug-1",
        section: "Max pooling",
        title: "find the bug",
        question: "A max-pool of 2 x 2 with stride 2. No two numbers of a window are equal. One line is wrong.",
        hint: "find where each dy should go, and compare row and column with those where it went",
        why: "The index of dx is the index at which x was read",
        case: || {
            one_layer(
                MaxPool2d::new(Shape::new(1, 4, 4), [2, 2], [2, 2])?,
                &[],
                &[1.0, 2.0, 3.0, 0.0, 4.0, 0.0, 1.0, 5.0, 0.0, 7.0, 2.0, 1.0, 6.0, 1.0, 0.0, 8.0],
                &[1.0, 2.0, 3.0, 4.0],
            )
        },
        task: WrongLine("pool-index-without-stride"),
    },
    Exercise {
        name: "pool-bug-2",
        section: "Max pooling",
        title: "find the bug",
        question: "A max-pool of 2 x 2 with stride 2, on an image with a flat background. One line is wrong.",
        hint: "add up dy, and add up dx",
        why: "A background of zeros is one large tie",
        case: || {
            one_layer(
                MaxPool2d::new(Shape::new(1, 4, 4), [2, 2], [2, 2])?,
                &[],
                &[0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 5.0, 2.0, 0.0, 4.0, 2.0, 0.0],
                &[1.0, 2.0, 3.0, 4.0],
            )
        },
        task: WrongLine("pool-all-ties"),
    },
    Exercise {
        name: "pool-bug-3",
        section: "Max pooling",
        title: "find the bug",
        question: "A max-pool of 3 x 3 with stride 2. One line is wrong.",
        hint: "the 9 in the middle lies in all four windows",
        why: "A number that was used four times gets four contributions",
        case: || {
            one_layer(
                MaxPool2d::new(Shape::new(1, 5, 5), [3, 3], [2, 2])?,
                &[],
                &[
                    0.0, 1.0, 2.0, 3.0, 1.0, 4.0, 5.0, 0.0, 2.0, 6.0, 1.0, 7.0, 9.0, 3.0, 8.0, 2.0, 0.0, 4.0,
                    5.0, 1.0, 6.0, 2.0, 3.0, 7.0, 0.0,
                ],
                &[1.0, 2.0, 3.0, 4.0],
            )
        },
        task: WrongLine("pool-assigns"),
    },
    Exercise {
        name: "avgpool-dx",
        section: "Average pooling",
        title: "overlapping windows",
        question: "An average pool of 2 x 2 with stride 1 over an image of 3 x 3. What is dx?",
        hint: "each dy is spread over the four places of its window, a quarter to each; where windows overlap, shares add up",
        why: "the sum of dx is the sum of dy",
        case: || {
            one_layer(
                AvgPool2d::new(Shape::new(1, 3, 3), [2, 2], [1, 1])?,
                &[],
                &[1.0, 2.0, 0.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0],
                &[4.0, 8.0, 0.0, -4.0],
            )
        },
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "relu-kink",
        section: "ReLU, tanh, sigmoid",
        title: "the mask, at the kink too",
        question: "A ReLU over four numbers. What is dx?",
        hint: "dy passes where x > 0, and at x = 0 the slope is 0 by convention",
        why: "the mask is x > 0",
        case: || one_layer(Relu::new(Shape::flat(4)), &[], &[-2.0, 0.0, 3.0, 0.5], &[1.0, 2.0, 3.0, -4.0]),
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "tanh-slope",
        section: "ReLU, tanh, sigmoid",
        title: "the slope of tanh",
        question: "A tanh over two numbers, ln 2 and 0. (tanh(ln 2) = (2 - 1/2) / (2 + 1/2).) What is dx?",
        hint: "y[0] is 3/5 and y[1] is 0; the slope is 1 - y*y",
        why: "the slope is 1 - 9/25 at the first and 1 at the second",
        case: || one_layer(Tanh::new(Shape::flat(2)), &[], &[std::f32::consts::LN_2, 0.0], &[25.0, 3.0]),
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "sigmoid-slope",
        section: "ReLU, tanh, sigmoid",
        title: "the slope of the sigmoid",
        question: "A sigmoid over two numbers, ln 3 and -ln 3. (e^(ln 3) = 3.) What is dx?",
        hint: "y is (3/4, 1/4); the slope is y * (1 - y), of the output and not of the input",
        why: "the slope is 3/16 on both sides of 0",
        case: || {
            let ln_3 = 3f32.ln();
            one_layer(Sigmoid::new(Shape::flat(2)), &[], &[ln_3, -ln_3], &[16.0, 8.0])
        },
        task: Numbers(&["dx"]),
    },
    Exercise {
        name: "dropout-scale",
        section: "Dropout",
        title: "the values that y can have",
        question: "Dropout with p = 0.2 in training, over a number x = 4. Which two values can y have? (The smaller first.)",
        hint: "a number is dropped, or kept and scaled so that the mean over many samples is x",
        why: "0.2 * 0 + 0.8 * 5 = 4",
        case: dropout,
        task: Numbers(&["y"]),
    },
    Exercise {
        name: "softmax-dz",
        section: "Softmax cross-entropy",
        title: "the gradient of a minibatch of two",
        question: "Two samples, three classes. The logits are (0, ln 2, ln 5) with label 2, and (0, 0, 0) with label 0. The loss of the \
                   minibatch is the mean. What is dz?",
        hint: "the probabilities are (1/8, 2/8, 5/8) and (1/3, 1/3, 1/3); subtract 1 at the label, and divide by the number of samples",
        why: "each row sums to zero",
        case: || {
            one_loss(SoftmaxCrossEntropy::default(), &[0.0, 2f32.ln(), 5f32.ln(), 0.0, 0.0, 0.0], &[2, 0])
        },
        task: Numbers(&["dz"]),
    },
    Exercise {
        name: "softmax-smoothing",
        section: "Softmax cross-entropy",
        title: "the same with label smoothing",
        question: "One sample with logits (0, ln 2, ln 5) and label 2, with a label smoothing of 0.3. What is dz?",
        hint: "the target is 0.7 times (0, 0, 1) plus 0.3/3 everywhere: (0.1, 0.1, 0.8)",
        why: "the target still sums to 1, so dz still sums to 0",
        case: || {
            Ok(Box::new(OneLoss {
                loss: Box::new(SoftmaxCrossEntropy { label_smoothing: 0.3, ..Default::default() }),
                in_museum: false,
                z: vec![0.0, 2f32.ln(), 5f32.ln()],
                labels: vec![2],
            }))
        },
        task: Numbers(&["dz"]),
    },
    Exercise {
        name: "loss-bug-1",
        section: "Softmax cross-entropy",
        title: "find the bug",
        question: "Two samples, three classes, all logits 0. One line of the loss is wrong.",
        hint: "what are the probabilities of three equal logits? e^-loss tells which probability was used",
        why: "Probabilities sum to 1 for each sample",
        case: || one_loss(SoftmaxCrossEntropy::default(), &[0.0; 6], &[0, 1]),
        task: WrongLine("softmax-over-batch"),
    },
    Exercise {
        name: "loss-bug-2",
        section: "Softmax cross-entropy",
        title: "find the bug",
        question: "Three samples, three classes, all logits 0. The loss is right; one line of its gradient is wrong.",
        hint: "multiply dz by 3, the size of the minibatch, and subtract the probability 1/3: what is left should be minus a one-hot row",
        why: "In NumPy [N x C] minus [N] is an error unless N = C; then it subtracts along the wrong axis",
        case: || one_loss(SoftmaxCrossEntropy::default(), &[0.0; 9], &[2, 0, 1]),
        task: WrongLine("labels-broadcast"),
    },
    Exercise {
        name: "squared-error",
        section: "Squared error",
        title: "the gradient of a minibatch of two",
        question: "Two samples, two outputs y (called z here): (2, 0) and (1, 1). The targets are the one-hot rows (1, 0) and (0, 1). What is \
                   dz?",
        hint: "half of the square has the derivative y - t; the mean over two samples divides by 2, and nothing divides by the outputs",
        why: "the loss is a mean over samples and a sum over outputs",
        case: || {
            Ok(Box::new(OneLoss {
                loss: Box::new(SquaredError),
                in_museum: false,
                z: vec![2.0, 0.0, 1.0, 1.0],
                labels: vec![0, 1],
            }))
        },
        task: Numbers(&["dz"]),
    },
    Exercise {
        name: "network-parts",
        section: "From layers to a network",
        title: "a minibatch in two parts",
        question: "A dense layer with one input and one output. dtheta is set to zero, and backward is called twice: for a sample with x = 2 \
                   and dy = 3, then for one with x = -1 and dy = 4. What are dw and db afterwards?",
        hint: "each call adds its x * dy to dw, and its dy to db",
        why: "it is the gradient of the minibatch of both",
        case: parts,
        task: Numbers(&["dw", "db"]),
    },
    Exercise {
        name: "init-he",
        section: "Initialisation",
        title: "He's standard deviation for a convolution",
        question: "A convolution of 8 channels into 32 with a kernel of 3 x 3 stands behind a ReLU. What standard deviation does He's rule \
                   give its weights?",
        hint: "fan_in is the number of products per output, 8 * 3 * 3, and the variance is 2 / fan_in",
        why: "the square root of 2/72; measured on a million weights",
        case: || {
            let conv = Conv2d::new(Shape::new(8, 5, 5), 32, ConvOptions::square(3))?;
            let weights = initial(&conv, Init::HeNormal);
            let mean_square = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
            Ok(Box::new(Plain {
                given: vec![],
                right: vec![Table::new("deviation", 1, [mean_square.sqrt()])],
            }))
        },
        task: Numbers(&["deviation"]),
    },
    Exercise {
        name: "init-glorot",
        section: "Initialisation",
        title: "Glorot's limit for a dense layer",
        question: "A dense layer of 784 inputs and 100 outputs. Glorot's rule, uniform: between -l and l. What is l?",
        hint: "the variance is 2 / (784 + 100), and that of a uniform number is l*l / 3",
        why: "the square root of 6/884; measured on a million weights",
        case: || {
            let weights = initial(&Dense::new(784, 100, true)?, Init::GlorotUniform);
            let largest = weights.iter().fold(0.0, |largest: f64, w| largest.max(w.abs()));
            Ok(Box::new(Plain { given: vec![], right: vec![Table::new("l", 1, [largest])] }))
        },
        task: Numbers(&["l"]),
    },
    Exercise {
        name: "momentum-steady",
        section: "Optimisers",
        title: "three steps along a steady gradient",
        question: "SGD with momentum 0.9 and rate 0.1. theta starts at 0, and its gradient is 1 in every step. Where is theta after three \
                   steps?",
        hint: "v is 1, then 0.9*1 + 1, then 0.9*1.9 + 1; theta moves by -0.1*v in each step",
        why: "the steps grow towards 1/(1 - 0.9) = 10 times the first",
        case: || {
            let sgd = Optimizer::Sgd(Sgd { momentum: 0.9, ..Sgd::default() });
            Ok(after_steps(sgd, 0.1, &[1.0], 3))
        },
        task: Numbers(&["theta"]),
    },
    Exercise {
        name: "adam-first-step",
        section: "Optimisers",
        title: "gradients that differ by a factor of 1000",
        question: "Adam with rate 0.01 and the usual 0.9, 0.999 and 1e-8. Two parameters start at 0; their gradients in the first step are 2 \
                   and 0.002. Where are they after it?",
        hint: "after one step m / (1 - 0.9) is g and v / (1 - 0.999) is g*g; what is g over the root of g*g?",
        why: "Adam's first step has the size of the rate, whatever the size of the gradient",
        case: || Ok(after_steps(Optimizer::Adam(Adam::default()), 0.01, &[2.0, 0.002], 1)),
        task: Numbers(&["theta"]),
    },
    Exercise {
        name: "adjoint",
        section: "How a gradient is proved",
        title: "one number, without computing a gradient",
        question: "A convolution without bias made y of some image x, and dy arrives. The backward pass computes dx. What is <dx, x>, the \
                   sum of dx times x over all pixels?",
        hint: "<dx, x> = <dy, y>, and you have both dy and y",
        why: "it is computed from dx here, and from dy and y by you: that is the test",
        case: adjoint,
        task: Numbers(&["<dx, x>"]),
    },
];

fn one_layer(layer: impl Layer<f32>, theta: &[f32], x: &[f32], dy: &[f32]) -> Made {
    let (theta, x, dy) = (theta.to_vec(), x.to_vec(), dy.to_vec());
    Ok(Box::new(OneLayer { layer: Box::new(layer), theta, x, dy, before: 0.0 }))
}

fn one_loss(loss: SoftmaxCrossEntropy, z: &[f32], labels: &[u16]) -> Made {
    Ok(Box::new(OneLoss { loss: Box::new(loss), in_museum: true, z: z.to_vec(), labels: labels.to_vec() }))
}

/// A convolution into one channel, without padding.
fn conv([c, h, w]: [usize; 3], kernel: [usize; 2], stride: [usize; 2]) -> Result<Conv2d, LayerError> {
    Conv2d::new(Shape::new(c, h, w), 1, ConvOptions { kernel, stride, ..ConvOptions::square(1) })
}

/// Loss and gradient of one sample.
fn run(network: &Network<f64>, theta: &[f64], x: &[f64], label: u16) -> (f64, Vec<f64>) {
    let pass = Pass::eval(Block::single(1));
    let mut workspace = Workspace::new(network, pass.block);
    let mut dtheta = vec![0.0; network.param_len()];
    workspace.input_mut().copy_from_slice(x);
    network.forward(&pass, theta, &mut workspace);
    let (z, dz) = workspace.output_and_grad_mut();
    let loss = SoftmaxCrossEntropy::default();
    let stats = loss.value_and_gradient(pass.block, z, Labels(&[label]).into(), 1.0, dz);
    network.backward(&pass, theta, &mut dtheta, &mut workspace);
    (stats.loss, dtheta)
}

/// The page's first network.
fn mlp(label: u16) -> Made {
    let layers: Vec<Box<dyn Layer<f64>>> = vec![
        Box::new(Dense::new(2, 2, true)?),
        Box::new(Relu::new(Shape::flat(2))),
        Box::new(Dense::new(2, 2, true)?),
    ];
    let network = Network::new(layers)?;
    let x = [1.0, 2.0];
    let theta = [1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 1.0, -2.0, 2.0, 1.0, -1.0, 3f64.ln() - 4.0];
    let (_, dtheta) = run(&network, &theta, &x, label);
    let moved: Vec<f64> = theta.iter().zip(&dtheta).map(|(theta, d)| theta - 0.1 * d).collect();
    let (loss, _) = run(&network, &moved, &x, label);
    let given = tables(&[("x", 2), ("W1", 4), ("b1", 2), ("W2", 4), ("b2", 2)], &[&x[..], &theta].concat());
    let mut right = tables(&[("dW1", 4), ("db1", 2), ("dW2", 4), ("db2", 2)], &dtheta);
    right.push(Table::new("loss after the step", 1, [loss]));
    Ok(Box::new(Plain { given, right }))
}

/// Consecutive tables of two columns.
fn tables(names: &[(&str, usize)], numbers: &[f64]) -> Vec<Table> {
    let mut rest = numbers.iter().copied();
    names.iter().map(|&(name, len)| Table::new(name, 2, rest.by_ref().take(len))).collect()
}

/// The page's image network, with label 1.
fn image() -> Made {
    let layers: Vec<Box<dyn Layer<f64>>> = vec![
        Box::new(Conv2d::new(Shape::new(1, 4, 4), 1, ConvOptions::square(2))?),
        Box::new(Relu::new(Shape::new(1, 3, 3))),
        Box::new(MaxPool2d::new(Shape::new(1, 3, 3), [2, 2], [1, 1])?),
        Box::new(Flatten::new(Shape::new(1, 2, 2))),
        Box::new(Dense::new(4, 2, true)?),
    ];
    let network = Network::new(layers)?;
    let x = [2.0, 1.0, 2.0, 0.0, 1.0, 3.0, 2.0, 0.0, 2.0, 2.0, 0.0, 0.0, 2.0, 0.0, 1.0, 3.0];
    let w = [-2.0, 2.0, -1.0, 1.0];
    let theta = [&w[..], &[-1.0], &[1.0, -1.0, 0.0, -1.0, 2.0, 2.0, -2.0, 2.0], &[0.0, 3f64.ln()]].concat();
    let (_, dtheta) = run(&network, &theta, &x, 1);
    let given = vec![Table::new("x", 4, x), Table::new("w", 2, w)];
    Ok(Box::new(Plain { given, right: vec![Table::new("dw", 2, dtheta[..4].iter().copied())] }))
}

/// Two calls of backward with one gradient buffer.
fn parts() -> Made {
    let dense = Dense::new(1, 1, true)?;
    let (x, dy) = ([2.0, -1.0], [3.0, 4.0]);
    let pass = Pass::eval(Block::single(1));
    let mut scratch = vec![0f64; dense.scratch_len(pass.block)];
    let mut dtheta = [0.0; 2];
    for (x, dy) in x.iter().zip(&dy) {
        let saved = Saved { x: slice::from_ref(x), y: &[0.0], tape: &[] };
        dense.backward(&pass, &[1.0, 0.0], saved, slice::from_ref(dy), None, &mut dtheta, &mut scratch);
    }
    let given = vec![Table::new("x", 2, x), Table::new("dy", 2, dy)];
    let right = vec![Table::new("dw", 1, [dtheta[0]]), Table::new("db", 1, [dtheta[1]])];
    Ok(Box::new(Plain { given, right }))
}

/// The values that dropout makes of one number, over a thousand samples.
fn dropout() -> Made {
    let dropout = Dropout::new(Shape::flat(1), 0.2)?;
    let pass = Pass::train(Block::single(1000), 0, 0, 0);
    let mut y = vec![0f32; 1000];
    dropout.forward(&pass, &[], &[4.0; 1000], &mut y, &mut [], &mut []);
    y.sort_by(f32::total_cmp);
    y.dedup();
    let given = vec![Table::new("x", 1, [4.0])];
    Ok(Box::new(Plain { given, right: vec![Table::new("y", y.len(), y.into_iter().map(f64::from))] }))
}

/// A million numbers for the weight of a layer.
fn initial(layer: &dyn Describe, init: Init) -> Vec<f64> {
    let weight = &layer.params()[0];
    let mut numbers = vec![0.0; 1 << 20];
    init.fill(weight.fan_in, weight.fan_out, &mut ChaCha8Rng::seed_from_u64(0), &mut numbers);
    numbers
}

/// Where parameters that start at 0 are after some steps of the same gradient.
fn after_steps(optimizer: Optimizer, rate: f64, gradient: &[f64], steps: u64) -> Box<Plain> {
    let mut theta = vec![0.0; gradient.len()];
    let mut state = OptimizerState::new(&optimizer, theta.len());
    for step in 0..steps {
        optimizer.update(step, rate, &mut theta, gradient, state.as_mut());
    }
    let given = vec![Table::new("gradient", gradient.len(), gradient.iter().copied())];
    Box::new(Plain { given, right: vec![Table::new("theta", theta.len(), theta)] })
}

/// Given what forward made and what arrives from above: the product of what backward makes with what forward was given.
fn adjoint() -> Made {
    let options = ConvOptions { bias: false, ..ConvOptions::square(2) };
    let conv = Conv2d::new(Shape::new(1, 3, 4), 1, options)?;
    let w = [2.0, -1.0, 0.0, 3.0];
    let x = [1.0, 0.0, 2.0, -1.0, 3.0, 1.0, 0.0, 2.0, -2.0, 1.0, 1.0, 0.0];
    let dy = [1.0, -2.0, 0.0, 3.0, 1.0, -1.0];
    let pass = Pass::eval(Block::single(1));
    let mut scratch = vec![0f64; conv.scratch_len(pass.block)];
    let (mut y, mut dx) = ([0.0; 6], [0.0; 12]);
    conv.forward(&pass, &w, &x, &mut y, &mut [], &mut scratch);
    let saved = Saved { x: &x, y: &y, tape: &[] };
    conv.backward(&pass, &w, saved, &dy, Some(&mut dx), &mut [0.0; 4], &mut scratch);
    let product = dx.iter().zip(&x).map(|(dx, x)| dx * x).sum::<f64>();
    let given = vec![Table::new("y", 3, y), Table::new("dy", 3, dy)];
    Ok(Box::new(Plain { given, right: vec![Table::new("<dx, x>", 1, [product])] }))
}
