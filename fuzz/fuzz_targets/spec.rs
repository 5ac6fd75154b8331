//! Fuzzes `byhand_fuzz::spec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| byhand_fuzz::spec(bytes));
