//! Which broken store is caught by which case: the one place, run as a test and rendered as a page.

use msglog_conformance::Status;
use msglog_core::store::Ownership;

use crate::file_store::FileFault as F;
use crate::memory_fault::MemoryFault as M;

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

const fn memory(fault: M, wrong: &'static str, case: &'static str, says: &'static str) -> Row {
    Row { store: Store::Memory(fault), wrong, case, says, ends: Status::Failed }
}

const fn file(fault: F, wrong: &'static str, case: &'static str, says: &'static str) -> Row {
    let store = Store::File(fault, Ownership::Exclusive);
    Row { store, wrong, case, says, ends: Status::Failed }
}

impl Row {
    const fn ends(self, ends: Status) -> Self {
        Self { ends, ..self }
    }

    const fn taken_over(self) -> Self {
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
    ("version-is-length", "documents/versions_do_not_come_back_after_reopen"),
];

const APPENDING: &[Row] = &[
    memory(
        M::ReadsReversed,
        "a page comes newest batch first",
        "append-read/batches_come_back_in_order_and_unchanged",
        "lies before the MSN asked for",
    ),
    memory(
        M::ReadsLoseHeaders,
        "records come back without headers, with a fresh checksum",
        "append-read/batches_come_back_in_order_and_unchanged",
        "other bytes",
    ),
    memory(
        M::ReadsLastPageTwice,
        "the last batch of a page comes twice",
        "append-read/pages_cover_everything_once",
        "lies before the MSN asked for",
    ),
    memory(
        M::ShowsOnlySynced,
        "a batch is readable only after sync",
        "append-read/appended_batch_is_visible_at_once",
        "number of batches",
    ),
    memory(
        M::EmptyAppendFails,
        "an append of nothing is an error",
        "append-read/empty_append_changes_nothing",
        "nothing to append",
    ),
    memory(
        M::RestampsInstead,
        "a batch with a wrong MSN gets the next one instead of a conflict",
        "append-read/batch_that_does_not_continue_is_refused",
        "succeeded, expected conflict",
    ),
    memory(
        M::ConflictMayHaveHappened,
        "a conflict says that something may have happened",
        "append-read/batch_that_does_not_continue_is_refused",
        "effect of",
    ),
    memory(
        M::ConflictIsTransient,
        "a conflict says that the same call may succeed later",
        "append-read/batch_that_does_not_continue_is_refused",
        "trying again may help",
    ),
    memory(
        M::AppliesGoodPart,
        "of a call with a bad batch the good ones are kept",
        "append-read/call_with_one_bad_batch_applies_none",
        "next_msn",
    ),
    memory(
        M::ReadsPassHolder,
        "a read from inside a batch begins with the next one",
        "append-read/read_inside_a_batch_answers_the_whole_batch",
        "wrong batch",
    ),
    memory(
        M::ReadsFromNext,
        "a read begins one MSN too late",
        "append-read/read_from_each_msn_starts_at_its_batch",
        "wrong batch",
    ),
    memory(
        M::ReadsWrapAround,
        "a read beyond the end answers the beginning",
        "append-read/read_at_or_beyond_the_end_is_empty",
        "answered something",
    ),
    memory(
        M::ReadPanicsAtEnd,
        "a read beyond the end panics",
        "append-read/read_at_or_beyond_the_end_is_empty",
        "panicked: nothing at MSN",
    )
    .ends(Status::Crashed),
    memory(
        M::ReadAbortsAtEnd,
        "a read beyond the end ends the process",
        "append-read/read_at_or_beyond_the_end_is_empty",
        "ended its process",
    )
    .ends(Status::Crashed),
    memory(
        M::ReadHangsAtEnd,
        "a read beyond the end never returns",
        "append-read/read_at_or_beyond_the_end_is_empty",
        "not done after",
    )
    .ends(Status::TimedOut),
    memory(
        M::ReadsKeepLimitStrictly,
        "a batch larger than the limit is never answered",
        "append-read/smallest_limit_still_answers_one_batch",
        "number of batches",
    ),
    memory(
        M::ReadsIgnoreLimit,
        "a read answers everything, whatever the limit",
        "append-read/limit_is_kept_after_the_first_batch",
        "a read limited to",
    ),
    memory(
        M::StartsAtZero,
        "a partition always starts at MSN 0",
        "append-read/partition_starts_at_the_msn_it_was_created_at",
        "bounds of a partition",
    ),
    memory(
        M::StartMovesExisting,
        "opening with another start trims what is there",
        "append-read/start_is_ignored_where_the_partition_exists",
        "first_msn",
    ),
    memory(
        M::MixesPartitions,
        "partitions 1 and 10 are the same",
        "append-read/partitions_do_not_mix",
        "conflict",
    ),
    memory(
        M::DurableBeyondEnd,
        "bounds say that more is durable than there is",
        "append-read/bounds_follow_append_and_sync",
        "bounds are out of order",
    ),
    memory(
        M::SyncAnswersLess,
        "sync answers less than it covered",
        "append-read/sync_covers_what_was_appended_before",
        "what sync answered",
    ),
    memory(
        M::SyncAnswersMore,
        "sync answers more than there is",
        "append-read/sync_covers_what_was_appended_before",
        "what sync answered",
    ),
    memory(
        M::UsageIsZero,
        "usage is always zero",
        "append-read/usage_grows_with_what_is_stored",
        "bytes stayed at 0",
    ),
    memory(
        M::HoleAfterTrim,
        "what was trimmed is called a hole",
        "append-read/healthy_partition_has_no_holes",
        "holes after trim",
    ),
];

const LIFECYCLE: &[Row] = &[
    memory(
        M::ListsAsText,
        "partitions are listed as text: 10 before 2",
        "lifecycle/created_partitions_are_listed_in_order",
        "partitions",
    ),
    memory(
        M::CreatesWhatIsMissing,
        "opening what is missing makes it",
        "lifecycle/missing_partition_is_not_found_and_not_made",
        "expected not found",
    ),
    memory(
        M::CloseLosesLast,
        "close loses the newest batch",
        "lifecycle/close_makes_what_was_appended_durable",
        "number of batches",
    ),
    memory(
        M::CloseRepeatsLast,
        "close writes the newest batch again, with new MSNs",
        "lifecycle/synced_batches_survive_close",
        "more batches than were appended",
    ),
    memory(
        M::SecondCloseFails,
        "closing twice is an error",
        "lifecycle/second_close_does_nothing",
        "closed",
    ),
    memory(
        M::WorksAfterClose,
        "a closed store goes on answering",
        "lifecycle/calls_after_close_are_refused",
        "succeeded, expected closed",
    ),
    memory(
        M::RemoveKeepsBatches,
        "remove hides nothing: the batches come back",
        "lifecycle/removed_partition_starts_empty_when_created_again",
        "next_msn",
    ),
    memory(
        M::RemovesTheTopic,
        "removing one partition removes all of its topic",
        "lifecycle/removal_touches_no_other_partition",
        "not found",
    ),
    memory(
        M::RemovedHandlesLive,
        "a handle of a removed partition answers reads",
        "lifecycle/handles_of_a_removed_partition_are_closed",
        "read: succeeded",
    ),
    memory(
        M::CaseDoesNotMatter,
        "names that differ in case are the same",
        "lifecycle/names_at_the_edges_are_kept_apart",
        "conflict",
    ),
    memory(
        M::ClaimsChange,
        "what is claimed changes while the store is open",
        "lifecycle/claims_and_info_stay_the_same",
        "capabilities",
    ),
    file(
        F::LeaksFile,
        "a dropped store keeps its file open",
        "lifecycle/dropped_store_leaves_no_file_open",
        "left open for 2 s",
    ),
];

const AT_ONCE: &[Row] = &[
    memory(
        M::AppendsTornWhenDropped,
        "the end moves before the batches are there",
        "cancellation/dropped_append_leaves_no_gap",
        "after dropped appends",
    ),
    memory(
        M::SavesTornWhenDropped,
        "a save writes one half after the other",
        "cancellation/dropped_save_leaves_the_old_or_the_new_document",
        "the document is torn",
    ),
    memory(
        M::SyncNeverFreed,
        "a dropped sync is in flight for ever",
        "cancellation/dropped_sync_leaves_the_partition_usable",
        "a sync is in flight",
    ),
    memory(
        M::AnnouncesBeforeIt,
        "bounds name batches that are not there yet",
        "concurrency/readers_beside_appends_see_whole_prefixes",
        "a later read ended at",
    ),
    memory(
        M::ReadsExcludeEachOther,
        "a read holds a lock while it waits",
        "concurrency/reads_do_not_wait_for_each_other",
        "keeps other calls waiting",
    ),
    memory(
        M::OpensTwice,
        "two tasks that create a partition get one each",
        "concurrency/tasks_opening_one_partition_get_one_sequence",
        "closed",
    ),
];

const TRIM: &[Row] = &[
    memory(
        M::TrimsOneTooMany,
        "trim drops the batch that ends where it was asked to stop",
        "trim/trim_drops_nothing_at_or_above",
        "after trim before",
    ),
    memory(
        M::TrimAnswersTheArgument,
        "trim answers what it was asked, not what is left",
        "trim/trim_answers_the_first_msn_that_is_left",
        "first_msn of the bounds",
    ),
    memory(
        M::TrimKeepsAll,
        "trim drops nothing, though exact_trim is claimed",
        "trim/exact_trim_keeps_only_the_batch_that_holds_it",
        "exact trim before",
    ),
    memory(
        M::TrimIgnoresBeyond,
        "trim beyond the end drops nothing",
        "trim/trim_beyond_the_end_drops_all_there_is",
        "beyond the end",
    ),
    memory(
        M::TrimMovesBack,
        "trim answers a first MSN that lies below it",
        "trim/trim_back_changes_nothing",
        "first MSN after trim to",
    ),
    memory(
        M::TrimsAllPartitions,
        "trim reaches into other partitions",
        "trim/trim_touches_no_other_partition",
        "a neighbour",
    ),
    file(
        F::ForgetsTrims,
        "what was trimmed is there again after reopen",
        "trim/trim_survives_drop_and_reopen",
        "first_msn after reopen",
    ),
    file(
        F::ReusesMsns,
        "a partition that was trimmed empty starts again at MSN 0",
        "trim/msns_are_not_reused_after_trim_and_reopen",
        "next_msn after trim and reopen",
    ),
];

const DOCUMENTS: &[Row] = &[
    memory(
        M::DiscardsBelow,
        "discard takes what lies below the key with it",
        "documents/keys_that_extend_each_other_are_kept_apart",
        "document a/b/c",
    ),
    memory(
        M::MissingIsEmpty,
        "a missing document loads as an empty one",
        "documents/missing_document_loads_as_none",
        "a missing document",
    ),
    memory(
        M::VersionIsOneBehind,
        "load answers another version than save did",
        "documents/saved_document_loads_as_it_was_saved",
        "version",
    ),
    memory(
        M::KeysAreCut,
        "long keys are cut",
        "limits/longest_document_keys_are_kept_apart",
        "conflict",
    ),
    memory(
        M::DocumentsAreListed,
        "a document with such a name is listed as a partition",
        "documents/documents_and_partitions_do_not_mix",
        "partitions",
    ),
    memory(
        M::SaveIgnoresExpected,
        "compare-and-swap overwrites",
        "documents/stale_version_is_refused_and_changes_nothing",
        "succeeded, expected conflict",
    ),
    memory(
        M::SaveChecksLate,
        "compare and swap are two steps",
        "documents/racing_counters_lose_no_step",
        "the count after",
    ),
    memory(
        M::VersionIsLength,
        "documents of equal length have equal versions",
        "documents/every_save_has_a_version_of_its_own",
        "the version of an earlier one",
    ),
    memory(
        M::ListsOnlyFolder,
        "a prefix is taken for a folder",
        "documents/documents_are_listed_in_order_by_prefix",
        "documents with prefix `a`",
    ),
    memory(
        M::DiscardIsAlwaysTrue,
        "discard of nothing answers that it was there",
        "documents/discard_answers_whether_it_was_there",
        "nothing to discard",
    ),
    memory(
        M::DiscardIgnoresExpected,
        "discard does not look at the version",
        "documents/discard_of_a_stale_version_changes_nothing",
        "succeeded, expected conflict",
    ),
    memory(
        M::EmptyIsMissing,
        "an empty document is none",
        "documents/empty_and_binary_values_come_back",
        "document empty",
    ),
    file(
        F::LosesDocuments,
        "documents are kept in memory only",
        "documents/documents_survive_drop_and_reopen",
        "value after reopen",
    ),
];

const CLAIMS: &[Row] = &[
    memory(
        M::HidesFind,
        "find works, but is not claimed",
        "capabilities/unclaimed_find_is_unsupported",
        "succeeded, expected unsupported",
    ),
    memory(
        M::HidesReplace,
        "replace works, but is not claimed",
        "capabilities/unclaimed_replace_is_unsupported_and_changes_nothing",
        "succeeded, expected unsupported",
    ),
    memory(
        M::ClaimsReaderDocuments,
        "readers are claimed to save documents, and cannot",
        "capabilities/claimed_reader_documents_are_saved",
        "read-only",
    ),
    memory(
        M::DocumentLimitOneLess,
        "a document of exactly the limit is refused",
        "limits/largest_document_is_taken",
        "too large",
    ),
    memory(
        M::FindsTheTrimmed,
        "find answers what was trimmed",
        "optional/find_passes_over_what_was_trimmed",
        "after trim",
    ),
    memory(
        M::ClaimsTruncate,
        "truncate is claimed, but unsupported",
        "optional/truncate_drops_the_batch_that_holds_it_and_all_after",
        "unsupported",
    ),
    memory(
        M::HidesTruncate,
        "truncate works, but is not claimed",
        "capabilities/unclaimed_truncate_is_unsupported_and_changes_nothing",
        "succeeded, expected unsupported",
    ),
    memory(
        M::HidesReaders,
        "readers work beside the writer, but are not claimed",
        "capabilities/unclaimed_readers_see_nothing",
        "seen by a reader",
    ),
    memory(
        M::ClaimsMoreForAppend,
        "append is claimed to survive more than sync",
        "capabilities/claims_make_sense",
        "more than sync",
    ),
    memory(
        M::ClaimsNothingSurvives,
        "everything survives, but nothing is claimed to",
        "capabilities/unclaimed_survival_is_true",
        "though nothing is claimed",
    ),
    memory(
        M::ReaderSavesNowhere,
        "a reader's save succeeds and does nothing",
        "capabilities/unclaimed_reader_documents_are_refused",
        "succeeded, expected read-only",
    ),
    memory(
        M::BatchLimitOneLess,
        "a batch of exactly the limit is refused",
        "limits/largest_batch_is_taken",
        "too large",
    ),
    memory(
        M::BatchLimitOneMore,
        "a batch one byte beyond the limit is taken",
        "limits/batch_beyond_the_limit_is_refused",
        "succeeded, expected too large",
    ),
    memory(
        M::DocumentLimitOneMore,
        "a document one byte beyond the limit is cut and taken",
        "limits/document_beyond_the_limit_is_refused",
        "succeeded, expected too large",
    ),
    memory(
        M::FindsTheNext,
        "find passes over records of exactly the time",
        "optional/find_answers_the_first_batch_that_is_new_enough",
        "find ",
    ),
    memory(
        M::TruncateKeepsHolder,
        "truncate keeps the batch that it cuts into",
        "optional/truncate_drops_the_batch_that_holds_it_and_all_after",
        "what truncate from",
    ),
    memory(
        M::ReplacesAnything,
        "a replace that does not fit is ignored in silence",
        "optional/replace_outside_its_range_is_refused",
        "succeeded, expected invalid",
    ),
    file(
        F::LosesReplaces,
        "what was replaced is there again after reopen",
        "optional/replace_survives_reopen",
        "after reopen",
    ),
    file(
        F::NotPoisoned,
        "a failed sync is forgotten",
        "capabilities/failed_sync_poisons_until_reopen",
        "append after a failed sync",
    ),
    file(
        F::TearsWhenFull,
        "a full disk leaves half a batch behind, and appends go on after it",
        "capabilities/full_storage_is_refused_and_resumes",
        "after reopen",
    ),
];

const OWNERSHIP: &[Row] = &[
    memory(
        M::ClaimsPrivate,
        "places are claimed to be private, and are one",
        "ownership/private_places_do_not_mix",
        "locked",
    ),
    memory(
        M::LockOutlivesClose,
        "close does not let the place go",
        "ownership/place_is_free_after_close",
        "locked",
    ),
    file(
        F::TakesOverNothing,
        "a takeover starts with nothing",
        "ownership/takeover_sees_what_was_synced",
        "append at MSN",
    )
    .taken_over(),
    memory(
        M::SecondWriterGetsIn,
        "a second writer is let in",
        "ownership/second_writer_is_locked_out",
        "succeeded, expected locked",
    ),
    memory(
        M::LockOutlivesDrop,
        "the lock of a dropped store stays",
        "ownership/place_is_free_after_drop",
        "still locked",
    ),
    memory(
        M::ReaderIsAWriter,
        "a reader takes the writer's lock",
        "ownership/reader_follows_the_writer",
        "open for reading: ",
    ),
    memory(
        M::ReaderIsFrozen,
        "a reader never sees what the writer does",
        "ownership/reader_sees_documents",
        "seen by the reader",
    ),
    memory(
        M::ReaderWrites,
        "a reader's append succeeds and does nothing",
        "ownership/reader_changes_nothing",
        "succeeded, expected read-only",
    ),
    file(
        F::LocksOnlyItself,
        "the lock holds only within the process",
        "ownership/writer_in_another_process_is_locked_out",
        "in another process was told",
    ),
    file(
        F::ReaderMakesFiles,
        "opening for reading makes a file",
        "ownership/reader_of_nothing_makes_nothing",
        "opening for reading made",
    ),
    file(
        F::NotFenced,
        "a stale writer is not fenced",
        "ownership/stale_writer_is_fenced",
        "what the old writer was told",
    )
    .taken_over(),
];

const CRASHES: &[Row] = &[
    file(
        F::AcksFromBuffer,
        "sync and save are acked from a buffer of the process",
        "crash/killed_writer_keeps_what_sync_acked",
        "acked up to",
    ),
    file(
        F::SkipsBadFrames,
        "a damaged frame is passed over without a word",
        "power/torn_tail_serves_nothing_false",
        "no hole names it",
    ),
    file(
        F::BuffersAppends,
        "append is acked from a buffer of the process",
        "crash/killed_writer_keeps_what_append_acked",
        "acked up to",
    ),
    file(
        F::KeepsTornTail,
        "a torn frame is kept, and what follows it is lost",
        "power/unsynced_blocks_are_lost_in_any_mix",
        "after power loss",
    ),
    file(
        F::ChecksNothing,
        "frames are read without their checksum",
        "power/flipped_bytes_serve_nothing_false",
        "flipped at",
    ),
    file(
        F::CutsSilently,
        "everything behind a damaged frame is cut off in silence",
        "power/flipped_bytes_lose_nothing_silently",
        "lost in silence",
    ),
    file(F::NoSync, "sync does not sync", "power/sync_reaches_the_device", "not synced between"),
    file(
        F::ForgetsToSync,
        "nothing is synced before the store is opened again",
        "power/power_cut_keeps_what_was_synced",
        "after power cut",
    ),
    file(
        F::NoSaveSync,
        "save does not sync",
        "power/save_reaches_the_device",
        "not synced between",
    ),
    file(
        F::NoFolderSync,
        "the folder of a new file is not synced",
        "power/folder_of_a_new_file_is_synced",
        "the folder of journal was not synced",
    ),
];
