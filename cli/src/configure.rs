//! `msglog configure`: changes what a topic keeps and whether it takes appends.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use msglog::log::Retention;
use msglog::{Log, MsgLog, Msn, TopicConfig, TopicName};

use crate::args::{Output, duration, partition_msn, store_url, topic_name};
use crate::consumers::quiet;
use crate::describe::{config_text, print_json, print_text};
use crate::failure::Failure;
use crate::open;

#[derive(Args, Debug)]
pub(crate) struct Configure {
    /// The store, e.g. fs:///var/lib/orders; must not have a writer
    #[arg(value_parser = store_url)]
    url: String,
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    /// Keep everything again, before the other options are applied
    #[arg(long)]
    keep_forever: bool,
    /// Records older than this may go: 500ms, 30s, 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,
    /// The oldest records may go as long as so many bytes stay in a partition
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Only what every consumer has committed may go
    #[arg(long)]
    committed: bool,
    /// Forget consumers that say nothing for so long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    consumers_expire: Option<Duration>,
    /// Delete the topic once it has been empty for so long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    topic_expires: Option<Duration>,
    /// Take appends again, before the other options are applied
    #[arg(long)]
    accept: bool,
    /// Refuse every append
    #[arg(long)]
    refuse: bool,
    /// Refuse appends to a partition from an MSN on; can be given several times
    #[arg(long, value_name = "PARTITION:MSN", value_parser = partition_msn)]
    refuse_at: Vec<(u32, Msn)>,
    /// Refuse the first append that would begin another segment
    #[arg(long)]
    refuse_at_segment_boundary: bool,
}

pub(crate) async fn run(args: &Configure, output: Output) -> Result<ExitCode, Failure> {
    // Nothing is created where there is no store.
    open::for_reading(&args.url).await?.0.close().await?;
    let log = open::for_writing(&args.url, quiet()).await?;
    let changed = change(&log, args).await;
    log.close().await?;
    let config = changed?;
    match output {
        Output::Json => print_json(&config)?,
        Output::Table => print_text(&config_text(&args.topic, &config))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(log: &Log, args: &Configure) -> msglog::Result<TopicConfig> {
    let topic = args.topic.as_str();
    let config = log
        .configure(topic, |config| {
            change_retention(&mut config.retention, args);
            if args.accept {
                config.admission = msglog::log::Admission::default();
            }
            config.admission.refuse |= args.refuse;
            config.admission.refuse_at.extend(args.refuse_at.iter().copied());
        })
        .await?;
    if !args.refuse_at_segment_boundary {
        return Ok(config);
    }
    log.refuse_at_segment_boundary(topic).await?;
    Ok(log.topic(topic).await?.config().as_ref().clone())
}

fn change_retention(retention: &mut Retention, args: &Configure) {
    if args.keep_forever {
        *retention = Retention::keep_forever();
    }
    retention.age = args.max_age.or(retention.age);
    retention.bytes = args.max_bytes.or(retention.bytes);
    retention.committed |= args.committed;
    retention.consumers_expire = args.consumers_expire.or(retention.consumers_expire);
    retention.topic_expires = args.topic_expires.or(retention.topic_expires);
}
