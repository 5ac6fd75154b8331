//! The programs in examples/ run, and what they assert holds. One binary runs them all.

macro_rules! examples {
    ($($name:ident in $path:literal)*) => {$(
        #[path = $path]
        mod $name;

        #[test]
        fn $name() {
            $name::main().unwrap();
        }
    )*};
}

examples! {
    many_classes in "../examples/many_classes.rs"
    model_file in "../examples/model_file.rs"
    own_arrays in "../examples/own_arrays.rs"
    own_batches in "../examples/own_batches.rs"
    own_layer in "../examples/own_layer.rs"
    own_loss in "../examples/own_loss.rs"
    regression in "../examples/regression.rs"
    resume in "../examples/resume.rs"
    saliency in "../examples/saliency.rs"
    training_loop in "../examples/training_loop.rs"
}
