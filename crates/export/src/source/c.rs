//! A model as C99.

use byhand_models::Model;
use std::fmt::Write;

use super::kernels::{Channel, Logit, Pair};
use super::plan::Place;
use super::program::{Argument, Array, Call, Numbers, Pictures, Sizes};
use super::{File, Options, Source};
use crate::ExportError;

/// A model as one file of C99 and its header, `NAME.c` and `NAME.h`.
///
/// # Errors
/// When the model's parts do not fit together, a weight is not finite, or pictures make no inputs of the network.
pub fn c(model: &Model, options: &Options<'_>) -> Result<Source, ExportError> {
    let program = super::program(model, options)?;
    let weights = program.weights();
    let memory = program.memory * program.number();
    let (name, upper) = (options.name, options.name.to_uppercase());
    let fill = |template: &str| template.replace("NAME", &upper).replace("name_", &format!("{name}_"));
    let number = if program.is_int8 { "int8_t" } else { "float" };
    let kernels = if program.is_int8 { include_str!("int8.c") } else { include_str!("float.c") };

    let mut header = fill(include_str!("header.h"))
        .replace("LAYERS", &comment(&model.spec.to_string()))
        .replace("SHA256", &model.weights_sha256())
        .replace("NUMBER", number)
        .replace("INPUT_LEN", &program.inputs.to_string())
        .replace("OUTPUT_LEN", &program.outputs.to_string())
        .replace("MEMORY_LEN", &program.memory.max(1).to_string());
    let mut text = fill(include_str!("body.c")).replace("NUMBER", number).replace("FILE", name);
    for kernel in program.kernels(kernels) {
        write!(text, "\n{kernel}\n").expect("writing to a string");
    }
    text += "\n";
    program.arrays.iter().for_each(|array| text += &constants(array));
    let names: Vec<String> = program.classes.iter().map(|class| quoted(class)).collect();
    write!(text, "\nconst char *const {name}_classes[{upper}_OUTPUTS] = {{{}}};\n", names.join(", "))
        .expect("writing to a string");
    if let Some(pictures) = &program.pictures {
        header = header.replace("PICTURES", &fill(&prepare_declaration(pictures, number)));
        let levels = if program.is_int8 { "level[p]" } else { "(float)p * scale + shift" };
        text += &fill(&prepare(pictures, number, levels));
    }
    header = header.replace("PICTURES\n", "");
    write!(text, "\nvoid {name}_run(const {number} *input, float *logits, {number} *memory)\n{{\n")
        .expect("writing to a string");
    if program.memory == 0 {
        text += "    (void)memory;\n";
    }
    program.calls.iter().for_each(|call| text += &statement(call));
    text += "}\n";
    if program.pictures.is_some() {
        text += &fill(include_str!("main.c")).replace("NUMBER", number);
    }
    let files =
        vec![File { path: format!("{name}.c"), text }, File { path: format!("{name}.h"), text: header }];
    Ok(Source { files, weights, memory })
}

/// A call, as a statement.
fn statement(call: &Call) -> String {
    let place = |place: Place| match place {
        Place::Input => "input".to_owned(),
        Place::Memory(0) => "memory".to_owned(),
        Place::Memory(start) => format!("memory + {start}"),
        Place::Output(0) => "logits".to_owned(),
        Place::Output(start) => format!("logits + {start}"),
    };
    let mut arguments: Vec<String> = call.first.iter().map(argument).collect();
    arguments.push(place(call.from.0));
    arguments.extend(call.constants.iter().map(argument));
    arguments.push(place(call.to.0));
    if call.scratch.1 > 0 {
        arguments.push(place(Place::Memory(call.scratch.0)));
    }
    format!("    {}({}); /* {} */\n", call.kernel, arguments.join(", "), comment(&call.layer))
}

fn argument(argument: &Argument) -> String {
    match argument {
        Argument::Array(name) if ["window", "pair"].iter().any(|one| name.starts_with(one)) => {
            format!("&{name}")
        }
        Argument::Array(name) => name.clone(),
        Argument::None => "NULL".into(),
        Argument::Length(len) => len.to_string(),
        Argument::Float(number) => float(*number),
    }
}

/// An array's definition.
fn constants(Array { name, numbers }: &Array) -> String {
    match numbers {
        Numbers::Float(numbers) => {
            let list = lines(numbers.iter().map(|&number| float(number)), 6);
            format!("static const float {name}[{}] = {{{list}}};\n", numbers.len())
        }
        Numbers::Moments(moments) => {
            let row = |moments: &[f32; 3]| format!("{{{}}}", moments.map(float).join(", "));
            format!(
                "static const float {name}[{}][3] = {{{}}};\n",
                moments.len(),
                lines(moments.iter().map(row), 2)
            )
        }
        Numbers::Int8(numbers) => {
            let list = lines(numbers.iter().map(i8::to_string), 24);
            format!("static const int8_t {name}[{}] = {{{list}}};\n", numbers.len())
        }
        Numbers::Channels(channels) => {
            let row =
                |channel: &Channel| format!("{{{}, {}, {}}}", channel.bias, channel.factor, channel.shift);
            let list = lines(channels.iter().map(row), 4);
            format!("static const struct channel {name}[{}] = {{{list}}};\n", channels.len())
        }
        Numbers::Logits(logits) => {
            let row = |logit: &Logit| format!("{{{}, {}}}", logit.bias, float(logit.scale));
            let list = lines(logits.iter().map(row), 4);
            format!("static const struct logit {name}[{}] = {{{list}}};\n", logits.len())
        }
        Numbers::Pair(Pair { own, other, shift }) => {
            format!("static const struct pair {name} = {{{own}, {other}, {shift}}};\n")
        }
        Numbers::Sizes(sizes) => {
            let Sizes { from, to, window, groups } = sizes;
            let (end, before) = sizes.counted();
            let pad = &window.pad[..2];
            let sides = [
                &from[..],
                to,
                &window.size,
                &window.stride,
                pad,
                &window.dilation,
                &[*groups],
                &end,
                &[before],
            ];
            let sides: Vec<String> = sides.concat().iter().map(usize::to_string).collect();
            format!("static const struct window {name} = {{{}}};\n", sides.join(", "))
        }
    }
}

