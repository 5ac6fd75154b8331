//! ONNX files: a model as ONNX says it, and models from ONNX files of layers that byhand has.

mod read;
mod wire;
mod write;

pub use read::{Imported, read};
pub use write::{DEFAULT_OPSET, OPSETS, Options, write};

/// `TensorProto.DataType`.
const FLOAT: i64 = 1;
const UINT8: i64 = 2;
const INT64: i64 = 7;
const BOOL: i64 = 9;
