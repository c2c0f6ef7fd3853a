//! The partitions of an opening: opened once each, listed, removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use msglog_core::store::OpenOptions;
use msglog_core::{Error, ErrorKind, Result, TopicPartition};

use crate::sequence::Sequence;
use crate::session::Opening;
use crate::{Database, lock};

/// The partitions that are open, by name.
#[derive(Debug)]
pub(crate) struct Partitions<D: Database>(Mutex<Open<D>>);

type Open<D> = BTreeMap<TopicPartition, Arc<Sequence<D>>>;

impl<D: Database> Default for Partitions<D> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<D: Database> Opening<D> {
    pub(crate) fn open_partition(
        &self,
        name: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<Sequence<D>>> {
        let mut open = lock(&self.partitions.0);
        if let Some(there) = open.get(name)
            && !self.is_gone(there)
        {
            return Ok(Arc::clone(there));
        }
        self.catch_up()?;
        let rows = match (self.database.rows(name)?, options.create_at) {
            (Some(rows), _) => rows,
            (None, Some(first)) if !self.is_follower() => self.database.create(name, first)?,
            (None, Some(_)) => {
                let why =
                    format!("there is no partition {name}, and the store is open for reading");
                return Err(Error::new(ErrorKind::ReadOnly, why));
            }
            (None, None) => {
                let why = format!("there is no partition {name}");
                return Err(Error::new(ErrorKind::NotFound, why));
            }
        };
        let sequence = Sequence::recover(&self.database, rows)
            .map_err(|error| error.within(format_args!("partition {name}")))?;
        let sequence = Arc::new(sequence);
        open.insert(name.clone(), Arc::clone(&sequence));
        Ok(sequence)
    }

    /// Whether a follower's partition was removed by the writer.
    fn is_gone(&self, there: &Sequence<D>) -> bool {
        self.is_follower()
            && there.refresh(&self.database).is_err_and(|error| error.kind() == ErrorKind::Closed)
    }

    pub(crate) fn names(&self) -> Result<Vec<TopicPartition>> {
        self.catch_up()?;
        let mut names = self.database.partitions()?;
        names.sort();
        Ok(names)
    }

    pub(crate) fn remove(&self, name: &TopicPartition) -> Result<bool> {
        let mut open = lock(&self.partitions.0);
        let Some(rows) = self.database.rows(name)? else { return Ok(false) };
        let there = open.remove(name);
        let alone = there.as_ref().map(|there| there.end());
        self.database.remove(name, &rows)?;
        drop(alone);
        Ok(true)
    }
}
