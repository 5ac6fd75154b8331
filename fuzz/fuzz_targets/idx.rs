//! Fuzzes `byhand_fuzz::idx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| byhand_fuzz::idx(bytes));
