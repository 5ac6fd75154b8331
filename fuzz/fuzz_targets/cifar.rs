//! Fuzzes `byhand_fuzz::cifar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| byhand_fuzz::cifar(bytes));
