//! The layer-spec grammar: what it reads, how it prints, and what it says to a mistake.

use byhand_layers::{Layer, Padding, Scalar, Shape};
use byhand_models::kinds::{DefaultValue, Form, Value};
use byhand_models::{BranchKind, LayerKind, Spec};
use proptest::prelude::*;

const IMAGE: Shape = Shape::new(1, 28, 28);

#[test]
fn every_spelling_prints_as_the_shortest() {
    let spellings = [
        ("conv(8,3)", "conv(8,3)"),
        (" \t conv( 8 , 3 )\n", "conv(8,3)"),
        ("conv(16,5,pad=2,stride=1)", "conv(16,5,pad=2)"),
        ("conv(16,5,2,1)", "conv(16,5,stride=2,pad=1)"),
        ("conv(kernel=3x5, channels=4, pad=1x2)", "conv(4,3x5,pad=1x2)"),
        ("conv(4,3,bias=false)", "conv(4,3,bias=false)"),
        ("pool(2,2)", "pool(2)"),
        ("conv(4,3,pad=1x1x1x1) conv(4,3,pad=0x1x0x1)", "conv(4,3,pad=1) conv(4,3,pad=0x1)"),
        ("conv(4,2,pad=0x0x1x1,dilation=1x1,groups=1)", "conv(4,2,pad=0x0x1x1)"),
        ("conv(4,3,dilation=2,pad=same,groups=4)", "conv(4,3,pad=same,dilation=2,groups=4)"),
        ("pool(3,2,1,true,dilation=2x1)", "pool(3,stride=2,pad=1,ceil=true,dilation=2x1)"),
        ("avgpool(3,count_pad=true,pad=same_lower)", "avgpool(3,pad=same_lower)"),
        ("avgpool(3,pad=1,count_pad=false,ceil=false)", "avgpool(3,pad=1,count_pad=false)"),
        ("pool(3,stride=2)", "pool(3,stride=2)"),
        ("pool(2x3) avgpool(2x2,stride=2x1)", "pool(2x3) avgpool(2,stride=2x1)"),
        ("relu() tanh sigmoid linear flatten", "relu tanh sigmoid linear flatten"),
        ("dense(10,true) dense(10,bias=false)", "dense(10) dense(10,bias=false)"),
        ("dropout(0.50)", "dropout(0.5)"),
        ("batchnorm(1e-5,0.1) batchnorm(momentum=0.2)", "batchnorm batchnorm(momentum=0.2)"),
        ("leaky_relu(0.01) leaky_relu(0.20)", "leaky_relu leaky_relu(slope=0.2)"),
        ("residual( conv(4,3, pad=1) batchnorm )", "residual(conv(4,3,pad=1) batchnorm)"),
        ("residual(relu|tanh) relu", "residual(relu | tanh) relu"),
        (
            "concat(linear|residual(relu)|concat(relu  relu | tanh))",
            "concat(linear | residual(relu) | concat(relu relu | tanh))",
        ),
    ];
    for (text, shortest) in spellings {
        let spec = Spec::parse(text).unwrap_or_else(|error| panic!("{}", error.diagram()));
        assert_eq!(spec.to_string(), shortest);
        assert_eq!(Spec::parse(shortest).unwrap(), spec);
    }
}

