//! Fuzzes `byhand_fuzz::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| byhand_fuzz::checkpoint(bytes));
