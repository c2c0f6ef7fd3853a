//! What a store can do and survive, as a value that the log and the conformance suite check.

/// What stored bytes survive, weak to strong.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Survives {
    /// Nothing: gone with the store value.
    #[default]
    None,
    /// Closing and reopening inside this process.
    Process,
    /// The end of the process, also by `kill -9`: the operating system has the bytes.
    Os,
    /// A power cut: the device has the bytes.
    Power,
    /// The loss of this machine: another one has the bytes.
    Remote,
}

/// What happens when a second writer opens the same place.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Ownership {
    /// There is no such thing: every store value is a place of its own.
    #[default]
    Private,
    /// It is refused with `Locked` while the first one lives.
    Exclusive,
    /// It takes over; the first one's next append is `Fenced`.
    Takeover,
}

/// How a reader learns that there is more.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TailSignal {
    /// By calling `refresh` now and then.
    #[default]
    Poll,
    /// `refresh` waits until there is something new.
    Push,
}

/// What a store can do and survive; every default is the weakest.
///
/// A claimed capability is tested, and so is one that is not claimed: its call answers
/// `Unsupported` and changes nothing.
///
/// ```
/// use msglog_core::store::{Capabilities, Survives};
///
/// let mut capabilities = Capabilities::default();
/// capabilities.sync_survives = Survives::Power;
/// assert!(!capabilities.truncate);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// What a batch survives once `append` has returned.
    pub append_survives: Survives,
    /// What a batch survives once `sync` has returned; also what documents survive after `save`.
    pub sync_survives: Survives,
    /// How many `sync`s of one partition may run at the same time; at least 1.
    pub syncs_in_flight_max: usize,
    /// What happens to a second writer.
    pub ownership: Ownership,
    /// Whether other store values, in this process or another, may read beside the writer.
    pub shared_readers: bool,
    /// Whether store values open for reading may `save` and `discard` documents.
    pub shared_documents: bool,
    /// How readers beside the writer learn that there is more.
    pub tail_signal: TailSignal,
    /// `trim` keeps nothing but the batch that holds `before`.
    pub exact_trim: bool,
    /// `truncate` works.
    pub truncate: bool,
    /// `find` works.
    pub find: bool,
    /// `replace` works.
    pub replace: bool,
    /// `read_part` answers parts of every batch that is there.
    pub read_part: bool,
    /// Whether `append` and `sync` run through [`blocking`](super::blocking): the log then calls
    /// them on a thread that may wait. Changes nothing but speed.
    pub calls_block: bool,
    /// The largest encoded batch, in bytes.
    pub batch_bytes_max: usize,
    /// The largest document, in bytes.
    pub document_bytes_max: usize,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            append_survives: Survives::None,
            sync_survives: Survives::None,
            syncs_in_flight_max: 1,
            ownership: Ownership::Private,
            shared_readers: false,
            shared_documents: false,
            tail_signal: TailSignal::Poll,
            exact_trim: false,
            truncate: false,
            find: false,
            replace: false,
            read_part: false,
            calls_block: false,
            batch_bytes_max: 16 << 20,
            document_bytes_max: 1 << 20,
        }
    }
}
