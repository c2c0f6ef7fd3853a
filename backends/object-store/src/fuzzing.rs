//! What fuzz targets need of the inside. Not part of the API: it changes without notice.
//!
//! Each call panics when a promise is broken.

use bytes::Bytes;
use msglog_core::store::StoreUrl;
use msglog_core::{ErrorKind, Msn, RecordBatch, Result};

use crate::catalogue::Catalogue;
use crate::commit::{Commit, CommitHeader, Directory, Event, HEADER_BYTES, decode_head};
use crate::wire::checksum;

/// The bytes of a commit object as they are, and with right CRCs.
pub fn commit(bytes: &[u8]) {
    commit_object(bytes);
    let mut mended = bytes.to_vec();
    let Some((head, directory)) = mended.split_at_mut_checked(HEADER_BYTES) else { return };
    let Some((fields, crc)) = head.split_last_chunk_mut::<4>() else { return };
    // Where the lengths and checksums of the directory lie: behind five fields of 44 bytes.
    let lengths = [directory.len().try_into().unwrap_or(u32::MAX), checksum(directory)];
    let place = fields.iter_mut().skip(44).take(8);
    place.zip(lengths.map(u32::to_be_bytes).concat()).for_each(|(to, from)| *to = from);
    crc.copy_from_slice(&checksum(fields).to_be_bytes());
    commit_object(&mended);
}

fn commit_object(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(header) = refused(CommitHeader::decode(&bytes)) else { return };
    let Ok(directory) = refused(decode_head(&header, &bytes)) else { return };
    let mut catalogue = Catalogue { seq: header.seq.wrapping_sub(1), ..Catalogue::default() };
    let _ = refused(catalogue.apply(&header, &directory));
    sane(&catalogue);
}

/// The bytes of a directory, and of one that follows it.
pub fn directory(first: &[u8], second: &[u8]) {
    let mut catalogue = Catalogue::default();
    for bytes in [first, second] {
        let bytes = Bytes::copy_from_slice(bytes);
        let Ok(directory) = refused(Directory::decode(bytes.clone())) else { return };
        assert_eq!(Directory::decode(directory.encode()).ok(), Some(directory.clone()));
        let _ = refused(catalogue.apply_own(1, &directory));
        sane(&catalogue);
    }
}

/// The bytes of a checkpoint but for its CRC, and of the directory of a commit that follows it.
pub fn checkpoint(body: &[u8], directory: &[u8]) {
    let whole = |body: &[u8]| Bytes::from([body, &checksum(body).to_be_bytes()].concat());
    let _ = refused(Catalogue::decode(&Bytes::copy_from_slice(body)));
    let Ok(mut catalogue) = refused(Catalogue::decode(&whole(body))) else { return };
    sane(&catalogue);
    assert_eq!(Catalogue::decode(&catalogue.encode()).ok(), Some(catalogue.clone()));
    let directory = Bytes::copy_from_slice(directory);
    let Ok(directory) = refused(Directory::decode(directory)) else { return };
    let _ = refused(catalogue.apply_own(catalogue.seq.wrapping_add(1), &directory));
    sane(&catalogue);
}

/// What reading and cleaning rely on.
fn sane(catalogue: &Catalogue) {
    for partition in catalogue.partitions.values() {
        assert!(partition.start <= partition.next, "{partition:?}");
        let runs = || partition.extents.iter().map(|extent| extent.run);
        assert!(runs().is_sorted_by(|a, b| a.next <= b.base), "out of order: {partition:?}");
        assert!(runs().all(|run| run.next <= partition.next), "beyond the end: {partition:?}");
        for from in [Msn::ZERO, partition.start, partition.next, Msn::MAX] {
            let first = partition.extents_from(from).first();
            assert!(first.is_none_or(|extent| extent.run.next > from));
        }
    }
    let commits = catalogue.commits_in_use();
    assert!(commits.len() <= catalogue.holders().count());
}

/// Passes on what was read; what was not is damaged, or from another version, or names nothing.
fn refused<T>(read: Result<T>) -> Result<T> {
    if let Err(error) = &read {
        let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Invalid];
        assert!(kinds.contains(&error.kind()), "{error}");
    }
    read
}

/// Reads the options of a URL.
pub fn url(url: &StoreUrl) {
    if let Err(error) = crate::url::tuning(url, &[]) {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

/// Commit objects, each with its directory alone, and the checkpoint behind them without its CRC.
///
/// # Errors
///
/// When the samples do not follow each other.
pub fn samples(batches: Vec<RecordBatch>) -> Result<(Vec<(Bytes, Bytes)>, Bytes)> {
    let name = "orders-0".parse()?;
    let key = msglog_core::store::DocumentKey::parse("topics/orders")?;
    let save = Event::Save { key: key.clone(), version: 1, value: Bytes::from_static(b"{}") };
    let commits = [
        Commit::new(&[], vec![Event::Create { id: 1, name, first: Msn::ZERO }, save]),
        Commit::new(&[(1, batches)], Vec::new()),
    ];
    let mut catalogue = Catalogue::default();
    let mut objects = Vec::new();
    for (commit, seq) in commits.iter().zip(1..) {
        catalogue.apply_own(seq, &commit.directory)?;
        let whole: Vec<u8> = commit.payload(1, seq, 7).iter().flatten().copied().collect();
        objects.push((Bytes::from(whole), commit.directory.encode()));
    }
    let runs = commits.last().map_or(Vec::new(), |commit| commit.directory.runs.clone());
    let runs = runs.into_iter().map(|(_, run)| run).collect();
    let merge = Event::Merge { id: 1, base: Msn::ZERO, nonce: 9, runs };
    let trim = Event::Trim { id: 1, start: Msn::new(2) };
    let last = Commit::new(&[], vec![merge, trim, Event::Discard { key }]);
    let whole: Vec<u8> = last.payload(2, 3, 8).iter().flatten().copied().collect();
    objects.push((Bytes::from(whole), last.directory.encode()));
    let checkpoint = catalogue.encode();
    let body = checkpoint.slice(..checkpoint.len().saturating_sub(4));
    Ok((objects, body))
}