/// Numbers on lines of so many.
pub(super) fn lines(numbers: impl Iterator<Item = String>, at_once: usize) -> String {
    let numbers: Vec<String> = numbers.collect();
    let lines: Vec<String> = numbers.chunks(at_once).map(|line| line.join(", ")).collect();
    if lines.len() < 2 { lines.concat() } else { format!("\n    {}\n", lines.join(",\n    ")) }
}

/// A finite number as C99 writes it without rounding.
fn float(number: f32) -> String {
    let bits = number.to_bits();
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let (exponent, fraction) = ((bits >> 23 & 0xff) as i32, bits << 1 & 0xff_ffff);
    let (whole, exponent) = match (exponent, fraction) {
        (0, 0) => return format!("{sign}0.0f"),
        (0, _) => (0, -126),
        _ => (1, exponent - 127),
    };
    let digits = format!("{fraction:06x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x{whole}{point}{digits}p{exponent}f")
}

/// Text that ends no comment.
fn comment(text: &str) -> String {
    text.replace("*/", "* /")
}

/// A string of bytes, what is no plain letter in octal digits.
fn quoted(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'"' | b'\\' | b'?' | 0..=31 | 127.. => format!("\\{byte:03o}"),
        _ => char::from(byte).to_string(),
    };
    format!("\"{}\"", text.bytes().map(byte).collect::<String>())
}

fn prepare_declaration(pictures: &Pictures, number: &str) -> String {
    let (c, (h, w)) = (pictures.channels, pictures.size);
    let order = if c == 1 { "row by row" } else { "all red, then all green, then all blue, each row by row" };
    format!(
        "#define NAME_CHANNELS {c}\n#define NAME_ROWS {h}\n#define NAME_COLUMNS {w}\n\n/* A picture of bytes, {order}, as the input that the \
         model was trained on. */\nvoid name_prepare(const uint8_t *picture, {number} *input);"
    )
}

fn prepare(pictures: &Pictures, number: &str, level: &str) -> String {
    let Pictures { size: (h, w), halve, crop, normalize, .. } = *pictures;
    let (h, w) = if halve { (h / 2, w / 2) } else { (h, w) };
    let pixel =
        if halve { "(unsigned)(at[0] + at[1] + at[NAME_COLUMNS] + at[NAME_COLUMNS + 1]) / 4" } else { "*at" };
    let step = if halve { "2 * " } else { "" };
    let constants = if level.starts_with("level") {
        String::new()
    } else {
        format!("    const float scale = {}, shift = {};\n", float(normalize.scale), float(normalize.shift))
    };
    format!(
        "\nvoid name_prepare(const uint8_t *picture, {number} *input)\n{{\n{constants}\
         \x20   for (int c = 0; c < NAME_CHANNELS; c++, picture += NAME_ROWS * NAME_COLUMNS) {{\n\
         \x20       for (int i = 0; i < {rows}; i++) {{\n\
         \x20           for (int j = 0; j < {columns}; j++) {{\n\
         \x20               int y = i + {top}, x = j + {left};\n\
         \x20               unsigned p = 0;\n\
         \x20               if (y >= 0 && y < {h} && x >= 0 && x < {w}) {{\n\
         \x20                   const uint8_t *at = picture + {step}y * NAME_COLUMNS + {step}x;\n\
         \x20                   p = {pixel};\n\
         \x20               }}\n\
         \x20               *input++ = {level};\n\
         \x20           }}\n\
         \x20       }}\n\
         \x20   }}\n}}\n",
        rows = crop.h,
        columns = crop.w,
        top = crop.y,
        left = crop.x,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_in_hexadecimal() {
        for (number, text) in [
            (1.0, "0x1p0f"),
            (-0.75, "-0x1.8p-1f"),
            (0.1, "0x1.99999ap-4f"),
            (-0.0, "-0.0f"),
            (f32::MAX, "0x1.fffffep127f"),
            (f32::from_bits(1), "0x0.000002p-126f"),
            (f32::MIN_POSITIVE, "0x1p-126f"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn names_of_classes_are_bytes() {
        assert_eq!(quoted("T-shirt/top"), "\"T-shirt/top\"");
        assert_eq!(quoted("a\"\\\n?é"), "\"a\\042\\134\\012\\077\\303\\251\"");
    }
}
