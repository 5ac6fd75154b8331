//! Event files, as TensorBoard reads them: scalars, histograms, images and the graph.
//!
//! A file is a row of records: the length as 8 bytes, its checksum, the bytes of an event, their checksum (all little-endian). A checksum is
//! CRC-32C, turned by 15 bits and moved by a constant. An event is a protocol buffer.
//!
//! Sources: TensorFlow's `core/lib/io/record_writer.cc`, `core/util/event.proto`, `core/framework/summary.proto`, `graph.proto`.

use std::io::{self, Write};

use byhand_layers::{Network, Shape};
use crc::{CRC_32_ISCSI, Crc};
use ndarray::{ArrayView2, Axis};
use prost::{Message, Oneof};

use crate::{
    picture,
    tensors::{Spread, TensorRecord},
};

/// An event file that is being written. `time` is in seconds since 1970.
#[derive(Debug)]
pub struct Events<W: Write> {
    writer: W,
}

impl<W: Write> Events<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// As the writer has them.
    pub fn new(writer: W, time: f64) -> io::Result<Self> {
        let mut events = Self { writer };
        events.add(time, 0, What::FileVersion("brain.Event:2".into()))?;
        Ok(events)
    }

    /// The layers of a network as a graph.
    ///
    /// # Errors
    /// As the writer has them.
    pub fn graph(&mut self, time: f64, network: &Network<f32>) -> io::Result<()> {
        let mut node = vec![Node::new("input".into(), "input", None, network.input())];
        for (index, layer) in network.layers().iter().enumerate() {
            let before = node[node.len() - 1].name.clone();
            node.push(Node::new(
                format!("{index}_{}", layer.name()),
                &layer.spec(),
                Some(before),
                layer.output(),
            ));
        }
        let graph = Graph { node, versions: Some(Versions { producer: 1 }) };
        self.add(time, 0, What::Graph(graph.encode_to_vec()))
    }

    /// Numbers, each under its name.
    ///
    /// # Errors
    /// As the writer has them.
    pub fn scalars(&mut self, time: f64, step: u64, numbers: &[(&str, f64)]) -> io::Result<()> {
        let values = numbers.iter().map(|(tag, number)| Value::new(*tag, Kind::Simple(*number as f32)));
        self.summary(time, step, values.collect())
    }

    /// How the weights and the gradients of tensors are spread.
    ///
    /// # Errors
    /// As the writer has them.
    pub fn spreads(&mut self, time: f64, step: u64, tensors: &[TensorRecord]) -> io::Result<()> {
        let values = tensors.iter().flat_map(|TensorRecord { name, weights, gradients }| {
            [("weights", weights), ("gradients", gradients)].map(|(kind, spread)| {
                Value::new(format!("{kind}/{name}"), Kind::Histogram(Histogram::of(spread)))
            })
        });
        self.summary(time, step, values.collect())
    }

    /// A grey picture.
    ///
    /// # Errors
    /// As the writer has them.
    pub fn image(&mut self, time: f64, step: u64, tag: &str, pixels: ArrayView2<'_, u8>) -> io::Result<()> {
        let (h, w) = pixels.dim();
        let encoded = picture::file(pixels.insert_axis(Axis(0)));
        let image = Image { height: h as i32, width: w as i32, colorspace: 1, encoded };
        self.summary(time, step, vec![Value::new(tag, Kind::Image(image))])
    }

    /// Hands on all that was written.
    ///
    /// # Errors
    /// As the writer has them.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn summary(&mut self, time: f64, step: u64, value: Vec<Value>) -> io::Result<()> {
        self.add(time, step, What::Summary(Summary { value }))
    }

    fn add(&mut self, wall_time: f64, step: u64, what: What) -> io::Result<()> {
        let bytes = Event { wall_time, step: step as i64, what: Some(what) }.encode_to_vec();
        let length = (bytes.len() as u64).to_le_bytes();
        for part in [&length[..], &checksum(&length), &bytes, &checksum(&bytes)] {
            self.writer.write_all(part)?;
        }
        Ok(())
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 4, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(bytes, tag = "4")]
    Graph(Vec<u8>),
    #[prost(message, tag = "5")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Kind", tags = "2, 4, 5")]
    kind: Option<Kind>,
}

