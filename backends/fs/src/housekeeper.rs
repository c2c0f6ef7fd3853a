//! The thread that does what nobody should wait for: one per store, however many partitions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use msglog_core::{Error, Result};

use crate::blocking::lock;
use crate::writer::Writer;

/// The channel to the thread; without one the asking thread does the work.
type Asking = Option<Sender<Weak<Writer>>>;

/// The housekeeping thread of a store.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    asking: Mutex<Asking>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How a partition asks for housekeeping.
#[derive(Debug)]
pub(crate) struct Tending {
    asking: Asking,
    asked: AtomicBool,
}

impl Housekeeper {
    /// Starts the thread; without `background` there is none and every partition does its own.
    pub(crate) fn start(background: bool) -> Result<Self> {
        if !background {
            return Ok(Self { asking: Mutex::default(), thread: Mutex::default() });
        }
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("msglog-fs".to_owned())
            .spawn(move || keep_house(&receiver))
            .map_err(|cause| Error::from_io("start the housekeeping thread", cause))?;
        Ok(Self { asking: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// The way for one more partition to ask.
    pub(crate) fn tending(&self) -> Tending {
        Tending { asking: lock(&self.asking).clone(), asked: AtomicBool::new(false) }
    }

    /// Ends the thread behind the work that it has begun; `writers` are those that may ask.
    pub(crate) fn stop(&self) {
        let Some(sender) = lock(&self.asking).take() else { return };
        // A partition that is gone tells the thread to end.
        let _ = sender.send(Weak::new());
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the housekeeping thread has panicked");
        }
    }
}

fn keep_house(asked: &Receiver<Weak<Writer>>) {
    // Whom to come to again, and when: one entry a partition at most.
    let mut later: Vec<(Instant, Weak<Writer>)> = Vec::new();
    loop {
        let next = later.iter().map(|(at, _)| *at).min();
        let asking = match next {
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => asked.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match asking {
            Ok(writer) if writer.strong_count() == 0 && writer.ptr_eq(&Weak::new()) => return,
            Ok(writer) => tend(&writer, &mut later),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        let due: Vec<_> = later.extract_if(.., |(at, _)| *at <= now).collect();
        due.iter().for_each(|(_, writer)| tend(writer, &mut later));
    }
}

fn tend(writer: &Weak<Writer>, later: &mut Vec<(Instant, Weak<Writer>)>) {
    later.retain(|(_, known)| !known.ptr_eq(writer));
    if let Some(open) = writer.upgrade() {
        open.tending.asked.store(false, Ordering::Release);
        later.extend(open.tend().map(|at| (at, Weak::clone(writer))));
    }
}

impl Tending {
    /// Whether a thread does the housekeeping.
    pub(crate) fn has_thread(&self) -> bool {
        self.asking.is_some()
    }

    /// Asks for housekeeping; asked already, it is not asked again.
    pub(crate) fn ask(&self, writer: &Arc<Writer>) {
        let Some(asking) = &self.asking else {
            // Without a thread nothing is put off.
            let _ = writer.tend();
            return;
        };
        if !self.asked.swap(true, Ordering::AcqRel) {
            // Without a thread the store is being closed, and that does the work.
            let _ = asking.send(Arc::downgrade(writer));
        }
    }
}
