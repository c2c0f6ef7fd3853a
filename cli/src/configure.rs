//! `msglog configure`: a topic's configuration, changed.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use msglog::{Log, MsgLog, Rule, TopicConfig};

use crate::args::{Configure, Output};
use crate::describe;
use crate::failure::Failure;
use crate::open;

/// Changes what the options name, and shows the topic.
pub(crate) async fn run(args: &Configure, output: Output) -> Result<ExitCode, Failure> {
    check(args)?;
    let rules = args.rules.as_deref().map(read_rules).transpose()?;
    // First for reading, so that no store is created in vain.
    let (reader, _store) = open::for_reading(&args.url).await?;
    reader.describe(&args.topic).await?;
    reader.close().await?;
    drop((reader, _store));

    let log = open::for_writing(&args.url, Log::builder()).await?;
    let change = |config: &mut TopicConfig| apply(args, rules.as_deref(), config);
    let configured = log.configure(args.topic.as_str(), change).await;
    let description = log.describe(&args.topic).await;
    log.close().await?;
    configured?;
    describe::show(description?, output)
}

/// Refuses a call that names nothing to change.
fn check(args: &Configure) -> Result<(), Failure> {
    let named = [
        args.partitions.is_some(),
        args.durability.is_some(),
        args.compression.is_some(),
        args.compression_bytes_min.is_some(),
        args.linger_us.is_some(),
        args.batch_bytes_max.is_some(),
        args.rules.is_some(),
    ];
    if named.contains(&true) {
        return Ok(());
    }
    Err(Failure::Usage("at least one option that changes something is required".to_owned()))
}

fn apply(args: &Configure, rules: Option<&[Rule]>, config: &mut TopicConfig) {
    if let Some(partitions) = args.partitions {
        config.partitions = partitions;
    }
    if let Some(level) = args.durability {
        config.durability = Some(level);
    }
    if let Some(compression) = args.compression {
        let bytes_min = config.compression.bytes_min;
        config.compression = compression.with_bytes_min(bytes_min);
    }
    if let Some(bytes) = args.compression_bytes_min {
        config.compression.bytes_min = bytes;
    }
    if let Some(micros) = args.linger_us {
        config.linger = Some(Duration::from_micros(micros));
    }
    if let Some(bytes) = args.batch_bytes_max {
        config.batch_bytes_max = Some(bytes);
    }
    if let Some(rules) = rules {
        config.constraints.rules = rules.to_vec();
    }
}

fn read_rules(file: &Path) -> Result<Vec<Rule>, Failure> {
    let shown = file.display();
    let text = fs::read(file).map_err(|cause| Failure::io(format!("read {shown}"), cause))?;
    serde_json::from_slice(&text)
        .map_err(|cause| Failure::Input(format!("{shown} is no JSON array of rules: {cause}")))
}
