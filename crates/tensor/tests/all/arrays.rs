//! The functions on arrays against the slow twins: any strides, numbers of samples that fill tiles, leave lanes empty, or are none; and
//! what they say of shapes that do not belong together.

use byhand_tensor::{Conv2d, Dense, GeometryError, Isa, Number, Pool2d, array, reference};
use ndarray::{Array1, Array2, Array4, Axis};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const SAMPLES: [usize; 6] = [0, 1, 3, 5, 16, 18];

/// Small integers, so that sums are exact in any order; samples last in memory, which no kernel lays them out as.
fn images(seed: u64, [n, c, h, w]: [usize; 4]) -> Array4<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut x = Array4::from_shape_simple_fn((c, h, w, n), || rng.random_range(-3..=3) as f32);
    x.swap_axes(2, 3);
    x.swap_axes(1, 2);
    x.swap_axes(0, 1);
    assert_eq!(x.dim(), (n, c, h, w));
    x
}

fn matrix(seed: u64, rows: usize, columns: usize) -> Array2<f32> {
    images(seed, [rows, columns, 1, 1]).remove_axis(Axis(3)).remove_axis(Axis(2))
}

fn flat<D: ndarray::Dimension>(x: &ndarray::Array<f32, D>) -> Vec<f32> {
    x.iter().copied().collect()
}

#[test]
fn convolutions_have_the_numbers_of_their_twins() {
    let (stride, pad) = ([2, 1], [1, 0]);
    for n in SAMPLES {
        let (x, w, b) =
            (images(1, [n, 2, 6, 5]), images(2, [3, 2, 3, 2]), Array1::from(vec![1.0, -2.0, 3.0]));
        let conv = Conv2d::new([2, 6, 5], 3, [3, 2], stride, pad).unwrap();
        let y = array::conv2d(x.view(), w.view(), Some(b.view()), stride, pad).unwrap();
        let mut want = vec![f32::NAN; n * conv.outputs()];
        reference::conv2d(&conv, &flat(&w), Some(&flat(&b)), &flat(&x), &mut want);
        assert_eq!(y.dim(), (n, 3, conv.h_out(), conv.w_out()));
        assert_eq!(flat(&y), want, "{n} samples");

        let dy = images(3, [n, 3, conv.h_out(), conv.w_out()]);
        let dx = array::conv2d_backward_input([6, 5], w.view(), dy.view(), stride, pad).unwrap();
        let mut want = vec![f32::NAN; n * conv.inputs()];
        reference::conv2d_backward_input(&conv, &flat(&w), &flat(&dy), &mut want);
        assert_eq!((dx.dim(), flat(&dx)), (x.dim(), want), "{n} samples");

        let (dw, db) = array::conv2d_backward_params(x.view(), [3, 2], dy.view(), stride, pad).unwrap();
        let (mut want_w, mut want_b) = (vec![0.0; conv.weight_len()], vec![0.0; 3]);
        reference::conv2d_backward_params(&conv, &flat(&x), &flat(&dy), &mut want_w, Some(&mut want_b));
        assert_eq!((dw.dim(), flat(&dw), flat(&db)), (w.dim(), want_w, want_b), "{n} samples");
    }
}

#[test]
fn poolings_have_the_numbers_of_their_twins() {
    let (window, stride) = ([2, 3], [2, 1]);
    for n in SAMPLES {
        let x = images(1, [n, 2, 5, 6]);
        let pool = Pool2d::new([2, 5, 6], window, stride).unwrap();
        let (y, places) = array::max_pool2d(x.view(), window, stride).unwrap();
        let (mut want, mut tape) = (vec![f32::NAN; n * pool.outputs()], vec![f32::NAN; n * pool.outputs()]);
        reference::max_pool2d(&pool, &flat(&x), &mut want, &mut tape);
        assert_eq!(y.dim(), (n, 2, pool.h_out(), pool.w_out()));
        assert_eq!((flat(&y), flat(&places)), (want, tape.clone()), "{n} samples");

        let dy = images(2, [n, 2, pool.h_out(), pool.w_out()]);
        let dx = array::max_pool2d_backward([5, 6], dy.view(), places.view(), window, stride).unwrap();
        let mut want = vec![f32::NAN; n * pool.inputs()];
        reference::max_pool2d_backward(&pool, &flat(&dy), &tape, &mut want);
        assert_eq!((dx.dim(), flat(&dx)), (x.dim(), want.clone()), "{n} samples");

        let mean = array::avg_pool2d(x.view(), window, stride).unwrap();
        let mut want_mean = vec![f32::NAN; n * pool.outputs()];
        reference::avg_pool2d(&pool, &flat(&x), &mut want_mean);
        assert_eq!(flat(&mean), want_mean, "{n} samples");
        // Sixths are not exact, and sums of them take an order of their own.
        let dx = array::avg_pool2d_backward([5, 6], dy.view(), window, stride).unwrap();
        reference::avg_pool2d_backward(&pool, &flat(&dy), &mut want);
        let far = dx.iter().zip(&want).any(|(dx, want)| (dx - want).abs() > 1e-6);
        assert!(!far && dx.dim() == x.dim(), "{n} samples");
    }
}

