//! SIGINT and SIGTERM: the first one asks a command to finish, the second one ends it.

use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::failure::Failure;

/// What a process answers that a signal has ended.
const EXIT_BY_SIGNAL: u8 = 128;

/// The signals of this process from now on.
#[derive(Clone, Debug)]
pub(crate) struct Signals(watch::Receiver<Option<Stop>>);

/// Which signal asked to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    Interrupt,
    Terminate,
}

impl Stop {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => EXIT_BY_SIGNAL + 2,
            Self::Terminate => EXIT_BY_SIGNAL + 15,
        }
    }
}

impl Signals {
    /// Takes the signals over; must be called within a runtime.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failed = |cause| Failure::io("listen for signals", cause);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let stop = tokio::select! {
                    _ = interrupt.recv() => Stop::Interrupt,
                    _ = terminate.recv() => Stop::Terminate,
                };
                if sender.send_replace(Some(stop)).is_some() {
                    process::exit(i32::from(stop.exit_code()));
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Waits for the first signal; answers at once when it came already.
    pub(crate) async fn stopped(&mut self) -> Stop {
        loop {
            if let Some(stop) = *self.0.borrow_and_update() {
                return stop;
            }
            if self.0.changed().await.is_err() {
                // The listener is gone with the runtime: no signal will come.
                std::future::pending::<()>().await;
            }
        }
    }
}
