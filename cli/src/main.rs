//! The `msglog` command: produce to, consume from and look at a durable message log.
//!
//! `args` says what can be asked, `failure` what it costs (exit codes); each command has a module.

mod args;
mod bench;
mod clean;
mod compact;
mod configure;
mod consume;
mod consumers;
mod describe;
mod failure;
mod format;
mod json;
mod migrate;
mod moment;
mod open;
mod produce;
mod progress;
mod repair;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::{EXIT_USAGE, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A help text that nobody reads to its end is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) if failure.is_closed_output() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("msglog: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::io("start the runtime", cause))?;
    let output = cli.output;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Produce(args) => Box::pin(produce::run(args, output)).await,
            Command::Consume(args) => Box::pin(consume::run(args, output)).await,
            Command::Topics(args) => describe::topics(&args, output).await,
            Command::Describe(args) => describe::describe(&args, output).await,
            Command::Configure(args) => Box::pin(configure::run(&args, output)).await,
            Command::Compact(args) => compact::run(&args, output).await,
            Command::Clean(args) => Box::pin(clean::run(&args, output)).await,
            Command::Consumers(command) => Box::pin(consumers::run(&command, output)).await,
            Command::Verify(args) => repair::verify(&args, output),
            Command::Repair(args) => repair::repair(&args, output).await,
            Command::Migrate(args) => Box::pin(migrate::run(args, output)).await,
            Command::Bench(args) => Box::pin(bench::run(&args, output)).await,
        }
    });
    // A thread may still wait for input that nobody needs any more.
    runtime.shutdown_background();
    code
}
