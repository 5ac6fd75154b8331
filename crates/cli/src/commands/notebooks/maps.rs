//! What lies between the layers of a system's network: feature maps, and where the gradient of its pool goes.

use anyhow::Result;
use byhand_layers::{Block, Network, Pass, Saved, Shape};

use super::{
    experiment::{Outcome, Part, network},
    notebook::Version,
};
use crate::settings::Normalization;

/// The first pool of a network that begins with a convolution, and perhaps a ReLU, before it.
pub fn first_pool(network: &Network<f32>) -> Option<usize> {
    let names: Vec<&str> = network.layers().iter().take(3).map(|layer| layer.name()).collect();
    match names[..] {
        ["conv", "pool", ..] => Some(1),
        ["conv", "relu", "pool"] => Some(2),
        _ => None,
    }
}

/// Activations of the first layers of a network for one image: the convolution's output and the pool's.
pub struct Maps {
    pub image: Vec<f32>,
    pub conv: (Shape, Vec<f32>),
    pub pool: (Shape, Vec<f32>),
}

/// Image 0 of the test set through the first convolution and the pool behind it.
pub fn maps(version: &Version, part: &Part, theta: &[f32], pixels: Normalization) -> Result<Maps> {
    let (h, w) = part.test.image_size();
    let whole = network(version, Shape::new(1, h, w))?;
    let normalize = pixels.of(&part.train);
    let image: Vec<f32> = part.test.image(0).iter().map(|&p| normalize.apply(p)).collect();
    let through = |layers: usize| -> Result<(Shape, Vec<f32>)> {
        let (mut x, mut shape) = (image.clone(), whole.input());
        for (layer, start) in whole.layers().iter().zip(starts(&whole)).take(layers) {
            let own = layer.params().iter().map(|param| param.len()).sum::<usize>();
            let pass = Pass::eval(Block::single(1));
            shape = layer.output();
            let mut y = vec![0.0; shape.features()];
            let mut tape = vec![0.0; layer.tape_len(pass.block)];
            let mut scratch = vec![0.0; layer.scratch_len(pass.block)];
            layer.forward(&pass, &theta[start..start + own], &x, &mut y, &mut tape, &mut scratch);
            x = y;
        }
        Ok((shape, x))
    };
    let pool = first_pool(&whole).map_or(1, |index| index + 1);
    Ok(Maps { conv: through(1)?, pool: through(pool)?, image })
}

/// Where each layer's parameters begin in `theta`.
fn starts(network: &Network<f32>) -> Vec<usize> {
    let lens =
        network.layers().iter().map(|layer| layer.params().iter().map(|param| param.len()).sum::<usize>());
    lens.scan(0, |end, len| {
        let start = *end;
        *end += len;
        Some(start)
    })
    .collect()
}

/// The mean size of what reaches each place of a pool's input, over the channels and 64 test images, when a random gradient comes
/// from above.
pub fn pool_gradient(version: &Version, outcome: &Outcome, part: &Part) -> Result<(Shape, Vec<f32>)> {
    const IMAGES: usize = 64;
    let (h, w) = part.test.image_size();
    let whole = network(version, Shape::new(1, h, w))?;
    let (conv, pool) = (&whole.layers()[0], &whole.layers()[1]);
    let block = Block::single(1);
    let pass = Pass::eval(block);
    let normalize = version.recipe.normalize.of(&part.train);
    let shape = conv.output();
    let mut mean = vec![0.0; shape.h * shape.w];
    let own: usize = conv.params().iter().map(|param| param.len()).sum();
    for index in 0..IMAGES.min(part.test.len()) {
        let x: Vec<f32> = part.test.image(index).iter().map(|&p| normalize.apply(p)).collect();
        let (mut y, mut pooled) = (vec![0.0; shape.features()], vec![0.0; pool.output().features()]);
        let mut scratch = vec![0.0; conv.scratch_len(block).max(pool.scratch_len(block))];
        let (conv_scratch, pool_scratch) = (conv.scratch_len(block), pool.scratch_len(block));
        let mut tape = vec![0.0; pool.tape_len(block)];
        conv.forward(&pass, &outcome.after[..own], &x, &mut y, &mut [], &mut scratch[..conv_scratch]);
        pool.forward(&pass, &[], &y, &mut pooled, &mut tape, &mut scratch[..pool_scratch]);
        // Signs that alternate: a gradient of random signs without a generator.
        let dy: Vec<f32> =
            (0..pooled.len()).map(|i| if (i * 7 + index) % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let mut dx = vec![0.0; y.len()];
        let saved = Saved { x: &y, y: &pooled, tape: &tape };
        pool.backward(&pass, &[], saved, &dy, Some(&mut dx), &mut [], &mut scratch[..pool_scratch]);
        for (place, d) in dx.iter().enumerate() {
            mean[place % (shape.h * shape.w)] += d.abs() / (IMAGES * shape.c) as f32;
        }
    }
    Ok((Shape::new(1, shape.h, shape.w), mean))
}
