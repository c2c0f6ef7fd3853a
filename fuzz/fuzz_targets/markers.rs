//! Runs the target `markers` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| msglog_fuzz::markers::run(data));
