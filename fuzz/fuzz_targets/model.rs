//! Fuzzes `byhand_fuzz::model`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| byhand_fuzz::model(bytes));
