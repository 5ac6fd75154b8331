//! Runs an ONNX file on the images of an IDX file with tract: `tract-run FILE IMAGES SCALE SHIFT`, a line of logits an image.

use anyhow::{Context, Result, ensure};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, images, scale, shift] = &arguments[..] else { anyhow::bail!("expected FILE IMAGES SCALE SHIFT") };
    let (scale, shift): (f32, f32) = (scale.parse()?, shift.parse()?);
    let idx = std::fs::read(images).context("the images")?;
    ensure!(idx.starts_with(&[0, 0, 8, 3]), "{images}: expected an IDX file of images, not gzipped");
    let model = tract_onnx::onnx().model_for_path(file)?;
    let model = model.with_input_fact(0, f32::fact([1, 1, 28, 28]).into())?.into_optimized()?.into_runnable()?;
    for image in idx[16..].chunks_exact(28 * 28) {
        let pixels: Vec<f32> = image.iter().map(|&p| f32::from(p) * scale + shift).collect();
        let input = tract_ndarray::Array4::from_shape_vec((1, 1, 28, 28), pixels)?.into_tensor();
        let outputs = model.run(tvec![input.into()])?;
        let logits = outputs[0].to_array_view::<f32>()?;
        println!("{}", logits.iter().map(f32::to_string).collect::<Vec<_>>().join(" "));
    }
    Ok(())
}
