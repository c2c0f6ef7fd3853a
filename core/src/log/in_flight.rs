//! Back-pressure: how many bytes are accepted and not yet at their level.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::queue::closed;
use crate::Result;

/// Bytes that may be added to those in flight; given back unless an append takes them over.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    bytes: usize,
    /// How many were asked for.
    asked: usize,
    semaphore: &'a Arc<Semaphore>,
}

impl<'a> Admitted<'a> {
    /// Takes `asked` bytes if so many more may be in flight at this moment; more than the
    /// limit counts as the limit.
    #[inline]
    pub(super) fn now(semaphore: &'a Arc<Semaphore>, asked: usize, limit: usize) -> Option<Self> {
        let bytes = asked.min(limit);
        semaphore.try_acquire_many(permits(bytes)).ok()?.forget();
        Some(Self { bytes, asked, semaphore })
    }

    /// As [`now`](Self::now), and waits until there is room.
    pub(super) async fn of(
        semaphore: &'a Arc<Semaphore>,
        asked: usize,
        limit: usize,
    ) -> Result<Self> {
        let bytes = asked.min(limit);
        semaphore.acquire_many(permits(bytes)).await.map_err(|_| closed())?.forget();
        Ok(Self { bytes, asked, semaphore })
    }

    /// How many bytes were asked for.
    #[inline]
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// Counts as in flight with what is there already.
    #[inline]
    pub(super) fn join(mut self, in_flight: &mut Option<InFlight>) {
        let bytes = std::mem::take(&mut self.bytes);
        match in_flight {
            Some(in_flight) => in_flight.bytes += bytes,
            None => *in_flight = Some(InFlight { bytes, semaphore: Arc::clone(self.semaphore) }),
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.semaphore.add_permits(self.bytes);
        }
    }
}

/// Bytes that count as in flight until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    bytes: usize,
    semaphore: Arc<Semaphore>,
}

impl InFlight {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.bytes);
    }
}
