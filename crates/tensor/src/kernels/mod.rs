//! The kernels: each is one generic source over a vector type. Lengths were checked by whoever calls them.

pub(crate) mod activation;
pub(crate) mod conv;
pub(crate) mod dense;
pub(crate) mod pool;
pub(crate) mod softmax;
