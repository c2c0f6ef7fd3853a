//! What fuzz targets need of the inside. Not part of the API: it changes without notice.
//!
//! Each call panics when a promise is broken.
#![expect(clippy::panic, reason = "a broken promise ends the run of a fuzz target")]

use std::path::PathBuf;

use msglog_core::store::{Access, DocumentKey, StoreUrl};
use msglog_core::{ErrorKind, Msn};

use crate::checkpoint::Checkpoint;
use crate::documents::Documents;
use crate::factory;
use crate::index::{Index, IndexSums};
use crate::io::SimFs;
use crate::segment::Extent;

/// Reads a checkpoint; what is read is written and read again as the same.
pub fn checkpoint(bytes: &[u8]) {
    let Some(read) = Checkpoint::decode(bytes) else { return };
    assert!(!read.segments.is_empty(), "a checkpoint names a segment");
    assert!(read.first_msn <= read.next_msn());
    assert_eq!(Checkpoint::decode(&read.encode()).as_ref(), Some(&read));
}

/// A checkpoint with this body behind a right magic and CRC.
pub fn checkpoint_of(body: &[u8]) -> Vec<u8> {
    Checkpoint::framed(body)
}

/// Reads the two files of an index; looks for an MSN and for a time.
pub fn index(base: u64, (offsets, times): (&[u8], &[u8]), (msn, time): (u64, i64)) {
    let (base, msn) = (Msn::new(base), Msn::new(msn));
    let sums = IndexSums::of(offsets, times);
    let Some(index) = Index::decode(base, (offsets, times), sums) else { return };
    assert_eq!(index.encode(), (offsets.to_vec(), times.to_vec()), "an index is its files");
    assert_eq!(index.encoded_len(), (offsets.len() + times.len()) as u64);
    let place = index.offset_for(msn);
    assert!(place <= index.offset_for(Msn::MAX), "a later MSN lies further back");
    assert!(index.msn_for(time) <= index.msn_for(i64::MAX), "a later time does too");
    assert!(base <= index.msn_for(time));
    // An index of the end, completed by one of the beginning, is in order as well.
    let extent = Extent { end: place, next_msn: msn.max(base), max_timestamp: time };
    let mut later = Index::behind(base, extent);
    later.complete_with(index);
    let (offsets, times) = later.encode();
    let sums = IndexSums::of(&offsets, &times);
    assert!(Index::decode(base, (&offsets, &times), sums).is_some(), "completed out of order");
    assert!(later.offset_for(msn) <= place, "what is completed covers only what lies before");
}

/// Reads the options of a URL.
pub fn url(url: &StoreUrl) {
    for access in [Access::Read, Access::Write] {
        match factory::options(url, access) {
            Ok(options) => assert!(options.check().is_ok(), "options out of range: {options:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
        }
    }
}

/// A document's file lies below the folder of documents, and names the document.
pub fn document_key(key: &DocumentKey) {
    let root = PathBuf::from("/documents");
    let fs = SimFs::new();
    let documents = Documents::new(std::sync::Arc::new(fs), root);
    let saved = documents.save(key, b"value", msglog_core::store::Expected::Absent);
    let Ok(_) = saved else { panic!("{key:?} cannot be saved: {saved:?}") };
    assert_eq!(documents.keys("").ok(), Some(vec![key.clone()]), "a key has one name");
}
