//! Stores around a store: one that fails as planned, and one that counts and times.
//!
//! ```
//! use msglog_conformance::wrap::{Call, Counters, FaultPlan, Mishap, Rule};
//! use msglog_core::{Log, MsgLog};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = FaultPlan::new();
//! plan.add(Rule::nth(Call::Sync, 2, Mishap::unavailable()));
//! let counters = Counters::new();
//! let store = counters.wrap(plan.wrap(Arc::new(msglog_memory::MemoryStore::new())));
//! let log = Log::builder().open(store).await?;
//! let orders = log.topic("orders").await?;
//! orders.append("kept").await?.ack().await?;
//! assert!(orders.append("in doubt").await?.ack().await.is_err());
//! assert_eq!(counters.of(Call::Sync).failures, 1);
//! # Ok(())
//! # }
//! ```

mod around;
mod counters;
mod faults;

pub use self::around::{Around, At, Call, Wrapped};
pub use self::counters::{CallStats, Counters, Instrumented};
pub use self::faults::{FaultPlan, FaultStore, Mishap, Rule};
