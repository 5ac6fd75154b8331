//! A layer's range of `theta`, or of its gradient, as weight and bias.

/// A layer's range of `theta`, split into its tensors.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a, T> {
    /// The weights.
    pub weight: &'a [T],
    /// One bias an output channel, where the layer has them.
    pub bias: Option<&'a [T]>,
}

/// The same split of a gradient.
#[derive(Debug)]
pub struct ParamsMut<'a, T> {
    /// Gradient of the weights.
    pub weight: &'a mut [T],
    /// Gradient of the biases.
    pub bias: Option<&'a mut [T]>,
}

impl<'a, T> Params<'a, T> {
    #[track_caller]
    pub(crate) fn split(theta: &'a [T], weight_len: usize, bias_len: Option<usize>) -> Self {
        assert_eq!(theta.len(), weight_len + bias_len.unwrap_or(0), "length of a layer's range of theta");
        let (weight, bias) = theta.split_at(weight_len);
        Self { weight, bias: bias_len.map(|_| bias) }
    }
}

impl<'a, T> ParamsMut<'a, T> {
    /// The first `mid` of `rows` rows of the weight, each with its bias, and the others.
    pub fn split_rows(self, mid: usize, rows: usize) -> (Self, Self) {
        let (weight, weight_rest) = self.weight.split_at_mut(self.weight.len() / rows * mid);
        let (bias, bias_rest) = self.bias.map(|bias| bias.split_at_mut(mid)).unzip();
        (Self { weight, bias }, Self { weight: weight_rest, bias: bias_rest })
    }

    #[track_caller]
    pub(crate) fn split(dtheta: &'a mut [T], weight_len: usize, bias_len: Option<usize>) -> Self {
        assert_eq!(dtheta.len(), weight_len + bias_len.unwrap_or(0), "length of a layer's range of dtheta");
        let (weight, bias) = dtheta.split_at_mut(weight_len);
        Self { weight, bias: bias_len.map(|_| bias) }
    }
}
