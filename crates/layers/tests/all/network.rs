//! Whole networks: gradients through the chain, workspaces that are used again, names, and what is refused.

use byhand_layers::init::{Init, init_network};
use byhand_layers::loss::{Labels, Loss, SoftmaxCrossEntropy, SquaredError, TargetRows};
use byhand_layers::metrics::argmax;
use byhand_layers::{
    AvgPool2d, Block, Conv2d, ConvOptions, Dense, Describe, Dropout, Flatten, Isa, Layer, LayerError, Linear,
    MaxPool2d, Network, Padding, Pass, Relu, Scalar, Shape, Sigmoid, Tanh, Workspace, pack,
};
use ndarray::{Array2, Axis, s};

const IMAGE: Shape = Shape::new(2, 9, 7);

/// Every kind of layer in one chain.
fn everything<T: Scalar>() -> Network<T> {
    let conv =
        Conv2d::new(IMAGE, 4, ConvOptions { pad: Padding::axes([1, 0]), ..ConvOptions::square(3) }).unwrap();
    let pool = MaxPool2d::new(conv.output(), [2, 2], [2, 1]).unwrap();
    let second = Conv2d::new(pool.output(), 3, ConvOptions::square(2)).unwrap();
    let average = AvgPool2d::new(second.output(), [2, 1], [1, 2]).unwrap();
    let flat = average.output().features();
    let layers: Vec<Box<dyn Layer<T>>> = vec![
        Box::new(conv.clone()),
        Box::new(Relu::new(conv.output())),
        Box::new(pool.clone()),
        Box::new(second.clone()),
        Box::new(Tanh::new(second.output())),
        Box::new(average.clone()),
        Box::new(Flatten::new(average.output())),
        Box::new(Dropout::new(Shape::flat(flat), 0.25).unwrap()),
        Box::new(Dense::new(flat, 11, true).unwrap()),
        Box::new(Sigmoid::new(Shape::flat(11))),
        Box::new(Linear::new(Shape::flat(11))),
        Box::new(Dense::new(11, 5, true).unwrap()),
    ];
    Network::new(layers).unwrap()
}

fn images<T: Scalar>(samples: usize) -> Array2<T> {
    Array2::from_shape_fn((samples, IMAGE.features()), |(sample, feature)| {
        T::from_f64(((sample * 131 + feature * 71) % 97) as f64 / 48.0 - 1.0)
    })
}

fn labels(samples: usize) -> Vec<u16> {
    (0..samples).map(|sample| (sample * 7 % 5) as u16).collect()
}

/// Mean loss of a minibatch, and its gradient, in a workspace.
fn step<T: Scalar>(network: &Network<T>, pass: Pass, theta: &[T], ws: &mut Workspace<T>) -> (f64, Vec<T>) {
    let samples = pass.block.samples();
    ws.set_block(pass.block);
    pack(images(samples).view(), pass.block, ws.input_mut());
    network.forward(&pass, theta, ws);
    let (logits, dlogits) = ws.output_and_grad_mut();
    let (labels, scale) = (labels(samples), T::from_f64(1.0 / samples as f64));
    let loss = SoftmaxCrossEntropy::default();
    let stats = loss.value_and_gradient(pass.block, logits, Labels(&labels).into(), scale, dlogits);
    let mut dtheta = vec![T::ZERO; network.param_len()];
    network.backward(&pass, theta, &mut dtheta, ws);
    (stats.loss / samples as f64, dtheta)
}

#[test]
fn the_gradient_of_the_whole_chain_is_that_of_its_value() {
    let network = everything::<f64>();
    let theta = init_network(&network, Init::HeNormal, 3);
    for block in [Block::tiled(5), Block::single(2)] {
        let pass = Pass::train(block, 4, 9, 16);
        let mut ws = Workspace::new(&network, block);
        let (_, dtheta) = step(&network, pass, &theta, &mut ws);
        let typical = (dtheta.iter().map(|d| d * d).sum::<f64>() / dtheta.len() as f64).sqrt();
        for i in (0..theta.len()).step_by(3) {
            let h = 1e-6;
            let mut value = |t: f64| {
                let mut moved = theta.clone();
                moved[i] += t;
                step(&network, pass, &moved, &mut ws).0
            };
            let expected = (value(h) - value(-h)) / (2.0 * h);
            let error = (expected - dtheta[i]).abs() / expected.abs().max(typical);
            assert!(error < 1e-6, "theta[{i}], {block:?}: expected {expected:e}, found {:e}", dtheta[i]);
        }
    }
}

