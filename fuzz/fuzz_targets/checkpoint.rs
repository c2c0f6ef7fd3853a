//! Runs the target `checkpoint` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| msglog_fuzz::checkpoint::run(data));
