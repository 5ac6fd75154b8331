//! The one table of layers that the grammar knows: adding a layer adds one row here.

use std::fmt;

use byhand_layers::{
    AvgPool2d, BatchNorm, Conv2d, ConvOptions, Dense, Dropout, ExactGelu, Flatten, Gelu, GlobalAvgPool,
    GlobalMaxPool, Layer, LayerError, LeakyRelu, Linear, LogSoftmax, MaxPool2d, Padding, PoolOptions, Relu,
    Scalar, Shape, Sigmoid, Silu, Tanh,
};

/// One layer of the grammar: its word, its parameters, and how it is made for an input shape.
///
/// ```
/// use byhand_models::LayerKind;
/// let conv = LayerKind::<f32>::find("conv").unwrap();
/// assert_eq!(conv.signature(), "conv(channels, kernel, stride=1, pad=0, bias=true, dilation=1, groups=1)");
/// ```
#[derive(Debug)]
pub struct LayerKind<T: Scalar> {
    /// The word in a layer spec.
    pub name: &'static str,
    /// One line for a help page.
    pub about: &'static str,
    /// In the order in which they may be given without their names.
    pub parameters: &'static [Parameter],
    /// What it does to images and features.
    pub role: Role,
    /// Makes the layer.
    pub build: Build<T>,
}

/// Makes a layer for an input shape.
pub type Build<T> = fn(Shape, &Arguments<'_>) -> Result<Box<dyn Layer<T>>, LayerError>;

/// What a layer does to images and features; it decides where a flatten is put in unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes an image of an image.
    Image,
    /// Treats every value alone; an image stays an image.
    Elementwise,
    /// Makes features of an image.
    Flatten,
    /// Makes features of features; after an image a flatten is put before it.
    Features,
}

/// A parameter of a layer kind.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The word before `=`.
    pub name: &'static str,
    /// What may be written for it.
    pub form: Form,
    /// What it is when nothing is written.
    pub default: DefaultValue,
}

/// What may be written for a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A whole number from 1 to [`MAX_COUNT`].
    Count,
    /// A whole number, or two as `HEIGHTxWIDTH`, each from the first number given here to [`MAX_EXTENT`].
    Extent(usize),
    /// A whole number, two as `HEIGHTxWIDTH` or four as `TOPxLEFTxBOTTOMxRIGHT`, each from 0 to [`MAX_EXTENT`]; `same` or `same_lower`.
    Padding,
    /// `true` or `false`.
    Flag,
    /// A number of at least 0 and less than 1.
    Fraction,
}

/// What a parameter is when nothing is written.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    /// It must be written.
    Required,
    /// This.
    Is(Value),
    /// The value of the parameter of this name, which stands before it.
    SameAs(&'static str),
}

/// The value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Channels, features.
    Count(usize),
    /// Height and width.
    Extent([usize; 2]),
    /// What is put around an image.
    Padding(Padding),
    /// A switch.
    Flag(bool),
    /// A probability.
    Fraction(f64),
}

/// The most channels or features a layer of a spec may ask for.
pub const MAX_COUNT: usize = 65_536;
/// The largest kernel, window, stride or padding of a spec.
pub const MAX_EXTENT: usize = 255;

