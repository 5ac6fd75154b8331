//! Numbers as pictures: small PNG files inside the page, enlarged without smoothing.

use base64::{Engine, prelude::BASE64_STANDARD};
use byhand_layers::Shape;
use maud::{Markup, html};
use ndarray::{ArrayView2, ArrayView3};
use png::{BitDepth, ColorType, Encoder};

/// An image of bytes `[channels, h, w]`, `scale` pixels of the screen a pixel.
pub fn image(pixels: ArrayView3<'_, u8>, scale: usize, alt: &str) -> Markup {
    let (_, h, w) = pixels.dim();
    element(&file(pixels), [h * scale, w * scale], alt)
}

/// A PNG file of an image `[channels, h, w]`: three channels as red, green and blue, of others the first as grey levels.
///
/// # Panics
/// If there is no pixel.
#[track_caller]
pub fn file(pixels: ArrayView3<'_, u8>) -> Vec<u8> {
    let (c, h, w) = pixels.dim();
    let (channels, color) = colours(c);
    let levels: Vec<u8> = pixels.iter().take(channels * h * w).copied().collect();
    png((h, w), color, &interleaved(&levels, h * w))
}

/// How many of so many channels are shown, and as what.
fn colours(channels: usize) -> (usize, ColorType) {
    if channels == 3 { (3, ColorType::Rgb) } else { (1, ColorType::Grayscale) }
}

/// Planes of `place` levels as pixels.
fn interleaved(levels: &[u8], place: usize) -> Vec<u8> {
    (0..place).flat_map(|at| levels.iter().skip(at).step_by(place).copied()).collect()
}

/// The numbers `[c, h, w]` of a map, the smallest black and the largest white; three channels as red, green and blue, of others the first.
pub fn map(shape: Shape, values: &[f32], scale: usize, alt: &str) -> Markup {
    let Shape { c, h, w } = shape;
    let (channels, color) = colours(c);
    let levels: Vec<u8> = levels(&values[..channels * h * w]).collect();
    element(&png((h, w), color, &interleaved(&levels, h * w)), [h * scale, w * scale], alt)
}

/// Shares from 0 to 1, `[h, w]`, as one colour over whatever lies below: 0 is clear, 1 is full. `size` is that on the screen, (height,
/// width).
pub fn shades(values: ArrayView2<'_, f64>, [height, width]: [usize; 2], alt: &str) -> Markup {
    const COLOUR: [u8; 3] = [46, 134, 222];
    let pixel = |&share: &f64| {
        let [r, g, b] = COLOUR;
        [r, g, b, (255.0 * share.clamp(0.0, 1.0)) as u8]
    };
    let bytes: Vec<u8> = values.iter().flat_map(pixel).collect();
    element(&png(values.dim(), ColorType::Rgba, &bytes), [height, width], alt)
}

/// Numbers as levels of grey: the smallest finite one is 0, the largest 255.
pub(crate) fn levels(values: &[f32]) -> impl Iterator<Item = u8> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    values.iter().map(move |value| ((value - low) / (high - low).max(f32::MIN_POSITIVE) * 255.0) as u8)
}

fn element(png: &[u8], [height, width]: [usize; 2], alt: &str) -> Markup {
    let uri = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png));
    html! { img src=(uri) width=(width) height=(height) alt=(alt); }
}

/// A PNG file of these samples of 8 bits.
///
/// # Panics
/// If there are not as many bytes as pixels and channels need, or there is no pixel.
fn png((h, w): (usize, usize), color: ColorType, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, w as u32, h as u32);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().expect("a picture has pixels, and memory takes all bytes");
    writer.write_image_data(bytes).expect("as many bytes as pixels and channels need");
    writer.finish().expect("memory takes all bytes");
    file
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn maps_reach_from_black_to_white_whatever_is_in_them() {
        for values in [vec![1.0; 4], vec![f32::NAN; 4], vec![0.0, f32::INFINITY, -3.0, 2.0]] {
            let page = map(Shape::new(1, 2, 2), &values, 3, "a map").into_string();
            assert!(
                page.contains("width=\"6\" height=\"6\" alt=\"a map\"")
                    && page.contains("data:image/png;base64,")
            );
        }
        assert!(map(Shape::new(3, 1, 2), &[0.0; 6], 1, "").into_string().len() > 50);
    }

    #[test]
    fn a_png_has_its_pixels() {
        let file = file(array![[[7u8, 200]]].view());
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut bytes).unwrap();
        assert_eq!(bytes[..2], [7, 200]);
        let shown = image(array![[[1u8, 2], [3, 4]]].view(), 4, "x");
        assert!(shown.into_string().contains("height=\"8\""));
    }

    #[test]
    fn a_png_in_colour_has_its_pixels_one_after_the_other() {
        let planes = array![[[1u8, 2]], [[3, 4]], [[5, 6]]];
        let mut reader = png::Decoder::new(std::io::Cursor::new(file(planes.view()))).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((frame.color_type, &bytes[..]), (ColorType::Rgb, &[1, 3, 5, 2, 4, 6][..]));
    }
}
