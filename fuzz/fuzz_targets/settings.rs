//! Fuzzes `byhand_fuzz::settings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| byhand_fuzz::settings(bytes));