#[test]
fn a_used_workspace_gives_the_bits_of_a_fresh_one() {
    let network = everything::<f32>();
    let theta = init_network(&network, Init::HeNormal, 3);
    for isa in Isa::available() {
        isa.with(|| {
            let mut used = Workspace::new(&network, Block::tiled(40));
            for samples in [40, 1, 5, 16, 17, 33, 2] {
                let block = Block::tiled(samples);
                let pass = Pass::train(block, 4, 9, 0);
                let fresh = step(&network, pass, &theta, &mut Workspace::new(&network, block));
                assert_eq!(fresh, step(&network, pass, &theta, &mut used), "{samples} samples on {isa}");
            }
        });
    }
}

#[test]
fn what_a_used_workspace_holds_may_even_be_nan() {
    let network = everything::<f32>();
    let theta = init_network(&network, Init::HeNormal, 3);
    for isa in Isa::available() {
        isa.with(|| {
            let mut used = Workspace::new(&network, Block::tiled(32));
            step(&network, Pass::eval(Block::tiled(32)), &vec![f32::NAN; theta.len()], &mut used);
            for samples in [1, 5, 16, 17] {
                let pass = Pass::eval(Block::tiled(samples));
                let fresh = step(&network, pass, &theta, &mut Workspace::new(&network, pass.block));
                assert_eq!(fresh, step(&network, pass, &theta, &mut used), "{samples} samples on {isa}");
            }
        });
    }
}

#[test]
fn cutting_the_minibatch_keeps_the_dropout_masks() {
    let network = everything::<f32>();
    let theta = init_network(&network, Init::HeNormal, 3);
    let x = images::<f32>(24);
    let run = |block: Block, first: usize| {
        let mut ws = Workspace::new(&network, block);
        pack(x.slice(s![first..first + block.samples(), ..]), block, ws.input_mut());
        network.forward(&Pass::train(block, 4, 9, first as u64), &theta, &mut ws);
        byhand_layers::unpack(block, 5, ws.output())
    };
    let whole = run(Block::tiled(24), 0);
    assert_eq!(whole.slice(s![..16, ..]), run(Block::tiled(16), 0));
    assert_eq!(whole.slice(s![16.., ..]), run(Block::tiled(8), 16));
}

