//! A model as a crate of Rust without `std`.

use byhand_models::Model;
use std::fmt::Write;

use super::c::lines;
use super::kernels::{Channel, Logit, Pair};
use super::plan::Place;
use super::program::{Argument, Array, Call, Numbers, Pictures, Sizes};
use super::{File, Options, Source};
use crate::ExportError;
use crate::graph::Window;

/// A model as a crate of Rust, with no dependency: `Cargo.toml`, `src/lib.rs`, `src/kernels.rs`, and for pictures `src/main.rs`.
///
/// # Errors
/// When the model's parts do not fit together, a weight is not finite, or pictures make no inputs of the network.
pub fn rust(model: &Model, options: &Options<'_>) -> Result<Source, ExportError> {
    let program = super::program(model, options)?;
    let weights = program.weights();
    let memory = program.memory * program.number();
    let number = if program.is_int8 { "i8" } else { "f32" };
    let file = if program.is_int8 { include_str!("int8.rs.in") } else { include_str!("float.rs.in") };

    let mut text = include_str!("lib.rs.in")
        .replace("LAYERS", &model.spec.to_string().replace('`', "'"))
        .replace("SHA256", &model.weights_sha256())
        .replace("NUMBER", number)
        .replace("INPUT_LEN", &program.inputs.to_string())
        .replace("OUTPUT_LEN", &program.outputs.to_string())
        .replace("MEMORY_LEN", &program.memory.to_string());
    let names: Vec<String> = program.classes.iter().map(|class| format!("{class:?}")).collect();
    text = text.replace("CLASS_NAMES", &lines(names.into_iter(), 8));
    if let Some(pictures) = &program.pictures {
        text += &prepare(pictures, number, program.is_int8);
    }
    let memory_name = if program.memory == 0 { "_memory" } else { "memory" };
    write!(
        text,
        "\n/// From an input the outputs, before the softmax. What is in the memory before does not matter.\n\
         pub fn run(input: &[{number}; INPUTS], logits: &mut [f32; OUTPUTS], {memory_name}: &mut [{number}; MEMORY]) {{\n"
    )
    .expect("writing to a string");
    program.calls.iter().for_each(|call| text += &statement(call));
    text += "}\n";
    let mut kernels = program.kernels(file);
    kernels.retain(|kernel| !kernel.is_empty());
    let kernels = format!("//! What the network is computed with.\n\n{}\n", kernels.join("\n\n"));
    text += "\n";
    program.arrays.iter().for_each(|array| text += &constants(array));
    let package = options.name.to_lowercase();
    let mut manifest = include_str!("manifest.toml.in").replace("NAME", &package);
    let mut files =
        vec![File { path: "src/lib.rs".into(), text }, File { path: "src/kernels.rs".into(), text: kernels }];
    if program.pictures.is_some() {
        manifest += &format!(
            "\n[[bin]]\nname = \"{package}\"\npath = \"src/main.rs\"\nrequired-features = [\"std\"]\ndoc = false\n"
        );
        let zero = if program.is_int8 { "0" } else { "0.0" };
        let text = include_str!("main.rs.in").replace("NAME", &package).replace("ZERO", zero);
        files.push(File { path: "src/main.rs".into(), text });
    }
    files.insert(0, File { path: "Cargo.toml".into(), text: manifest });
    Ok(Source { files, weights, memory })
}

/// A call, as statements.
fn statement(call: &Call) -> String {
    let (from, to) = (call.from, call.to);
    let same = from.0 == to.0;
    // The parts of the memory that the call is lent.
    let mut parts = Vec::new();
    let mut part = |name: &'static str, (place, len): (Place, usize)| match place {
        Place::Input => "input.as_slice()".to_owned(),
        Place::Output(start) => format!("&mut logits[{start}..{}]", start + len),
        Place::Memory(start) => {
            parts.push((name, start..start + len));
            name.to_owned()
        }
    };
    let x = if same { String::new() } else { part("x", from) };
    let y = part("y", to);
    let scratch =
        (call.scratch.1 > 0).then(|| part("scratch", (Place::Memory(call.scratch.0), call.scratch.1)));
    let borrow = match &parts[..] {
        [] => String::new(),
        [(name, range)] => format!("        let {name} = &mut memory[{range:?}];\n"),
        _ => {
            let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
            let ranges: Vec<String> = parts.iter().map(|(_, range)| format!("{range:?}")).collect();
            format!(
                "        let [{}] = memory.get_disjoint_mut([{}]).expect(\"they lie apart\");\n",
                names.join(", "),
                ranges.join(", ")
            )
        }
    };
    let given = |argument: &Argument| match argument {
        Argument::Array(name) => Some(format!("&{}", name.to_uppercase())),
        Argument::None => Some("&[]".into()),
        Argument::Length(_) => None,
        Argument::Float(number) => Some(format!("{number:?}")),
    };
    let mut arguments: Vec<String> = call.first.iter().filter_map(given).collect();
    let mut copy = String::new();
    if !call.is_elementwise {
        arguments.push(x);
    } else if !same {
        let y = if y.starts_with('&') { format!("({y})") } else { y.clone() };
        copy = format!("        {y}.copy_from_slice({x});\n");
    }
    arguments.extend(call.constants.iter().filter_map(given));
    arguments.push(y);
    arguments.extend(scratch);
    let run = match call.kernel {
        "copy" => String::new(),
        kernel => format!("        {kernel}({});\n", arguments.join(", ")),
    };
    format!("    // {}\n    {{\n{borrow}{copy}{run}    }}\n", call.layer)
}

