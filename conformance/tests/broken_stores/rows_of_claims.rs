//! The stores whose claims are wrong: what they can do, who owns them, what a crash leaves.

use msglog_conformance::Status;

use crate::file_store::FileFault as F;
use crate::memory_fault::MemoryFault as M;
use crate::table::{Row, file, memory};

pub(crate) const CLAIMS: &[Row] = &[
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
        M::HidesParts,
        "parts of batches are answered, but not claimed",
        "capabilities/unclaimed_parts_are_none",
        "is not claimed",
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
        "claim `shared_readers`, or refuse",
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
        "claim `sync_survives` = `Process` or more",
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
    memory(
        M::PartsAreOfTheRecords,
        "a part is counted from the first record on, not from the header",
        "optional/parts_are_the_bytes_of_their_batch",
        "no bytes 0..",
    ),
    memory(
        M::PartBeyondTheEndPanics,
        "a part beyond the end of its batch is a panic",
        "optional/parts_of_what_is_not_there_do_no_harm",
        "panicked",
    )
    .ends(Status::Crashed),
    memory(
        M::PartsAreStale,
        "a part is that of what was appended, also after a replace",
        "optional/parts_of_what_was_replaced_are_the_new_ones",
        "than `read` answers",
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

pub(crate) const OWNERSHIP: &[Row] = &[
    memory(
        M::ClaimsPrivate,
        "places are claimed to be private, and are one",
        "ownership/private_places_do_not_mix",
        "claim `ownership` = `Exclusive`",
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

pub(crate) const CRASHES: &[Row] = &[
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
        F::ChecksNoDocuments,
        "documents are read without their checksum",
        "power/flipped_bytes_serve_nothing_false",
        "is served with other bytes",
    ),
    file(
        F::SkipsBadDocuments,
        "a damaged document is taken for one that was never saved",
        "power/flipped_bytes_lose_nothing_silently",
        "documents are lost in silence",
    ),
    file(
        F::DamageIsUnavailable,
        "damage is called a passing trouble",
        "power/torn_tail_serves_nothing_false",
        "damage is answered with",
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
        F::CloseNoSync,
        "close does not sync",
        "power/close_reaches_the_device",
        "not synced between",
    ),
    file(
        F::TrimNoSync,
        "trim does not sync",
        "power/trim_reaches_the_device",
        "nothing was durable",
    ),
    file(
        F::DiscardNoSync,
        "discard does not sync",
        "power/discard_reaches_the_device",
        "nothing was durable",
    ),
    file(
        F::NoFolderSync,
        "the folder of a new file is not synced",
        "power/folder_of_a_new_file_is_synced",
        "the folder of journal was not synced",
    ),
];
