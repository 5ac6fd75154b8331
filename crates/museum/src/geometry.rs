//! Where numbers lie: features of a shape, sizes out of the spec of a layer.

use byhand_layers::{Conv2d, ConvOptions, Describe, LayerError, Shape};

/// Feature number of channel `c`, row `i`, column `j`.
pub(crate) fn at(shape: Shape, c: usize, i: usize, j: usize) -> usize {
    (c * shape.h + i) * shape.w + j
}

/// All `(c, i, j)` of a shape, in the order in which they lie in memory.
pub(crate) fn positions(shape: Shape) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..shape.c).flat_map(move |c| grid([shape.h, shape.w]).map(move |(i, j)| (c, i, j)))
}

/// All `(p, q)` of a window, row by row.
pub(crate) fn grid([rows, columns]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |p| (0..columns).map(move |q| (p, q)))
}

/// The convolution that `right` is.
pub(crate) fn conv_of(right: &dyn Describe) -> Result<Conv2d, LayerError> {
    expect(right, "conv")?;
    let shape = &right.params()[0].shape;
    let options = ConvOptions {
        kernel: [shape[2], shape[3]],
        stride: pair(&right.spec(), "stride=").unwrap_or([1, 1]),
        pad: pair(&right.spec(), "pad=").unwrap_or([0, 0]),
        bias: right.params().len() > 1,
    };
    Conv2d::new(right.input(), shape[0], options)
}

/// Input, window and stride of the pool that `right` is.
pub(crate) fn pool_of(
    right: &dyn Describe,
    name: &'static str,
) -> Result<(Shape, [usize; 2], [usize; 2]), LayerError> {
    expect(right, name)?;
    let window = pair(&right.spec(), "pool(").unwrap_or([1, 1]);
    Ok((right.input(), window, pair(&right.spec(), "stride=").unwrap_or(window)))
}

/// Inputs, outputs and bias of the dense layer that `right` is.
pub(crate) fn dense_of(right: &dyn Describe) -> Result<(usize, usize, bool), LayerError> {
    expect(right, "dense")?;
    Ok((right.input().features(), right.output().features(), right.params().len() > 1))
}

/// Refuses a layer of another name.
pub(crate) fn expect(right: &dyn Describe, name: &'static str) -> Result<(), LayerError> {
    if right.name() == name {
        return Ok(());
    }
    Err(LayerError::Value {
        layer: "museum",
        what: "the layer that is stood in for",
        expected: name,
        found: right.spec(),
    })
}

/// The sizes behind `key` in a spec: `3x2`, or `2` for both axes.
fn pair(spec: &str, key: &str) -> Option<[usize; 2]> {
    let (_, rest) = spec.split_once(key)?;
    let sizes = rest.split([',', ')']).next()?;
    let (rows, columns) = sizes.split_once('x').unwrap_or((sizes, sizes));
    Some([rows.parse().ok()?, columns.parse().ok()?])
}

/// A wrong layer describes itself as the right one does.
macro_rules! described_by {
    ($wrong:ty, $right:ident) => {
        impl byhand_layers::Describe for $wrong {
            fn name(&self) -> &'static str {
                self.$right.name()
            }
            fn spec(&self) -> String {
                self.$right.spec()
            }
            fn kind(&self) -> byhand_layers::Kind {
                self.$right.kind()
            }
            fn input(&self) -> byhand_layers::Shape {
                self.$right.input()
            }
            fn output(&self) -> byhand_layers::Shape {
                self.$right.output()
            }
            fn params(&self) -> Vec<byhand_layers::ParamSpec> {
                self.$right.params()
            }
            fn tape_len(&self, block: byhand_layers::Block) -> usize {
                self.$right.tape_len(block)
            }
            fn scratch_len(&self, block: byhand_layers::Block) -> usize {
                self.$right.scratch_len(block)
            }
            fn flops(&self) -> u64 {
                self.$right.flops()
            }
        }
    };
}
pub(crate) use described_by;

#[cfg(test)]
mod tests {
    use super::*;
    use byhand_layers::check::catalogue;
    use byhand_layers::{AvgPool2d, Dense, MaxPool2d};

    #[test]
    fn geometries_are_read_back_from_every_layer_of_the_catalogue() {
        let mut read = 0;
        for layer in catalogue() {
            let right: &dyn Describe = &*layer;
            let again: Box<dyn Describe> = match right.name() {
                "conv" => Box::new(conv_of(right).unwrap()),
                "pool" => {
                    let (input, window, stride) = pool_of(right, "pool").unwrap();
                    Box::new(MaxPool2d::new(input, window, stride).unwrap())
                }
                "avgpool" => {
                    let (input, window, stride) = pool_of(right, "avgpool").unwrap();
                    Box::new(AvgPool2d::new(input, window, stride).unwrap())
                }
                "dense" => {
                    let (inputs, outputs, bias) = dense_of(right).unwrap();
                    Box::new(Dense::new(inputs, outputs, bias).unwrap())
                }
                _ => continue,
            };
            assert_eq!((again.spec(), again.output()), (right.spec(), right.output()));
            read += 1;
        }
        assert!(read > 10, "only {read} geometries were read");
    }

    #[test]
    fn another_layer_is_refused() {
        let dense = Dense::new(2, 3, true).unwrap();
        assert!(conv_of(&dense).unwrap_err().to_string().contains("dense(3)"));
    }
}