/// Fused chains make of numbers that are not finite what their layers make of them one after the other: the same outputs, and of a
/// `dy` that is not finite gradients of which the same are finite.
#[test]
fn what_is_not_finite_passes_fused_chains_as_it_passes_their_layers() {
    let chains = |input: Shape, channels: [usize; 2], relu: bool| -> Network {
        let first = Conv2d::new(input, channels[0], ConvOptions::square(3)).unwrap();
        let pool = MaxPool2d::new(first.output(), [2, 2], [2, 2]).unwrap();
        let second = Conv2d::new(pool.output(), channels[1], ConvOptions::square(3)).unwrap();
        let last = MaxPool2d::new(second.output(), [2, 2], [2, 2]).unwrap();
        let (a, b) = (first.output(), second.output());
        let dense = Dense::new(last.output().features(), 3, true).unwrap();
        let flatten = Flatten::new(last.output());
        let mut layers: Vec<Box<dyn Layer<f32>>> = vec![Box::new(first), Box::new(pool), Box::new(second)];
        if relu {
            layers.insert(1, Box::new(Relu::new(a)));
            layers.push(Box::new(Relu::new(b)));
        }
        layers.extend([Box::new(last) as Box<dyn Layer<f32>>, Box::new(flatten), Box::new(dense)]);
        Network::new(layers).unwrap()
    };
    // First layers, which have kernels of their own; and convolutions by Winograd's filtering.
    for (input, channels) in [(Shape::new(1, 20, 18), [4, 5]), (Shape::new(16, 14, 12), [16, 24])] {
        for fused in [true, false].map(|relu| chains(input, channels, relu)) {
            let plain = fused.unfused();
            let theta = init_network(&fused, Init::HeNormal, 3);
            for (isa, block) in Isa::available().into_iter().flat_map(|isa| {
                [Block::single(2), Block::tiled(3), Block::tiled(17)].map(|block| (isa, block))
            }) {
                let x = Array2::from_shape_fn((block.samples(), input.features()), |(sample, feature)| {
                    ((sample * 131 + feature * 71) % 97) as f32 / 48.0 - 1.0
                });
                let run = |network: &Network, theta: &[f32], x: &Array2<f32>, dy: f32| {
                    let mut ws = Workspace::new(network, block);
                    let pass = Pass::eval(block);
                    pack(x.view(), block, ws.input_mut());
                    let mut dtheta = vec![0.0; theta.len()];
                    isa.with(|| {
                        network.forward(&pass, theta, &mut ws);
                        ws.output_grad_mut().fill(0.0);
                        (0..3).for_each(|class| ws.output_grad_mut()[block.index(3, 0, class)] = 0.5);
                        ws.output_grad_mut()[block.index(3, 1, 1)] = dy;
                        network.backward(&pass, theta, &mut dtheta, &mut ws);
                    });
                    (byhand_layers::unpack(block, 3, ws.output()), dtheta)
                };
                for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                    let at = format!("{value} in {} on {isa}, {block:?}", fused.summary().rows[0].spec);
                    for place in [0, input.features() / 2, input.features() - 1] {
                        let mut x = x.clone();
                        x[[1, place]] = value;
                        let [y, expected] = [&fused, &plain].map(|network| run(network, &theta, &x, 0.5).0);
                        assert!(y.iter().zip(&expected).all(same), "x, {at}: {y}, {expected}");
                        assert!(y.row(0).iter().all(|y| y.is_finite()), "x, {at}: reached another sample");
                    }
                    for param in fused.params() {
                        let mut theta = theta.clone();
                        theta[param.range.start] = value;
                        let [y, expected] = [&fused, &plain].map(|network| run(network, &theta, &x, 0.5).0);
                        assert!(y.iter().zip(&expected).all(same), "{}, {at}: {y}, {expected}", param.name);
                    }
                    let [found, expected] = [&fused, &plain].map(|network| run(network, &theta, &x, value).1);
                    assert!(found.iter().any(|d| !d.is_finite()));
                    let differs =
                        found.iter().zip(&expected).position(|(a, b)| a.is_finite() != b.is_finite());
                    assert_eq!(differs, None, "dtheta of dy, {at}");
                }
            }
        }
    }
}

/// Equal bits, or both NaN.
fn same((a, b): (&f32, &f32)) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn what_a_network_says_of_rows_in_one_call() {
    let network = everything::<f64>();
    let theta = init_network(&network, Init::HeNormal, 3);
    let x = images::<f64>(37);
    let (y, p) = (network.predict(&theta, x.view()), network.predict_proba(&theta, x.view()));
    for (y, p) in y.rows().into_iter().zip(p.rows()) {
        let sum: f64 = y.iter().map(|z| z.exp()).sum();
        assert!(y.iter().zip(p).all(|(z, p)| (z.exp() / sum - p).abs() < 1e-14));
    }

    // The gradient of the sum of dy * y, by each input number.
    let dy = Array2::from_shape_fn((37, 5), |(sample, class)| ((sample * 3 + class * 5) % 7) as f64 - 3.0);
    let dx = network.gradient_of_input(&theta, x.view(), dy.view());
    let h = 1e-5;
    for feature in (0..IMAGE.features()).step_by(11) {
        let moved = |by: f64| {
            let mut x = x.clone();
            x.column_mut(feature).iter_mut().for_each(|x| *x += by);
            (network.predict(&theta, x.view()) * &dy).sum_axis(Axis(1))
        };
        let slope = (moved(h) - moved(-h)) / (2.0 * h);
        for (found, expected) in dx.column(feature).iter().zip(slope) {
            assert!((found - expected).abs() < 1e-7, "feature {feature}: {found}, {expected}");
        }
    }

    let (labels, loss) = (labels(37), SoftmaxCrossEntropy::default());
    let found = network.evaluate(&theta, x.view(), Labels(&labels).into(), &loss);
    let each = p.rows().into_iter().zip(&labels).map(|(p, &label)| -p[usize::from(label)].ln());
    assert!((found.loss - each.sum::<f64>() / 37.0).abs() < 1e-12);
    let hits = y.rows().into_iter().zip(&labels).filter(|(y, label)| argmax(y) == usize::from(**label));
    assert_eq!((found.samples, found.accuracy()), (37, hits.count() as f64 / 37.0));
    let rows = y.mapv(|y| y + 2.0);
    let target = TargetRows(rows.as_slice().unwrap()).into();
    let found = network.evaluate(&theta, x.view(), target, &SquaredError);
    assert!((found.loss - 5.0 * 2.0).abs() < 1e-12 && found.accuracy().is_nan());
}

