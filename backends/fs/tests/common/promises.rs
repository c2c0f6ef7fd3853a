//! What a log has answered so far, and whether what it holds after a crash keeps that.

use std::collections::{BTreeMap, BTreeSet};

use msglog_core::store::{MessageStore, OpenOptions, ReadLimit};
use msglog_core::{Msn, Topic};
use msglog_fs::FsStore;

use super::harm::Harm;

/// Everything that the log has answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// MSNs with the payloads that were given them and may be there.
    pub(crate) given: BTreeSet<(u64, u64)>,
    /// Everything below was acked at `Sync`.
    pub(crate) acked: u64,
    /// The first MSN may be up to here.
    pub(crate) trimmed: u64,
    /// The last commit that was answered, and the highest that was tried.
    pub(crate) committed: u64,
    pub(crate) commit_tried: u64,
    pub(crate) payloads: u64,
    /// The newest MSN whose batch proves that all before it was synced.
    pub(crate) proof: u64,
    /// The damage that was done, once.
    pub(crate) harm: Option<Harm>,
    /// It was found at the very end, and what cannot be told from a torn tail was cut.
    pub(crate) cut: bool,
}

impl Promises {
    /// What a log that was just opened holds keeps every promise; what it calls durable is so.
    /// Answers the next MSN.
    pub(crate) async fn check(&mut self, topic: &Topic, store: &FsStore) -> u64 {
        let found = self.read_all(topic).await;
        let bounds = topic.bounds(0).await.unwrap();
        let (first, next) = (bounds.first_msn.get(), bounds.next_msn.get());
        self.find_harm(&found, next);
        assert!(next >= self.acked, "ends at {next}: {self:?}");
        assert!(first <= self.trimmed, "begins at {first}: {self:?}");
        let lost = self.harm.as_ref().map_or(0..0, |harm| harm.msns.clone());
        let expected = (first..next).filter(|msn| !lost.contains(msn));
        assert!(found.keys().copied().eq(expected), "{first}..{next} has {found:?} {self:?}");
        let partition = store.open(&super::name(), OpenOptions::existing()).await.unwrap();
        let holes = partition.holes().into_iter().map(|hole| hole.start.get()..hole.end.get());
        let holes: Vec<_> = holes.filter(|hole| hole.end > first).collect();
        let expected: Vec<_> = Some(lost).into_iter().filter(|lost| lost.end > first).collect();
        assert_eq!(holes, expected, "what is lost is reported, and nothing else: {self:?}");
        self.check_commit(topic, next).await;
        self.given = found.into_iter().collect();
        assert!(bounds.durable_msn <= bounds.next_msn, "{bounds:?}");
        self.acked = self.acked.max(bounds.durable_msn.get());
        if self.proof >= next {
            // It was lost, and proves nothing any more.
            self.proof = 0;
        }
        next
    }

    /// A proof that nothing has synced may be gone now, and what it proved is a torn tail again.
    pub(crate) fn power_was_cut(&mut self) {
        if self.proof >= self.acked {
            self.proof = 0;
        }
    }

    async fn check_commit(&mut self, topic: &Topic, next: u64) {
        let committed = topic.consumer("reader").unwrap().committed(0).await.unwrap();
        let committed = committed.map_or(0, Msn::get);
        assert!(committed >= self.committed, "commit {committed} is older: {self:?}");
        assert!(committed <= self.commit_tried, "commit {committed}: {self:?}");
        let fits = self.cut || committed <= next;
        assert!(fits, "commit {committed} is beyond the end {next}: {self:?}");
        self.committed = committed;
        self.commit_tried = self.commit_tried.max(committed);
    }

    /// Every record that is there, each one that was given its MSN.
    async fn read_all(&self, topic: &Topic) -> BTreeMap<u64, u64> {
        let (mut found, mut from) = (BTreeMap::new(), Msn::ZERO);
        loop {
            let page = topic.read(0, from, ReadLimit::bytes(2000)).await.unwrap();
            for record in &page.records {
                let payload = record.payload.as_ref().unwrap();
                let number = number_of(payload);
                let msn = record.msn.get();
                assert!(
                    self.given.contains(&(msn, number)),
                    "MSN {msn} holds payload {number}: {self:?}"
                );
                assert!(found.insert(msn, number).is_none(), "MSN {msn} twice");
            }
            if page.next_msn <= from {
                return found;
            }
            from = page.next_msn;
        }
    }

    /// After damage: what of it may be missing, now that it was looked for.
    fn find_harm(&mut self, found: &BTreeMap<u64, u64>, next: u64) {
        let Some(harm) = &mut self.harm else { return };
        if harm.is_found {
            return;
        }
        harm.is_found = true;
        let survives = found.contains_key(&harm.msns.start);
        if harm.may_be_torn && next == harm.msns.start && self.proof < harm.msns.end {
            // Nothing proves that this was synced: it is a torn tail.
            self.acked = next;
            self.cut = true;
            harm.msns = 0..0;
        } else if survives {
            harm.msns = 0..0;
        }
    }
}

/// What a payload has behind its number.
static FILLING: [u8; 512] = [b'x'; 512];

/// A payload of its own for each number, with so many bytes behind it.
pub(crate) fn payload_of(number: u64, filling: usize) -> Vec<u8> {
    [format!("{number} ").as_bytes(), &FILLING[..filling]].concat()
}

/// The number of a payload, every byte of which is as it was made.
fn number_of(payload: &[u8]) -> u64 {
    let space = payload.iter().position(|byte| *byte == b' ').unwrap();
    let (number, filling) = (&payload[..space], &payload[space + 1..]);
    assert_eq!(filling, &FILLING[..filling.len()]);
    std::str::from_utf8(number).unwrap().parse().unwrap()
}
