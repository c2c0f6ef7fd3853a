//! The conformance suite on memory that several stores are opened on.

use msglog_conformance::Fixture;
use msglog_core::store::Access;
use msglog_memory::MemoryPlace;

msglog_conformance::main! {
    name: "memory",
    open: |at: Fixture, access: Access| async move { at.shared(MemoryPlace::new).open(access) },
}