#[test]
fn a_smaller_last_minibatch_keeps_the_layout() {
    let network = everything::<f32>();
    let theta = init_network(&network, Init::HeNormal, 3);
    for built in [Block::tiled(20), Block::single(3)] {
        let mut ws = Workspace::new(&network, built);
        let block = ws.set_samples(2);
        assert_eq!((block.samples(), block.lanes()), (2, built.lanes()));
        pack(images(2).view(), block, ws.input_mut());
        network.forward(&Pass::eval(block), &theta, &mut ws);
    }
}

#[test]
fn predict_takes_any_number_of_samples() {
    let network = everything::<f32>();
    let theta = init_network(&network, Init::HeNormal, 3);
    let x = images::<f32>(130);
    for isa in Isa::available() {
        isa.with(|| {
            let all = network.predict(&theta, x.view());
            for samples in [0, 1, 2, 3, 4, 5, 16, 17, 64, 65] {
                let some = network.predict(&theta, x.slice(s![..samples, ..]));
                assert_eq!(some, all.slice(s![..samples, ..]), "{samples} samples on {isa}");
            }
            let reversed = network.predict(&theta, x.slice(s![..;-1, ..]));
            assert_eq!(reversed.slice(s![..;-1, ..]), all, "{isa}");
        });
    }
}

#[test]
fn two_dropouts_in_a_network_draw_different_masks() {
    let dropout = || Box::new(Dropout::new(Shape::flat(4000), 0.5).unwrap());
    let network: Network = Network::new(vec![dropout(), dropout()]).unwrap();
    let block = Block::single(1);
    let mut ws = Workspace::new(&network, block);
    ws.input_mut().fill(1.0);
    network.forward(&Pass::train(block, 1, 1, 0), &[], &mut ws);
    let kept = ws.output().iter().filter(|&&y| y != 0.0).count() as f64 / 4000.0;
    assert!((kept - 0.25).abs() < 0.035, "kept {kept}: a quarter is expected of two independent masks");
}

#[test]
fn identities_cost_nothing_and_change_nothing() {
    let flat = Shape::flat(6);
    let plain: Network = Network::new(vec![Box::new(Dense::new(6, 6, true).unwrap())]).unwrap();
    let padded: Network = Network::new(vec![
        Box::new(Flatten::new(Shape::new(1, 2, 3))),
        Box::new(Dense::new(6, 6, true).unwrap()),
        Box::new(Linear::new(flat)),
    ])
    .unwrap();
    let theta = init_network(&plain, Init::HeNormal, 1);
    assert_eq!(theta, init_network(&padded, Init::HeNormal, 1));
    let x = Array2::from_shape_fn((3, 6), |(i, j)| (i * 6 + j) as f32);
    assert_eq!(plain.predict(&theta, x.view()), padded.predict(&theta, x.view()));
    let block = Block::tiled(3);
    assert_eq!(Workspace::new(&plain, block).activations(), Workspace::new(&padded, block).activations());
    let only: Network = Network::new(vec![Box::new(Linear::new(flat))]).unwrap();
    assert_eq!(only.predict(&[], x.view()), x);
}