impl<T: Scalar> LayerKind<T> {
    /// The table, in the order of a help page.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "conv",
            about: "2-D convolution; kernel, stride, pad and dilation are one number or HEIGHTxWIDTH",
            parameters: &[
                required("channels", Form::Count),
                required("kernel", Form::Extent(1)),
                optional("stride", Form::Extent(1), Value::Extent([1, 1])),
                PAD,
                optional("bias", Form::Flag, Value::Flag(true)),
                DILATION,
                optional("groups", Form::Count, Value::Count(1)),
            ],
            role: Role::Image,
            build: |input, a| {
                let options = ConvOptions {
                    kernel: a.extent("kernel"),
                    stride: a.extent("stride"),
                    pad: a.padding("pad"),
                    dilation: a.extent("dilation"),
                    groups: a.count("groups"),
                    bias: a.flag("bias"),
                };
                Ok(Box::new(Conv2d::new(input, a.count("channels"), options)?))
            },
        },
        Self {
            name: "pool",
            about: "max-pooling; the first maximum of a window gets the gradient, padding never does",
            parameters: &[WINDOW, STRIDE, PAD, CEIL, DILATION],
            role: Role::Image,
            build: |input, a| Ok(Box::new(MaxPool2d::with_options(input, a.pool_options())?)),
        },
        Self {
            name: "avgpool",
            about: "average-pooling; with count_pad=false a mean is that of the pixels alone",
            parameters: &[
                WINDOW,
                STRIDE,
                PAD,
                CEIL,
                DILATION,
                optional("count_pad", Form::Flag, Value::Flag(true)),
            ],
            role: Role::Image,
            build: |input, a| {
                Ok(Box::new(AvgPool2d::with_options(input, a.pool_options(), a.flag("count_pad"))?))
            },
        },
        Self {
            name: "globalavgpool",
            about: "the mean of each channel",
            parameters: &[],
            role: Role::Image,
            build: |input, _| Ok(Box::new(GlobalAvgPool::new(input)?)),
        },
        Self {
            name: "globalmaxpool",
            about: "the maximum of each channel; the first one gets the gradient",
            parameters: &[],
            role: Role::Image,
            build: |input, _| Ok(Box::new(GlobalMaxPool::new(input)?)),
        },
        Self {
            name: "batchnorm",
            about: "gives each channel mean 0 and deviation 1 over the minibatch, then a scale and a shift that are learned",
            parameters: &[
                optional("eps", Form::Fraction, Value::Fraction(BatchNorm::EPS)),
                optional("momentum", Form::Fraction, Value::Fraction(BatchNorm::MOMENTUM)),
            ],
            role: Role::Elementwise,
            build: |input, a| Ok(Box::new(BatchNorm::new(input, a.fraction("eps"), a.fraction("momentum"))?)),
        },
        Self {
            name: "dense",
            about: "fully connected; after an image a flatten is put before it",
            parameters: &[required("outputs", Form::Count), optional("bias", Form::Flag, Value::Flag(true))],
            role: Role::Features,
            build: |input, a| Ok(Box::new(Dense::new(input.features(), a.count("outputs"), a.flag("bias"))?)),
        },
        Self {
            name: "relu",
            about: "max(x, 0)",
            parameters: &[],
            role: Role::Elementwise,
            build: |input, _| Ok(Box::new(Relu::new(input))),
        },
        Self {
            name: "leaky_relu",
            about: "x where x > 0, else slope * x",
            parameters: &[optional("slope", Form::Fraction, Value::Fraction(LeakyRelu::SLOPE))],
            role: Role::Elementwise,
            build: |input, a| Ok(Box::new(LeakyRelu::new(input, a.fraction("slope"))?)),
        },
        Self {
            name: "gelu",
            about: "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); exact: x/2 (1 + erf(x / sqrt(2)))",
            parameters: &[optional("exact", Form::Flag, Value::Flag(false))],
            role: Role::Elementwise,
            build: |input, a| {
                Ok(if a.flag("exact") { Box::new(ExactGelu::new(input)) } else { Box::new(Gelu::new(input)) })
            },
        },
        Self {
            name: "silu",
            about: "x / (1 + exp(-x))",
            parameters: &[],
            role: Role::Elementwise,
            build: |input, _| Ok(Box::new(Silu::new(input))),
        },
        Self {
            name: "tanh",
            about: "hyperbolic tangent",
            parameters: &[],
            role: Role::Elementwise,
            build: |input, _| Ok(Box::new(Tanh::new(input))),
        },
        Self {
            name: "sigmoid",
            about: "1 / (1 + exp(-x))",
            parameters: &[],
            role: Role::Elementwise,
            build: |input, _| Ok(Box::new(Sigmoid::new(input))),
        },
        Self {
            name: "linear",
            about: "the identity, as an activation; free",
            parameters: &[],
            role: Role::Elementwise,
            build: |input, _| Ok(Box::new(Linear::new(input))),
        },
        Self {
            name: "log_softmax",
            about: "log-probabilities, for --loss negative-log-likelihood; after an image a flatten is put before it",
            parameters: &[],
            role: Role::Features,
            build: |input, _| Ok(Box::new(LogSoftmax::new(input))),
        },
        Self {
            name: "dropout",
            about: "zeroes a feature with this probability in training, scales the rest",
            parameters: &[required("p", Form::Fraction)],
            role: Role::Elementwise,
            build: |input, a| Ok(Box::new(Dropout::new(input, a.fraction("p"))?)),
        },
        Self {
            name: "flatten",
            about: "image to features; free",
            parameters: &[],
            role: Role::Flatten,
            build: |input, _| Ok(Box::new(Flatten::new(input))),
        },
    ];

    /// The row of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|kind| kind.name == name)
    }

    /// The word with its parameters and their defaults, as a help page shows it.
    pub fn signature(&self) -> String {
        if self.parameters.is_empty() {
            return self.name.to_owned();
        }
        let parameters: Vec<String> = self.parameters.iter().map(Parameter::to_string).collect();
        format!("{}({})", self.name, parameters.join(", "))
    }
}

/// The values of a layer's parameters, defaults filled in, by name.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    pub(crate) parameters: &'static [Parameter],
    pub(crate) values: &'a [Value],
}

