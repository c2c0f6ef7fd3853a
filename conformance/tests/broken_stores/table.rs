//! Which broken store is caught by which case: the one place, run as a test and rendered as a page.

use msglog_conformance::Status;
use msglog_core::store::Ownership;

use crate::file_store::FileFault as F;
use crate::memory_fault::MemoryFault as M;
use crate::rows_of_calls::{APPENDING, AT_ONCE, DOCUMENTS, LIFECYCLE, TRIM};
use crate::rows_of_claims::{CLAIMS, CRASHES, OWNERSHIP};

/// The store that a row is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store {
    Memory(M),
    File(F, Ownership),
}

/// A broken store, and the case that catches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The store.
    pub(crate) store: Store,
    /// What is wrong with it.
    pub(crate) wrong: &'static str,
    /// The case that must catch it.
    pub(crate) case: &'static str,
    /// Words of the failure, so that it is caught for the right reason.
    pub(crate) says: &'static str,
    /// How the case ends.
    pub(crate) ends: Status,
}

pub(crate) const fn memory(
    fault: M,
    wrong: &'static str,
    case: &'static str,
    says: &'static str,
) -> Row {
    Row { store: Store::Memory(fault), wrong, case, says, ends: Status::Failed }
}

pub(crate) const fn file(
    fault: F,
    wrong: &'static str,
    case: &'static str,
    says: &'static str,
) -> Row {
    let store = Store::File(fault, Ownership::Exclusive);
    Row { store, wrong, case, says, ends: Status::Failed }
}

impl Row {
    pub(crate) const fn ends(self, ends: Status) -> Self {
        Self { ends, ..self }
    }

    pub(crate) const fn taken_over(self) -> Self {
        match self.store {
            Store::File(fault, _) => {
                Self { store: Store::File(fault, Ownership::Takeover), ..self }
            }
            Store::Memory(_) => self,
        }
    }

    /// The name of the store in reports.
    pub(crate) fn name(&self) -> String {
        self.store.name()
    }
}

impl Store {
    /// The name, made of that of the fault: `ReadsFromNext` is `reads-from-next`.
    pub(crate) fn name(self) -> String {
        let fault = match self {
            Self::Memory(fault) => format!("{fault:?}"),
            Self::File(fault, _) => format!("{fault:?}"),
        };
        let mut name = String::new();
        for c in fault.chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        }
        match (self, fault.as_str()) {
            (Self::Memory(_), "None") => "memory".into(),
            (Self::File(_, Ownership::Takeover), "None") => "takeover".into(),
            (Self::File(..), "None") => "journal".into(),
            _ => name,
        }
    }
}

/// The stores that are right, in which nothing may be red.
pub(crate) const CORRECT: &[Store] = &[
    Store::Memory(M::None),
    Store::File(F::None, Ownership::Exclusive),
    Store::File(F::None, Ownership::Takeover),
];

/// Every broken store.
pub(crate) fn rows() -> Vec<Row> {
    [APPENDING, LIFECYCLE, AT_ONCE, TRIM, DOCUMENTS, CLAIMS, OWNERSHIP, CRASHES].concat()
}

/// Cases that no row is about, each with a store of the rows that it catches too.
pub(crate) const ALSO: &[(&str, &str)] = &[
    ("acks-from-buffer", "crash/killed_writer_leaves_whole_documents"),
    ("buffers-appends", "ownership/reader_in_another_process_follows"),
    ("creates-what-is-missing", "lifecycle/removed_partition_is_gone"),
    ("durable-beyond-end", "append-read/fresh_partition_is_empty"),
    ("durable-beyond-end", "lifecycle/bounds_survive_reopen"),
    ("empty-is-missing", "documents/any_replaces_whatever_is_there"),
    ("forgets-trims", "crash/killed_writer_keeps_its_trims"),
    ("loses-documents", "documents/discards_survive_drop_and_reopen"),
    ("reads-lose-headers", "lifecycle/hundreds_of_partitions_are_kept"),
    ("reads-reversed", "append-read/any_bytes_come_back"),
    ("reads-reversed", "append-read/partition_opened_twice_is_one_sequence"),
    ("reads-reversed", "append-read/read_below_the_start_answers_the_first_batch"),
    ("reads-reversed", "append-read/several_batches_in_one_call_are_all_there"),
    ("reads-reversed", "append-read/thousands_of_small_batches_come_back"),
    ("reads-reversed", "cancellation/dropped_append_leaves_no_gap_after_reopen"),
    ("reads-reversed", "cancellation/dropped_close_lets_the_place_go"),
    ("reads-reversed", "cancellation/dropped_open_can_be_opened_again"),
    ("reads-reversed", "cancellation/dropped_read_changes_nothing"),
    ("reads-reversed", "cancellation/dropped_trim_drops_no_more_than_asked"),
    ("reads-reversed", "concurrency/partitions_are_written_side_by_side"),
    ("reads-reversed", "concurrency/readers_beside_trims_see_no_gap"),
    ("reads-reversed", "concurrency/sync_beside_append_covers_what_came_before"),
    ("reads-reversed", "lifecycle/appends_continue_after_reopen"),
    ("reads-reversed", "lifecycle/closed_store_leaves_no_file_open"),
    ("reads-reversed", "lifecycle/many_reopens_lose_nothing"),
    ("reads-reversed", "lifecycle/removal_survives_reopen"),
    ("reads-reversed", "lifecycle/synced_batches_survive_drop"),
    ("reads-reversed", "model/random_histories_match_the_model"),
    ("reads-reversed", "optional/replace_may_leave_a_range_empty"),
    ("reads-reversed", "optional/replaced_batches_are_read_instead"),
    ("reads-reversed", "optional/truncate_at_or_beyond_the_end_changes_nothing"),
    ("reads-reversed", "optional/truncate_survives_reopen"),
    ("reads-reversed", "optional/truncated_msns_are_appended_again"),
    ("reads-reversed", "ownership/reader_outlives_its_writer"),
    ("reads-reversed", "ownership/reader_sees_trims_and_new_partitions"),
    ("reads-reversed", "ownership/readers_keep_no_writer_out"),
    ("reads-reversed", "trim/appends_continue_after_all_was_trimmed"),
    ("reads-reversed", "trim/read_below_what_was_trimmed_answers_the_next_there_is"),
    ("save-ignores-expected", "documents/absent_is_refused_once_it_is_there"),
    ("save-ignores-expected", "documents/racing_creators_have_one_winner"),
    ("save-ignores-expected", "documents/version_of_a_missing_document_is_refused"),
    ("shows-only-synced", "limits/extreme_arguments_of_read_and_trim_are_harmless"),
    ("starts-at-zero", "lifecycle/empty_partition_keeps_its_start"),
    ("sync-answers-less", "concurrency/syncs_in_flight_all_hold"),
    ("trim-answers-the-argument", "trim/trim_of_an_empty_partition_changes_nothing"),
    ("usage-is-zero", "trim/trim_frees_what_it_dropped"),
];