/// An array's definition.
fn constants(Array { name, numbers }: &Array) -> String {
    let name = name.to_uppercase();
    // The shortest decimal number that is read as the same bits.
    let float = |number: &f32| format!("{number:?}");
    let (kind, list) = match numbers {
        Numbers::Float(numbers) => (format!("[f32; {}]", numbers.len()), lines(numbers.iter().map(float), 8)),
        Numbers::Moments(moments) => {
            let row = |moments: &[f32; 3]| format!("{moments:?}");
            (format!("[[f32; 3]; {}]", moments.len()), lines(moments.iter().map(row), 3))
        }
        Numbers::Int8(numbers) => {
            (format!("[i8; {}]", numbers.len()), lines(numbers.iter().map(i8::to_string), 24))
        }
        Numbers::Channels(channels) => {
            let row = |channel: &Channel| {
                let Channel { bias, factor, shift } = channel;
                format!("Channel {{ bias: {bias}, factor: {factor}, shift: {shift} }}")
            };
            (format!("[Channel; {}]", channels.len()), lines(channels.iter().map(row), 2))
        }
        Numbers::Logits(logits) => {
            let row = |logit: &Logit| format!("Logit {{ bias: {}, scale: {:?} }}", logit.bias, logit.scale);
            (format!("[Logit; {}]", logits.len()), lines(logits.iter().map(row), 3))
        }
        Numbers::Pair(Pair { own, other, shift }) => {
            return format!("static {name}: Pair = Pair {{ own: {own}, other: {other}, shift: {shift} }};\n");
        }
        Numbers::Sizes(sizes) => {
            let Sizes { from: [c_in, h_in, w_in], to: [c_out, h_out, w_out], window, groups } = *sizes;
            let Window { size: [rows, columns], stride, pad: [top, left, ..], dilation, .. } = window;
            let (end, before) = sizes.counted();
            return format!(
                "static {name}: Window = Window {{\n    c_in: {c_in},\n    h_in: {h_in},\n    w_in: {w_in},\n    c_out: {c_out},\n    \
                 h_out: {h_out},\n    w_out: {w_out},\n    rows: {rows},\n    columns: {columns},\n    stride: {stride:?},\n    \
                 pad: {:?},\n    dilation: {dilation:?},\n    groups: {groups},\n    end: {end:?},\n    before: {before},\n}};\n",
                [top, left]
            );
        }
    };
    format!("static {name}: {kind} = [{list}];\n")
}

fn prepare(pictures: &Pictures, number: &str, is_int8: bool) -> String {
    let Pictures { channels, size: (h, w), halve, crop, normalize } = *pictures;
    let order =
        if channels == 1 { "row by row" } else { "all red, then all green, then all blue, each row by row" };
    let (rows, columns) = if halve { (h / 2, w / 2) } else { (h, w) };
    let pixel = if halve {
        "{\n            let at = (plane * ROWS + 2 * y as usize) * COLUMNS + 2 * x as usize;\n            \
         let sum = [0, 1, COLUMNS, COLUMNS + 1].map(|k| u16::from(picture[at + k])).iter().sum::<u16>();\n            \
         (sum / 4) as u8\n        }"
    } else {
        "{ picture[(plane * ROWS + y as usize) * COLUMNS + x as usize] }"
    };
    let level = if is_int8 {
        "LEVEL[usize::from(p)]".to_owned()
    } else {
        format!("f32::from(p) * {:?} + {:?}", normalize.scale, normalize.shift)
    };
    format!(
        "\n/// Planes of a picture.\npub const CHANNELS: usize = {channels};\n\
         /// Rows of a picture.\npub const ROWS: usize = {h};\n\
         /// Columns of a picture.\npub const COLUMNS: usize = {w};\n\
         \n/// A picture of bytes, {order}, as the input that the model was trained on.\n\
         pub fn prepare(picture: &[u8; CHANNELS * ROWS * COLUMNS], input: &mut [{number}; INPUTS]) {{\n\
         \x20   for (at, to) in input.iter_mut().enumerate() {{\n\
         \x20       let (plane, at) = (at / {features}, at % {features});\n\
         \x20       let (y, x) = ((at / {width}) as i32 + {top}, (at % {width}) as i32 + {left});\n\
         \x20       let inside = (0..{rows}).contains(&y) && (0..{columns}).contains(&x);\n\
         \x20       let p = if inside {pixel} else {{ 0 }};\n\
         \x20       *to = {level};\n\
         \x20   }}\n}}\n",
        features = crop.features(),
        width = crop.w,
        top = crop.y,
        left = crop.x,
    )
}