impl Arguments<'_> {
    /// The value of a [`Form::Count`] parameter.
    ///
    /// # Panics
    /// When the kind has no parameter of this name and form (a mistake in the table).
    #[track_caller]
    pub fn count(&self, name: &str) -> usize {
        match self.value(name) {
            Value::Count(n) => n,
            other => panic!("parameter {name} is {other}, not a count"),
        }
    }

    /// The value of a [`Form::Extent`] parameter: height and width.
    ///
    /// # Panics
    /// As [`count`](Self::count).
    #[track_caller]
    pub fn extent(&self, name: &str) -> [usize; 2] {
        match self.value(name) {
            Value::Extent(extent) => extent,
            other => panic!("parameter {name} is {other}, not an extent"),
        }
    }

    /// The value of a [`Form::Padding`] parameter.
    ///
    /// # Panics
    /// As [`count`](Self::count).
    #[track_caller]
    pub fn padding(&self, name: &str) -> Padding {
        match self.value(name) {
            Value::Padding(padding) => padding,
            other => panic!("parameter {name} is {other}, not a padding"),
        }
    }

    /// The value of a [`Form::Flag`] parameter.
    ///
    /// # Panics
    /// As [`count`](Self::count).
    #[track_caller]
    pub fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Flag(flag) => flag,
            other => panic!("parameter {name} is {other}, not a flag"),
        }
    }

    /// The value of a [`Form::Fraction`] parameter.
    ///
    /// # Panics
    /// As [`count`](Self::count).
    #[track_caller]
    pub fn fraction(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Fraction(p) => p,
            other => panic!("parameter {name} is {other}, not a fraction"),
        }
    }

    /// The windows of a pooling.
    fn pool_options(&self) -> PoolOptions {
        PoolOptions {
            window: self.extent("window"),
            stride: self.extent("stride"),
            pad: self.padding("pad"),
            dilation: self.extent("dilation"),
            ceil: self.flag("ceil"),
        }
    }

    #[track_caller]
    fn value(&self, name: &str) -> Value {
        match self.parameters.iter().position(|parameter| parameter.name == name) {
            Some(index) => self.values[index],
            None => panic!("no parameter is called {name}"),
        }
    }
}

/// `kernel`, `stride=1` or `stride=window`.
impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.default {
            DefaultValue::Required => Ok(()),
            DefaultValue::Is(value) => write!(f, "={value}"),
            DefaultValue::SameAs(other) => write!(f, "={other}"),
        }
    }
}

/// What is expected, in words.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => write!(f, "a whole number from 1 to {MAX_COUNT}"),
            Self::Extent(least) => {
                write!(f, "a whole number from {least} to {MAX_EXTENT}, or two as HEIGHTxWIDTH")
            }
            Self::Padding => write!(
                f,
                "a whole number from 0 to {MAX_EXTENT}, two as HEIGHTxWIDTH, four as TOPxLEFTxBOTTOMxRIGHT, same, or same_lower"
            ),
            Self::Flag => f.write_str("true or false"),
            Self::Fraction => f.write_str("a number of at least 0 and less than 1"),
        }
    }
}

/// As it is written in a spec.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Extent([h, w]) if h == w => write!(f, "{h}"),
            Self::Extent([h, w]) => write!(f, "{h}x{w}"),
            Self::Padding(padding) => write!(f, "{padding}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Fraction(p) => write!(f, "{p}"),
        }
    }
}

impl Form {
    /// Reads a value; `None` when it is not of this form.
    pub(crate) fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Count => whole(text, 1, MAX_COUNT).map(Value::Count),
            Self::Extent(least) => {
                let (h, w) = text.split_once('x').unwrap_or((text, text));
                Some(Value::Extent([whole(h, least, MAX_EXTENT)?, whole(w, least, MAX_EXTENT)?]))
            }
            Self::Padding => padding(text).map(Value::Padding),
            Self::Flag => text.parse().ok().map(Value::Flag),
            Self::Fraction => text.parse().ok().filter(|p| (0.0..1.0).contains(p)).map(Value::Fraction),
        }
    }
}

const WINDOW: Parameter = required("window", Form::Extent(1));
const STRIDE: Parameter =
    Parameter { name: "stride", form: Form::Extent(1), default: DefaultValue::SameAs("window") };
const PAD: Parameter = optional("pad", Form::Padding, Value::Padding(Padding::NONE));
const CEIL: Parameter = optional("ceil", Form::Flag, Value::Flag(false));
const DILATION: Parameter = optional("dilation", Form::Extent(1), Value::Extent([1, 1]));

const fn required(name: &'static str, form: Form) -> Parameter {
    Parameter { name, form, default: DefaultValue::Required }
}

const fn optional(name: &'static str, form: Form, default: Value) -> Parameter {
    Parameter { name, form, default: DefaultValue::Is(default) }
}

fn padding(text: &str) -> Option<Padding> {
    let side = |text| whole(text, 0, MAX_EXTENT);
    match *text.split('x').collect::<Vec<_>>() {
        ["same"] => Some(Padding::Same),
        ["same_lower"] => Some(Padding::SameLower),
        [all] => Some(Padding::axes([side(all)?; 2])),
        [rows, columns] => Some(Padding::axes([side(rows)?, side(columns)?])),
        [top, left, bottom, right] => {
            Some(Padding::Sides([side(top)?, side(left)?, side(bottom)?, side(right)?]))
        }
        _ => None,
    }
}

/// A whole number of this range, written in digits alone.
fn whole(text: &str, least: usize, most: usize) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|n| digits && (least..=most).contains(n))
}