impl Value {
    fn new(tag: impl Into<String>, kind: Kind) -> Self {
        Self { tag: tag.into(), kind: Some(kind) }
    }
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(float, tag = "2")]
    Simple(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "5")]
    Histogram(Histogram),
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    /// The upper end of each part.
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

impl Histogram {
    fn of(Spread { low, high, mean, norm, counts }: &Spread) -> Self {
        let num = counts.iter().sum::<u32>().into();
        let width = (high - low) / counts.len().max(1) as f64;
        Self {
            min: *low,
            max: *high,
            num,
            sum: mean * num,
            sum_squares: norm * norm,
            bucket_limit: (1..=counts.len()).map(|part| low + part as f64 * width).collect(),
            bucket: counts.iter().map(|&count| count.into()).collect(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, optional, tag = "4")]
    versions: Option<Versions>,
}

#[derive(Clone, PartialEq, Message)]
struct Versions {
    #[prost(int32, tag = "1")]
    producer: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    op: String,
    #[prost(string, repeated, tag = "3")]
    input: Vec<String>,
    #[prost(btree_map = "string, message", tag = "5")]
    attr: std::collections::BTreeMap<String, Attribute>,
}

impl Node {
    fn new(name: String, op: &str, before: Option<String>, Shape { c, h, w }: Shape) -> Self {
        let dim = [-1, c as i64, h as i64, w as i64].map(|size| Dim { size }).into();
        let list = AttributeList { shape: vec![TensorShape { dim }] };
        let attr = [("_output_shapes".to_string(), Attribute { list: Some(list) })].into();
        Self { name, op: op.into(), input: before.into_iter().collect(), attr }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(message, optional, tag = "1")]
    list: Option<AttributeList>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeList {
    #[prost(message, repeated, tag = "7")]
    shape: Vec<TensorShape>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_tensorflow() {
        // CRC-32C of "123456789" is e3069283.
        let expected = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(checksum(b"123456789"), expected.to_le_bytes());
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        let mut events = Events::new(&mut bytes, 1.5).unwrap();
        let tensor = TensorRecord {
            name: "0.weight".into(),
            weights: Spread::of(&[1.0, 2.0, 2.0]),
            gradients: Spread::of(&[0.5]),
        };
        events.scalars(2.0, 7, &[("loss", 0.25)]).unwrap();
        events.spreads(2.0, 7, &[tensor]).unwrap();
        events.image(2.0, 7, "filters", array![[0u8, 255]].view()).unwrap();
        let network = "conv(2,3) relu dense(4)".parse::<byhand_models::Spec>().unwrap();
        events.graph(2.0, &network.build(Shape::new(1, 6, 5)).unwrap()).unwrap();
        events.flush().unwrap();

        let (mut rest, mut read) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], checksum(&rest[..8]));
            let event = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], checksum(event));
            read.push(Event::decode(event).unwrap());
            rest = &rest[16 + length..];
        }
        assert_eq!(read.len(), 5);
        assert_eq!((read[0].wall_time, read[1].step), (1.5, 7));
        let Some(What::Summary(summary)) = &read[2].what else { panic!("{:?}", read[2]) };
        let Some(Kind::Histogram(weights)) = &summary.value[0].kind else { panic!("{summary:?}") };
        assert_eq!((weights.num, weights.sum, weights.max), (3.0, 5.0, 2.0));
        assert!((weights.sum_squares - 9.0).abs() < 1e-12);
        let Some(What::Graph(graph)) = &read[4].what else { panic!("{:?}", read[4]) };
        let graph = Graph::decode(&graph[..]).unwrap();
        let names: Vec<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["input", "0_conv", "1_relu", "2_flatten", "3_dense"]);
        assert_eq!(graph.node[2].input, ["0_conv"]);
    }
}
