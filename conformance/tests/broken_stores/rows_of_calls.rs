//! The stores whose calls are wrong: reading, lifecycle, many at once, trim, documents.

use msglog_conformance::Status;

use crate::file_store::FileFault as F;
use crate::memory_fault::MemoryFault as M;
use crate::table::{Row, file, memory};

pub(crate) const APPENDING: &[Row] = &[
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

pub(crate) const LIFECYCLE: &[Row] = &[
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

pub(crate) const AT_ONCE: &[Row] = &[
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
    file(
        F::HandlesKeepFiles,
        "a handle keeps a file open when its store is closed",
        "concurrency/open_beside_close_leaves_nothing_half",
        "left open for 2 s",
    ),
    file(
        F::BoundsWait,
        "bounds waits for the lock that a sync holds",
        "concurrency/bounds_do_not_wait_for_the_device",
        "bounds waits for a write or sync",
    ),
    file(
        F::BlocksItsThread,
        "append and sync block the thread that polls them",
        "concurrency/calls_do_not_block_their_thread",
        "blocks the thread that polls it",
    ),
];

pub(crate) const TRIM: &[Row] = &[
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

pub(crate) const DOCUMENTS: &[Row] = &[
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
        M::VersionsComeBack,
        "the third opening hands out the versions of the second",
        "documents/versions_do_not_come_back_after_reopen",
        "of opening 3 answered an old version",
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