#[test]
fn mistakes_are_answered_with_the_place_and_what_was_expected() {
    let branches = BranchKind::<f32>::ALL.iter().map(|kind| kind.name);
    let names: Vec<_> = LayerKind::<f32>::ALL.iter().map(|kind| kind.name).chain(branches).collect();
    let layers = format!("({})", names.join(", "));
    const RESIDUAL: &str = "residual(layers) or residual(layers | shortcut)";
    const CONCAT: &str = "concat(layers | layers | ...)";
    const CONV: &str = "conv(channels, kernel, stride=1, pad=0, bias=true, dilation=1, groups=1)";
    const PADDING: &str = "a whole number from 0 to 255, two as HEIGHTxWIDTH, four as TOPxLEFTxBOTTOMxRIGHT, same, or same_lower";
    let pair = "a whole number from 1 to 255, or two as HEIGHTxWIDTH";
    let mistakes = [
        ("", "byte 0, \"\": no layers; expected some, with blanks between them, such as \"conv(8,5) relu pool(2) dense(10)\"".into()),
        ("relu pol(2)", format!("byte 5, \"pol\": no layer has this name; did you mean \"pool\"? {layers}")),
        ("Conv(8,5)", format!("byte 0, \"Conv\": no layer has this name; did you mean \"conv\"? {layers}")),
        ("softmax", format!("byte 0, \"softmax\": no layer has this name; did you mean \"log_softmax\"? {layers}")),
        ("conv(8,5", "byte 0, \"conv(8,5\": expected \")\" after the arguments".into()),
        ("conv (8,5)", format!("byte 0, \"conv\": channels is missing; expected {CONV}")),
        ("relu, relu", "byte 4, \",\": expected a blank between two layers".into()),
        ("relu() (2)", "byte 7, \"(\": expected the name of a layer".into()),
        ("relu()relu", "byte 6, \"r\": expected a blank between two layers".into()),
        ("conv(8)", format!("byte 0, \"conv(8)\": kernel is missing; expected {CONV}")),
        ("conv(8,5,1,0,true,1,1,9)", format!("byte 22, \"9\": one argument too many; expected {CONV}")),
        ("conv(8,3,pad=1x2x3)", format!("byte 9, \"pad=1x2x3\": pad must be {PADDING}; in {CONV}")),
        ("conv(8,3,pad=Same)", format!("byte 9, \"pad=Same\": pad must be {PADDING}; in {CONV}")),
        ("conv(8,3,pad=samex1)", format!("byte 9, \"pad=samex1\": pad must be {PADDING}; in {CONV}")),
        ("conv(8,3,pad=256)", format!("byte 9, \"pad=256\": pad must be {PADDING}; in {CONV}")),
        ("conv(8,3,groups=0)", format!("byte 9, \"groups=0\": groups must be a whole number from 1 to 65536; in {CONV}")),
        ("pool(2,count_pad=true)", "byte 7, \"count_pad\": pool has no parameter of this name; \
            expected pool(window, stride=window, pad=0, ceil=false, dilation=1)".into()),
        ("conv(8,five)", format!("byte 7, \"five\": kernel must be {pair}; in {CONV}")),
        ("conv(8,0)", format!("byte 7, \"0\": kernel must be {pair}; in {CONV}")),
        ("conv(8,3x)", format!("byte 7, \"3x\": kernel must be {pair}; in {CONV}")),
        ("conv(8,3,stride=99999999999999999999)", format!("byte 9, \"stride=99999999999999999999\": stride must be {pair}; in {CONV}")),
        ("conv(8,,3)", format!("byte 7, \"\": kernel must be {pair}; in {CONV}")),
        ("conv(-8,3)", format!("byte 5, \"-8\": channels must be a whole number from 1 to 65536; in {CONV}")),
        ("conv(8,3,pda=1)", format!("byte 9, \"pda\": conv has no parameter of this name; did you mean \"pad\"?; expected {CONV}")),
        ("conv(8,kernel=3,1)", format!("byte 16, \"1\": an argument without a name after one with a name; expected {CONV}")),
        ("conv(8,3,kernel=5)", format!("byte 9, \"kernel=5\": kernel is given twice; expected {CONV}")),
        ("relu(1)", "byte 5, \"1\": one argument too many; expected relu".into()),
        ("dense(10,bias=no)", "byte 9, \"bias=no\": bias must be true or false; in dense(outputs, bias=true)".into()),
        ("residual", format!("byte 0, \"residual\": residual with 0 branches; expected {RESIDUAL}")),
        ("relu residual()", format!("byte 13, \"()\": a branch without layers; linear is the input itself; expected {RESIDUAL}")),
        ("residual(relu | )", format!("byte 14, \"| )\": a branch without layers; linear is the input itself; expected {RESIDUAL}")),
        ("concat(|relu)", format!("byte 6, \"(|\": a branch without layers; linear is the input itself; expected {CONCAT}")),
        ("concat(relu)", format!("byte 0, \"concat(relu)\": concat with 1 branches; expected {CONCAT}")),
        ("relu residual(relu | relu | relu)", format!("byte 5, \"residual(relu | relu | relu)\": residual with 3 branches; expected {RESIDUAL}")),
        ("relu | relu", "byte 5, \"|\": expected the name of a layer; \"|\" stands between the branches of residual(...) and concat(...)".into()),
        ("concat(relu | relu", "byte 0, \"concat(relu | relu\": expected \")\" after the branches".into()),
        ("residual(conv(8,5)", "byte 0, \"residual(conv(8,5)\": expected \")\" after the branches".into()),
        ("residual(relu))", "byte 14, \")\": expected a blank between two layers".into()),
        ("residual(relu)relu", "byte 14, \"r\": expected a blank between two layers".into()),
        ("concat(relu | conv(8,3 | relu)", format!("byte 21, \"3 | relu\": kernel must be {pair}; in {CONV}")),
        ("concat(relu | residual(rleu))", format!("byte 23, \"rleu\": no layer has this name; did you mean \"relu\"? {layers}")),
        ("residul(relu)", format!("byte 0, \"residul\": no layer has this name; did you mean \"residual\"? {layers}")),
        ("dropout(1)", "byte 8, \"1\": p must be a number of at least 0 and less than 1; in dropout(p)".into()),
        ("dropout(NaN)", "byte 8, \"NaN\": p must be a number of at least 0 and less than 1; in dropout(p)".into()),
    ];
    for (text, message) in mistakes {
        let error = Spec::parse(text).expect_err(text);
        assert_eq!(error.to_string(), format!("layer spec, {message}"));
    }
}

