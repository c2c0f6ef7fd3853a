//! Runs the target `url` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| msglog_fuzz::url::run(data));
