//! Runs the target `index` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| msglog_fuzz::index::run(data));