#[test]
fn layers_that_do_not_fit_are_pointed_at() {
    let error = Spec::parse("conv(8,5) relu pool(50) dense(10)").unwrap().build::<f32>(IMAGE).unwrap_err();
    assert_eq!(error.at(), 15..23);
    let message = error.to_string();
    assert!(message.starts_with("layer spec, byte 15, \"pool(50)\": "), "{message}");
    assert!(message.contains("50") && message.contains("24"), "{message}");
    assert!(error.diagram().starts_with("conv(8,5) relu pool(50) dense(10)\n               ^^^^^^^^\n"));
    for (text, at, what) in [
        ("pool(2,pad=2)", 0..13, "padding must be smaller than the window"),
        ("conv(4,3) conv(6,3,groups=3)", 10..28, "groups must be a number that divides"),
        ("conv(4,3,dilation=14)", 0..21, "a window of 29 rows in an input of 28 rows"),
        ("avgpool(3,pad=0x0x3x0)", 0..22, "found padding 3 for a window of 3 rows"),
    ] {
        let error = Spec::parse(text).unwrap().build::<f32>(IMAGE).unwrap_err();
        assert_eq!(error.at(), at, "{text}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn branches_that_do_not_fit_are_pointed_at() {
    let refused = |text: &str| Spec::parse(text).unwrap().build::<f32>(IMAGE).unwrap_err();
    let error = refused("conv(8,3) residual(conv(8,3,pad=1) pool(50) | conv(8,1)) dense(10)");
    assert_eq!(error.at(), 35..43);
    assert!(
        error.diagram().contains("\n                                   ^^^^^^^^\n"),
        "{}",
        error.diagram()
    );
    let error = refused("conv(8,3,pad=1) residual(conv(16,3,stride=2,pad=1) batchnorm) dense(10)");
    assert_eq!(
        error.to_string(),
        "layer spec, byte 16, \"residual(conv(16,3,stride=2,pad=1) batch...\": residual: expected branch 2 to give 16x14x14, as the \
         main branch gives (\"|\" and a shortcut behind it, such as conv(16,1,stride=2)), found 8x28x28, the input itself"
    );
    let error = refused("concat(conv(8,3) | pool(2))");
    let expected = "concat: expected branch 2 to give 26x26 pixels, as the first gives, found 1x14x14";
    assert!(error.to_string().ends_with(expected), "{error}");
    let error = refused("conv(8,28) concat(relu | dense(4))");
    let expected = "expected branch 2 to give an image, as the first does (flatten makes features of an image), found features";
    assert!(error.to_string().ends_with(expected), "{error}");
    let error = refused("residual(conv(65536,1) conv(1,1))");
    assert_eq!(error.at(), 9..22);
}

#[test]
fn branches_have_the_names_of_modules() {
    let text = "conv(4,3,pad=1) residual(conv(4,3,pad=1) batchnorm | conv(4,1)) concat(globalavgpool dense(3) | dense(2)) dense(2)";
    let network = Spec::parse(text).unwrap().build::<f32>(IMAGE).unwrap();
    let names: Vec<_> =
        network.params().iter().map(|tensor| (tensor.layer, &*tensor.name, tensor.layer_name)).collect();
    let of_conv =
        [(1, "1.main.0.weight", "conv"), (1, "1.main.0.bias", "conv"), (1, "1.main.1.weight", "batchnorm")];
    assert_eq!(names[2..5], of_conv);
    let of_dense = [(2, "2.0.2.weight", "dense"), (2, "2.0.2.bias", "dense"), (2, "2.1.1.weight", "dense")];
    assert_eq!(names[10..13], of_dense);
    assert_eq!(names[14].1, "3.weight");
    let specs: Vec<_> = network.layers().iter().map(|layer| layer.spec()).collect();
    assert_eq!(
        specs.join(" "),
        text.replace("globalavgpool dense", "globalavgpool flatten dense")
            .replace("| dense", "| flatten dense")
    );
    let rows: Vec<_> =
        network.summary().rows.iter().map(|row| format!("{} {}", row.name, row.spec)).collect();
    assert_eq!(
        rows[1..5],
        ["1.main.0 conv(4,3,pad=1)", "1.main.1 batchnorm", "1.shortcut.0 conv(4,1)", "1 residual"]
    );
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    let refused = |text: &str, input: Shape, reason: &str| {
        let message = Spec::parse(text).unwrap().build::<f32>(input).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    };
    refused(
        "conv(65536,1)",
        IMAGE,
        "its output is 65536x28x28, 51380224 values a sample; expected 1 to 4194304",
    );
    refused("relu", Shape::new(usize::MAX, 3, 3), "the input is");
    refused("relu", Shape::new(0, 3, 3), "0 values a sample");
    refused(
        "dense(65536) dense(4000)",
        IMAGE,
        "313593760 parameters up to this layer; expected at most 268435456",
    );
    let nested = |depth: usize| format!("{}relu{}", "residual(".repeat(depth), ")".repeat(depth));
    assert!(Spec::parse(&nested(16)).unwrap().build::<f32>(IMAGE).is_ok());
    for depth in [17, 100_000] {
        let message = Spec::parse(&nested(depth)).unwrap_err().to_string();
        assert_eq!(
            message,
            "layer spec, byte 144, \"residual\": expected branches inside of at most 16 others, found more"
        );
    }
    let message = Spec::parse(&format!("concat(relu | {})", "relu ".repeat(1001))).unwrap_err().to_string();
    assert!(message.ends_with("expected at most 1000 layers, found more"), "{message}");
    let message = Spec::parse(&"relu ".repeat(1001)).unwrap_err().to_string();
    assert_eq!(message, "layer spec, byte 5000, \"relu\": expected at most 1000 layers, found more");
}

#[test]
fn indices_are_those_of_sequential() {
    let names = |text: &str, input: Shape| {
        let network = Spec::parse(text).unwrap().build::<f32>(input).unwrap();
        let names: Vec<_> = network.params().iter().map(|tensor| tensor.name.clone()).collect();
        names.join(" ")
    };
    assert_eq!(names("conv(8,3) pool(2) dense(10)", IMAGE), "0.weight 0.bias 3.weight 3.bias");
    assert_eq!(names("conv(8,3) pool(2) flatten dense(10)", IMAGE), "0.weight 0.bias 3.weight 3.bias");
    assert_eq!(names("dense(4) relu dense(2,bias=false)", IMAGE), "1.weight 1.bias 3.weight");
    assert_eq!(names("dense(4) relu dense(2)", Shape::flat(784)), "0.weight 0.bias 2.weight 2.bias");
    // An image of one pixel is still an image to nn.Linear.
    assert_eq!(names("conv(8,28) relu dense(2)", IMAGE), "0.weight 0.bias 3.weight 3.bias");
}

#[test]
fn the_classes_can_be_changed() {
    let spec = Spec::parse("dense(50) relu dense(10,bias=false) linear").unwrap();
    assert_eq!(spec.classes(), Some(10));
    assert_eq!(spec.with_classes(5).unwrap().to_string(), "dense(50) relu dense(5,bias=false) linear");
    let zero = spec.with_classes(0).unwrap_err().to_string();
    assert!(zero.contains("outputs must be a whole number from 1 to 65536"), "{zero}");
    let none = Spec::parse("conv(8,5) relu").unwrap().with_classes(3).unwrap_err().to_string();
    assert!(none.contains("no dense layer to give 3 outputs"), "{none}");
}

#[test]
fn every_row_of_the_table_builds_and_its_layer_spells_itself_the_same() {
    let mut rows: Vec<_> = LayerKind::<f32>::ALL.iter().map(|kind| kind.name).collect();
    for kind in LayerKind::<f32>::ALL {
        for value in ["2", "3"] {
            let arguments: Vec<_> = kind
                .parameters
                .iter()
                .filter(|parameter| matches!(parameter.default, DefaultValue::Required))
                .map(|parameter| if parameter.form == Form::Fraction { "0.25" } else { value })
                .collect();
            let text = format!("{}({})", kind.name, arguments.join(","));
            let spec = Spec::parse(&text).unwrap();
            same_token::<f32>(&spec);
            same_token::<f64>(&spec);
        }
    }
    for (kind, text) in BranchKind::<f32>::ALL.iter().zip(["residual(relu)", "concat(relu | linear)"]) {
        same_token::<f64>(&Spec::parse(text).unwrap());
        rows.push(kind.name);
    }
    let mut layers = byhand_layers::LAYERS.to_vec();
    rows.sort_unstable();
    layers.sort_unstable();
    assert_eq!(rows, layers, "the table and the layers of byhand-layers");
}

#[test]
fn options_reach_the_layers_and_come_back() {
    for text in [
        "conv(4,3x5,stride=2x1,pad=1x2,bias=false)",
        "pool(3x2,stride=2)",
        "avgpool(3,stride=1x2)",
        "conv(4,3x2,pad=1x0x2x1,bias=false,dilation=2x3)",
        "conv(4,3,stride=2,pad=same,groups=2)",
        "pool(3,stride=2,pad=1,ceil=true)",
        "pool(2,pad=0x1x1x0,dilation=2)",
        "avgpool(3,stride=2,pad=same_lower,ceil=true,dilation=1x2,count_pad=false)",
        "dense(7,bias=false)",
        "residual(conv(4,3,stride=2,pad=1) batchnorm | conv(4,1,stride=2))",
        "concat(linear | residual(relu) | conv(3,1,bias=false))",
    ] {
        same_token::<f32>(&Spec::parse(text).unwrap());
    }
}

/// The layer that the one token of `spec` builds says of itself what the token said.
fn same_token<T: Scalar>(spec: &Spec) {
    let network = spec.build::<T>(Shape::new(2, 13, 17)).unwrap();
    let layer: &dyn Layer<T> = &**network.layers().last().unwrap();
    assert_eq!(Spec::parse(&layer.spec()).unwrap(), *spec, "{layer:?}");
}

proptest! {
    #[test]
    fn no_string_is_too_much(text in ".{0,60}") {
        read(&text);
    }

    #[test]
    fn nothing_near_the_grammar_is_too_much(
        words in prop::collection::vec("(conv|pool|dense|relu|dropout|cnov|é|)([(]|)([0-9]{1,22}|x|=|,|pad=|kernel=|true|[)]| |\u{3000}|\t){0,8}([)]|)", 0..6),
        blank in "[ ]?",
    ) {
        read(&words.join(&blank));
    }

    #[test]
    fn any_spec_prints_and_reads_the_same(tokens in prop::collection::vec(any_token(), 1..12)) {
        let text = tokens.join(" ");
        let spec = Spec::parse(&text).unwrap();
        let printed = spec.to_string();
        prop_assert_eq!(Spec::parse(&printed).unwrap(), spec);
        prop_assert!(printed.len() <= text.len());
        read(&text);
    }
}

/// Reads and builds, and has every error printed: nothing may panic.
fn read(text: &str) {
    let error = match Spec::parse(text) {
        Ok(spec) => match spec.build::<f32>(IMAGE) {
            Ok(_) => return,
            Err(error) => error,
        },
        Err(error) => error,
    };
    assert!(!error.to_string().contains('\n'));
    assert_eq!(error.diagram().lines().count(), 3);
    assert!(error.at().end <= text.len());
}

/// A layer with all its parameters written out by name.
fn any_token() -> impl Strategy<Value = String> {
    (
        0..LayerKind::<f32>::ALL.len(),
        prop::collection::vec((1usize..9, 1usize..9, any::<bool>(), 0.0..1.0f64), 7),
    )
        .prop_map(|(kind, numbers)| {
            let kind = &LayerKind::<f32>::ALL[kind];
            let arguments: Vec<_> = kind
                .parameters
                .iter()
                .zip(numbers)
                .map(|(parameter, (h, w, flag, fraction))| {
                    let value = match parameter.form {
                        Form::Count => Value::Count(h),
                        Form::Extent(_) => Value::Extent([h, w]),
                        Form::Padding if flag => Value::Padding(Padding::Sides([h, w, w, h])),
                        Form::Padding => Value::Padding([Padding::Same, Padding::SameLower][h % 2]),
                        Form::Flag => Value::Flag(flag),
                        Form::Fraction => Value::Fraction(fraction),
                    };
                    format!("{}={value}", parameter.name)
                })
                .collect();
            format!("{}({})", kind.name, arguments.join(","))
        })
}