#[test]
fn tensors_are_named_and_counted_as_in_a_pytorch_sequential() {
    let network = everything::<f32>();
    let names: Vec<(&str, &[usize])> = network.params().iter().map(|p| (&p.name[..], &p.shape[..])).collect();
    let flat = network.layers()[8].input().features();
    assert_eq!(
        names,
        [
            ("0.weight", &[4, 2, 3, 3][..]),
            ("0.bias", &[4]),
            ("3.weight", &[3, 4, 2, 2]),
            ("3.bias", &[3]),
            ("8.weight", &[11, flat]),
            ("8.bias", &[11]),
            ("11.weight", &[5, 11]),
            ("11.bias", &[5]),
        ]
    );
    let mut end = 0;
    for param in network.params() {
        assert_eq!((param.range.start, param.range.len()), (end, param.shape.iter().product()));
        end = param.range.end;
    }
    assert_eq!(end, network.param_len());
    let mut theta = vec![0.0; end];
    assert_eq!(network.first_non_finite(&theta), None);
    theta[network.params()[3].range.start] = f32::INFINITY;
    assert_eq!(network.first_non_finite(&theta).map(|param| &param.name[..]), Some("3.bias"));
}

#[test]
fn the_summary_counts_parameters_and_operations() {
    let conv = Conv2d::new(Shape::new(1, 28, 28), 8, ConvOptions::square(3)).unwrap();
    let pool = MaxPool2d::new(conv.output(), [2, 2], [2, 2]).unwrap();
    let flatten = Flatten::new(pool.output());
    let dense = Dense::new(1352, 10, true).unwrap();
    let network: Network =
        Network::new(vec![Box::new(conv), Box::new(pool), Box::new(flatten), Box::new(dense)]).unwrap();
    let summary = network.summary();
    assert_eq!(summary.params, 8 * 9 + 8 + 1352 * 10 + 10);
    assert_eq!(summary.flops, 2 * (2 * 26 * 26 * 8 * 9) + 3 * (2 * 13520));
    let text = summary.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "input 1x28x28");
    assert_eq!(lines[1], "0 conv(8,3): 8x26x26, 80 parameters, 97344 FLOPs");
    assert_eq!(lines[4], "3 dense(10): 10, 13530 parameters, 27040 FLOPs");
}

#[test]
fn the_way_back_ends_at_the_first_parameters() {
    let pool = MaxPool2d::new(Shape::new(1, 28, 28), [2, 2], [2, 2]).unwrap();
    let conv = Conv2d::new(pool.output(), 8, ConvOptions::square(3)).unwrap();
    let dense = Dense::new(conv.output().features(), 10, true).unwrap();
    let flatten = Flatten::new(conv.output());
    let network: Network =
        Network::new(vec![Box::new(pool), Box::new(conv), Box::new(flatten), Box::new(dense)]).unwrap();
    // No gradient of the convolution's input: nobody wants it.
    assert_eq!(network.flops(), 2 * (2 * 12 * 12 * 8 * 9) + 3 * (2 * 11520));
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let conv = || Box::new(Conv2d::new(Shape::new(1, 6, 6), 2, ConvOptions::square(3)).unwrap());
    let dense = |inputs| Box::new(Dense::new(inputs, 3, true).unwrap());
    let error = Network::<f32>::new(vec![conv(), dense(32)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 1, dense(3): expected an input of 32, found 2x4x4 from the layer before it (put a flatten between them)"
    );
    let error = Network::<f32>::new(vec![conv(), dense(30)]).unwrap_err();
    assert!(error.to_string().ends_with("expected an input of 30, found 2x4x4 from the layer before it"));
    assert_eq!(Network::<f32>::new(vec![]).unwrap_err(), LayerError::Empty);
}

#[test]
#[should_panic(expected = "workspace was built for another network")]
fn a_workspace_of_another_network_is_refused() {
    let network: Network = Network::new(vec![Box::new(Dense::new(3, 2, true).unwrap())]).unwrap();
    let other: Network = Network::new(vec![Box::new(Dense::new(3, 4, true).unwrap())]).unwrap();
    let block = Block::single(1);
    network.forward(&Pass::eval(block), &[0.0; 8], &mut Workspace::new(&other, block));
}

#[test]
#[should_panic(expected = "workspace: built for 1 tiles, the block has 2")]
fn a_block_too_large_for_its_workspace_is_refused() {
    let network: Network = Network::new(vec![Box::new(Dense::new(3, 2, true).unwrap())]).unwrap();
    Workspace::new(&network, Block::tiled(16)).set_block(Block::tiled(17));
}
