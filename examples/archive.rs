//! cargo run --release --example archive
//!
//! Nothing goes before it is in the archive: a delete hook copies it to another store first.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::log::ArchiveHook;
use msglog::{Access, Log, LogBuilder, MsgLog, Msn, ReadLimit, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("msglog-archive-{}", std::process::id()));
    let live = format!("fs://{}?segment_bytes=4096", folder.join("live").display());
    let archive_url = format!("fs://{}", folder.join("archive").display());

    let archive = msglog::registry().open(&archive_url, Access::Write).await?;
    let builder: LogBuilder = Log::builder().delete_hook(ArchiveHook::to(archive.clone()));
    let log = msglog::open_with(&live, builder).await?;
    let orders = log.topic("orders").await?;
    for n in 0..200 {
        orders.append(format!("order {n}")).await?.ack().await?;
    }
    // By hand here; what retention trims takes the same way.
    let first = orders.trim(0, Msn::new(150)).await?;
    println!("the log begins at MSN {first}: fs trims whole segments");
    log.close().await?;
    archive.close().await?;

    // The archive is a log like any other, with the same MSNs.
    let kept = msglog::open(&archive_url).await?;
    let page = kept.topic("orders").await?.read(0, Msn::ZERO, ReadLimit::default()).await?;
    println!("the archive holds MSNs 0..{}", page.next_msn);
    assert!(page.next_msn >= first, "what is gone is archived");
    assert!(page.records.iter().zip(0..).all(|(record, n)| record.msn == Msn::new(n)));
    kept.close().await?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