#[test]
fn dense_layers_have_the_numbers_of_their_twins() {
    for (inputs, outputs) in [(7, 3), (70, 20)] {
        let dense = Dense::new(inputs, outputs).unwrap();
        for n in SAMPLES {
            let (x, w) = (matrix(1, n, inputs), matrix(2, outputs, inputs));
            let y = array::dense(x.view(), w.view(), None).unwrap();
            let mut want = vec![f32::NAN; n * outputs];
            reference::dense(&dense, &flat(&w), None, &flat(&x), &mut want);
            assert_eq!((y.dim(), flat(&y)), ((n, outputs), want), "{n} samples");

            let dy = matrix(3, n, outputs);
            let dx = array::dense_backward_input(w.view(), dy.view()).unwrap();
            let mut want = vec![f32::NAN; n * inputs];
            reference::dense_backward_input(&dense, &flat(&w), &flat(&dy), &mut want);
            assert_eq!((dx.dim(), flat(&dx)), ((n, inputs), want), "{n} samples");

            let (dw, db) = array::dense_backward_params(x.view(), dy.view()).unwrap();
            let (mut want_w, mut want_b) = (vec![0.0; outputs * inputs], vec![0.0; outputs]);
            reference::dense_backward_params(&dense, &flat(&x), &flat(&dy), &mut want_w, Some(&mut want_b));
            assert_eq!((dw.dim(), flat(&dw), flat(&db)), (w.dim(), want_w, want_b), "{n} samples");
        }
    }
}

#[test]
fn activations_and_softmax_have_the_numbers_of_their_twins() {
    for n in SAMPLES {
        let (x, dy) = (images(1, [n, 2, 3, 3]), images(2, [n, 2, 3, 3]));
        let of = |f: fn(f32) -> f32| x.mapv(f);
        assert_eq!(array::relu(x.view()), of(reference::relu));
        assert_eq!(array::tanh(x.view()), of(Number::tanh));
        let y = array::sigmoid(x.view());
        assert_eq!(y, of(reference::sigmoid));
        let dx = array::relu_backward(x.view(), dy.view()).unwrap();
        assert_eq!(dx, &dy * &x.mapv(|x| f32::from(u8::from(x > 0.0))));
        assert_eq!(array::tanh_backward(y.view(), dy.view()).unwrap(), &dy * &y.mapv(|y| 1.0 - y * y));
        assert_eq!(array::sigmoid_backward(y.view(), dy.view()).unwrap(), &dy * &y * &y.mapv(|y| 1.0 - y));

        let x = matrix(3, n, 10);
        let (y, sums) = (array::softmax(x.view()).unwrap(), array::log_sum_exp(x.view()).unwrap());
        assert_eq!((y.dim(), sums.dim()), ((n, 10), n));
        for ((x, y), sum) in x.outer_iter().zip(y.outer_iter()).zip(&sums) {
            assert!((reference::log_sum_exp(&x.to_vec()) - sum).abs() < 1e-6);
            let far = reference::softmax(&x.to_vec()).iter().zip(y).any(|(want, y)| (want - y).abs() > 1e-6);
            assert!(!far, "{y} of {x}");
        }
    }
}

/// Few samples lie one after the other, more side by side: on every instruction set what is returned is in the order of the samples.
#[test]
fn samples_keep_their_places_on_every_instruction_set() {
    let x = matrix(1, 18, 5);
    let identity = Array2::eye(5);
    for isa in Isa::available() {
        let y = isa.with(|| array::dense(x.view(), identity.view(), None).unwrap());
        assert_eq!(y, x, "{isa}");
    }
}

#[test]
fn what_is_wrong_with_a_shape_is_said() {
    let (x, w) = (Array4::<f32>::zeros((2, 1, 5, 5)), Array4::zeros((3, 2, 3, 3)));
    let b = Array1::zeros(4);
    let error = array::conv2d(x.view(), w.view(), None, [1, 1], [0, 0]).unwrap_err();
    assert_eq!(error.to_string(), "conv: w must have the shape [3, 1, 3, 3], found [3, 2, 3, 3]");
    let x = Array4::zeros((2, 2, 5, 5));
    let error = array::conv2d(x.view(), w.view(), Some(b.view()), [1, 1], [0, 0]).unwrap_err();
    assert_eq!(error.to_string(), "conv: b must have the shape [3], found [4]");
    let error = array::conv2d(x.view(), w.view(), None, [0, 1], [0, 0]).unwrap_err();
    assert_eq!(error, GeometryError::Zero { kernel: "conv", what: "the stride" }.into());
    let error = array::conv2d_backward_input([5, 5], w.view(), x.view(), [1, 1], [0, 0]).unwrap_err();
    assert_eq!(error.to_string(), "conv: dy must have the shape [2, 3, 3, 3], found [2, 2, 5, 5]");
    assert!(array::conv2d_backward_params(x.view(), [3, 3], x.view(), [1, 1], [0, 0]).is_err());
    assert!(array::max_pool2d(x.view(), [6, 1], [1, 1]).is_err());
    assert!(array::max_pool2d_backward([9, 9], x.view(), w.view(), [2, 2], [2, 2]).is_err());
    assert!(array::avg_pool2d_backward([9, 9], x.view(), [2, 2], [2, 2]).is_err());
    let (x, w) = (Array2::<f32>::zeros((4, 6)), Array2::zeros((3, 5)));
    let error = array::dense(x.view(), w.view(), None).unwrap_err();
    assert_eq!(error.to_string(), "dense: w must have the shape [3, 6], found [3, 5]");
    assert!(array::dense_backward_input(w.view(), x.view()).is_err());
    assert!(array::dense_backward_params(x.view(), w.view()).is_err());
    assert!(array::relu_backward(x.view(), w.view()).is_err());
    assert!(array::softmax(Array2::<f32>::zeros((3, 0)).view()).is_err());
    assert!(array::dense(Array2::<f32>::zeros((3, 0)).view(), w.view(), None).is_err());
}
