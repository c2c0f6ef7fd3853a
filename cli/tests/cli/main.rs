//! The command as its users run it: a process with arguments, streams and an exit code.
#![cfg(test)]

mod acks;
mod bad_input;
mod bench;
mod configure;
mod consume;
mod follow;
mod json;
mod kafka;
mod migrate;
mod repair;
mod retention;
mod round_trip;
mod run;
