//! A sink that appends: for streams of messages.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::{FutureExt, Sink};

use super::ack::{Ack, Appended};
use super::config::AppendOptions;
use super::topic::Topic;
use crate::{AsMessage, Error, ErrorKind, Message, Result};

/// How many acks are awaited at most; then the oldest one is waited for before more is accepted.
const ACKS_MAX: usize = 1 << 16;

/// A [`Sink`] that appends each message to a topic.
///
/// `send` and `flush` return when every message handed in is acked at its level; `feed` returns
/// when it is accepted. Not ready while too many bytes are in flight or 65,536 acks are awaited:
/// memory is bounded. After an error, which may be that of any message not yet flushed, it accepts
/// nothing more and answers the same error. Closing it flushes it and leaves the log open; dropping
/// it forgets nothing that was accepted, only its acks.
///
/// ```
/// use futures::{SinkExt, StreamExt, stream};
/// use msglog_core::{Log, Message};
/// # use std::sync::Arc;
/// # #[tokio::main]
/// # async fn main() -> msglog_core::Result<()> {
/// # let log = Log::builder().open(Arc::new(msglog_memory::MemoryStore::new())).await?;
/// let topic = log.topic("orders").await?;
/// let orders = stream::iter(["two coffees", "a tea"]).map(|order| Ok(Message::from(order)));
/// orders.forward(topic.sink()).await?;
/// assert_eq!(topic.bounds(0).await?.next_msn.get(), 2);
/// # Ok(())
/// # }
/// ```
pub struct AppendSink {
    topic: Topic,
    options: AppendOptions,
    /// An append that waits for room.
    waiting: Option<BoxFuture<'static, Result<Appended>>>,
    acks: VecDeque<Ack>,
    /// Why nothing more is accepted.
    end: Option<Error>,
}

impl AppendSink {
    pub(super) fn new(topic: Topic, options: AppendOptions) -> Self {
        Self { topic, options, waiting: None, acks: VecDeque::new(), end: None }
    }

    /// How many messages are not known to be acked.
    pub fn unacked(&self) -> usize {
        self.acks.len() + usize::from(self.waiting.is_some())
    }

    fn check(&self) -> Result<()> {
        self.end.clone().map_or(Ok(()), Err)
    }

    fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.waiting = None;
        self.acks.clear();
        self.end = Some(error.clone());
        Err(error)
    }

    /// Takes the append that waits on, until it is accepted.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
        let appended = ready!(waiting.poll_unpin(cx));
        self.waiting = None;
        Poll::Ready(match appended {
            Ok(appended) => {
                self.acks.push_back(appended.ack());
                Ok(())
            }
            Err(error) => self.fail(error),
        })
    }

    /// Waits until at most `left` acks are awaited; takes those that are there anyway.
    fn poll_acks(&mut self, left: usize, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while let Some(ack) = self.acks.front_mut() {
            match ack.poll_unpin(cx) {
                Poll::Ready(Ok(_)) => drop(self.acks.pop_front()),
                Poll::Ready(Err(error)) => return Poll::Ready(self.fail(error)),
                Poll::Pending if self.acks.len() <= left => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<Message> for AppendSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        ready!(self.poll_waiting(cx))?;
        self.poll_acks(ACKS_MAX - 1, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<()> {
        self.check()?;
        if self.waiting.is_some() {
            return Err(Error::new(ErrorKind::Invalid, "the sink is not ready"));
        }
        // An append that has to wait has appended nothing when it is dropped.
        match self.topic.append_ref(&message.as_message(), &self.options).now_or_never() {
            Some(Ok(appended)) => self.acks.push_back(appended.ack()),
            Some(Err(error)) => return self.fail(error),
            None => {
                let (topic, options) = (self.topic.clone(), self.options);
                let append = async move { topic.append_with(message, options).await };
                self.waiting = Some(append.boxed());
            }
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        ready!(self.poll_waiting(cx))?;
        self.poll_acks(0, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.end.as_ref().is_some_and(|end| end.kind() == ErrorKind::Closed) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.as_mut().poll_flush(cx))?;
        self.end = Some(Error::new(ErrorKind::Closed, "the sink was closed"));
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for AppendSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendSink")
            .field("topic", self.topic.name())
            .field("unacked", &self.unacked())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
