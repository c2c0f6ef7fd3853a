//! What a catalogue promises: it follows from the commits, and damage never goes unnoticed.

use bytes::Bytes;
use msglog_core::batch::{BatchBuilder, BatchOptions};
use msglog_core::store::DocumentKey;
use msglog_core::{ErrorKind, Message, Msn, RecordBatch, Timestamp};

use super::{Catalogue, Holder};
use crate::commit::{Commit, CommitHeader, Directory, Event, Run, decode_head};

fn batch(base: u64) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(Message::new("x"), Timestamp::from_millis(5)).unwrap();
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(base), -1);
    batch
}

fn bytes_of(commit: &Commit, seq: u64) -> Bytes {
    let payload = commit.payload(7, seq, 99);
    payload.into_iter().flatten().collect::<Vec<u8>>().into()
}

fn read(bytes: &Bytes) -> msglog_core::Result<(CommitHeader, Directory)> {
    let header = CommitHeader::decode(bytes)?;
    Ok((header, decode_head(&header, bytes)?))
}

fn create(id: u64) -> Event {
    Event::Create { id, name: format!("orders-{id}").parse().unwrap(), first: Msn::new(0) }
}

/// Commits that use every kind of event.
fn history() -> Vec<Commit> {
    let key = DocumentKey::parse("topics/orders").unwrap();
    let run = |base, next, offset| Run {
        base: Msn::new(base),
        next: Msn::new(next),
        max_timestamp: Timestamp::from_millis(5),
        offset,
        length: 70,
    };
    let save = |version| Event::Save { key: key.clone(), version, value: "value".into() };
    vec![
        Commit::new(&[], vec![create(1), create(2), save(1)]),
        Commit::new(&[(1, vec![batch(0), batch(1)]), (2, vec![batch(0)])], vec![]),
        Commit::new(&[(1, vec![batch(2)])], vec![Event::Trim { id: 1, start: Msn::new(1) }]),
        Commit::new(
            &[(1, vec![batch(3)])],
            vec![
                Event::Discard { key: key.clone() },
                Event::Remove { id: 2 },
                Event::Merge {
                    id: 1,
                    base: Msn::new(0),
                    nonce: 5,
                    runs: vec![run(0, 2, 0), run(2, 3, 140)],
                },
            ],
        ),
        Commit::new(&[], vec![save(2)]),
    ]
}

fn replay(mut catalogue: Catalogue, commits: &[Commit]) -> Catalogue {
    for commit in commits {
        let (header, directory) = read(&bytes_of(commit, catalogue.seq + 1)).unwrap();
        assert_eq!(directory, commit.directory, "what was written is read");
        catalogue.apply(&header, &directory).unwrap();
    }
    catalogue
}

#[test]
fn commits_read_back_lead_to_the_same_catalogue_from_any_checkpoint() {
    let history = history();
    let whole = replay(Catalogue::default(), &history);
    for cut in 0..=history.len() {
        let before = replay(Catalogue::default(), &history[..cut]);
        let checkpoint = Catalogue::decode(&before.encode()).unwrap();
        assert_eq!(checkpoint, before);
        assert_eq!(replay(checkpoint, &history[cut..]), whole, "checkpoint after {cut}");
    }
    let partition = &whole.partitions[&1];
    assert_eq!((partition.start, partition.next), (Msn::new(1), Msn::new(4)));
    let holders: Vec<_> = partition.extents.iter().map(|extent| extent.holder).collect();
    let segment = Holder::Segment { base: Msn::new(0), nonce: 5 };
    assert_eq!(holders, [segment, segment, Holder::Commit(4)]);
    assert_eq!(whole.versions, 2);
}

#[test]
fn checkpoint_damaged_or_cut_at_any_byte_is_refused() {
    let bytes = replay(Catalogue::default(), &history()).encode();
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        let error = Catalogue::decode(&damaged.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
        let error = Catalogue::decode(&bytes.slice(..at)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {at}");
    }
}

#[test]
fn checkpoint_whose_extents_have_a_gap_is_refused() {
    let whole = replay(Catalogue::default(), &history()[..2]);
    let extents = whole.partitions[&1].extents.len();
    assert!(Catalogue::decode(&whole.encode()).is_ok());
    for extent in 0..extents {
        let (mut short, mut wide) = (whole.clone(), whole.clone());
        short.partitions.get_mut(&1).unwrap().extents.remove(extent);
        let run = &mut wide.partitions.get_mut(&1).unwrap().extents[extent].run;
        run.next = run.next.plus(1);
        let mut turned = whole.clone();
        turned.partitions.get_mut(&1).unwrap().start = Msn::new(99);
        for broken in [short, wide, turned] {
            let error = Catalogue::decode(&broken.encode()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "extent {extent}");
        }
    }
}

#[test]
fn commit_behind_the_last_seq_is_refused() {
    let mut catalogue = Catalogue { seq: u64::MAX, ..Catalogue::default() };
    let (header, directory) = read(&bytes_of(&history()[0], 0)).unwrap();
    let error = catalogue.apply(&header, &directory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn merged_segment_with_a_gap_is_refused() {
    let mut catalogue = replay(Catalogue::default(), &history()[..3]);
    let run = |base, next| Run {
        base: Msn::new(base),
        next: Msn::new(next),
        max_timestamp: Timestamp::from_millis(5),
        offset: 0,
        length: 70,
    };
    let (base, runs) = (Msn::ZERO, vec![run(0, 1), run(2, 3)]);
    let commit = Commit::new(&[], vec![Event::Merge { id: 1, base, nonce: 1, runs }]);
    let (header, directory) = read(&bytes_of(&commit, 4)).unwrap();
    let error = catalogue.apply(&header, &directory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn directory_damaged_or_cut_at_any_byte_is_refused() {
    for commit in history() {
        let bytes = bytes_of(&commit, 1);
        let end = usize::try_from(read(&bytes).unwrap().0.head_bytes()).unwrap();
        for at in 0..end {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged.into()).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
            assert_eq!(read(&bytes.slice(..at)).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn dead_and_foreign_commits_are_told_apart() {
    let commits = history();
    let mut catalogue = replay(Catalogue::default(), &commits[..2]);
    let before = catalogue.clone();
    let (mut header, directory) = read(&bytes_of(&commits[2], 3)).unwrap();
    header.epoch = 6;
    catalogue.apply(&header, &directory).unwrap();
    assert_eq!(catalogue, Catalogue { seq: 3, ..before }, "of a lower epoch: passed over");
    let error = catalogue.apply(&header, &directory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "it does not follow itself");
    (header.epoch, header.seq) = (7, 4);
    let (_, gap) = read(&bytes_of(&commits[3], 4)).unwrap();
    assert_eq!(catalogue.apply(&header, &gap).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn segment_that_cuts_what_it_replaces_is_refused() {
    let catalogue = replay(Catalogue::default(), &history()[..2]);
    let length = 70;
    let max_timestamp = Timestamp::from_millis(5);
    for (base, next) in [(0, 1), (1, 2), (0, 3), (5, 6)] {
        let (base, next) = (Msn::new(base), Msn::new(next));
        let runs = vec![Run { base, next, max_timestamp, offset: 0, length }];
        let commit = Commit::new(&[], vec![Event::Merge { id: 1, base, nonce: 1, runs }]);
        let (header, directory) = read(&bytes_of(&commit, 3)).unwrap();
        let mut catalogue = catalogue.clone();
        let error = catalogue.apply(&header, &directory).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{base}..{next}");
    }
}
