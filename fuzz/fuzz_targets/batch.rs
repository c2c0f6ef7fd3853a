//! Runs the target `batch` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| msglog_fuzz::batch::run(data));
