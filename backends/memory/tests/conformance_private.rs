//! The conformance suite on stores that each have memory of their own.

use msglog_conformance::Fixture;
use msglog_core::store::Access;
use msglog_core::{Error, ErrorKind};
use msglog_memory::MemoryStore;

msglog_conformance::main! {
    name: "memory-private",
    open: |_: Fixture, access: Access| async move {
        match access {
            Access::Write => Ok(MemoryStore::new()),
            Access::Read => Err(Error::new(ErrorKind::NotFound, "private memory has no readers")),
        }
    },
}
