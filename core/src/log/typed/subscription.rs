//! Typed subscriptions: streams of decoded records, from history to live.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use super::decode::Readers;
use super::record::TypedRecord;
use crate::{Msn, Result, Subscription};

/// A [`Subscription`] whose records are decoded.
///
/// A record that does not decode is given out in its place, and the stream goes on.
#[derive(Debug)]
pub struct TypedSubscription<T> {
    subscription: Subscription,
    readers: Arc<Readers<T>>,
}

impl<T> TypedSubscription<T> {
    pub(super) fn new(subscription: Subscription, readers: Arc<Readers<T>>) -> Self {
        Self { subscription, readers }
    }

    /// The smallest MSN that the next record can have.
    pub fn next_msn(&self) -> Msn {
        self.subscription.next_msn()
    }
}

impl<T> Stream for TypedSubscription<T> {
    type Item = Result<TypedRecord<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.subscription).poll_next(cx);
        next.map(|item| item.map(|read| read.map(|record| self.readers.decode(record))))
    }
}
