//! What the keeper needs of a store. The plugin room implements it with WebAssembly components; tests with a map in memory.

use std::future::Future;

use twill_model::{Addresses, Lease, Prefixes};

/// Why a call to a store failed. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Try again later, with back-off.
    #[error("the store cannot be used now: {0}")]
    Retry(String),
    /// Somebody else has it: read again and choose anew.
    #[error("somebody else was first: {0}")]
    Conflict(String),
    /// It is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// The watch cannot go on from the cursor: start from `read`.
    #[error("the watch lost its place: {0}")]
    LostCursor(String),
    /// The store does not let this node do it.
    #[error("denied: {0}")]
    Denied(String),
    /// What was passed is wrong.
    #[error("invalid: {0}")]
    Invalid(String),
    /// This store cannot do it.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The plugin itself failed (trap, time, memory, nonsense); it is made anew for the next call.
    #[error("{0}")]
    Plugin(String),
}

/// The own lease with the store's token; every later write is conditional on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The lease as stored.
    pub lease: Lease,
    /// Revision or version, the store's own.
    pub token: String,
}

/// Something in the store that is not a lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oddity {
    /// Key or file.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Everything in the store at one cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSnapshot {
    /// flannel's network config, verbatim.
    pub config: Option<String>,
    /// All leases.
    pub leases: Vec<Lease>,
    /// All that is not a lease.
    pub oddities: Vec<Oddity>,
    /// Where `watch` goes on.
    pub cursor: String,
    /// Changes when the store was made anew.
    pub identity: String,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The network config is now this.
    Config(Option<String>),
    /// A lease is new or changed.
    Put(Lease),
    /// The lease of these subnets ended.
    Gone(Prefixes),
    /// Something that is not a lease appeared.
    Oddity(Oddity),
}

/// Changes since a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// In the store's order, each at least once.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub cursor: String,
}

/// What a store says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The plugin's name.
    pub name: String,
    /// Subnets come from elsewhere; `claim` ignores the candidates.
    pub assigns: bool,
    /// It can pin a subnet for a node.
    pub reserves: bool,
    /// It lies in a directory, which is empty while a share is not mounted there.
    pub directory: bool,
}

/// What the store says of this node's address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressHints {
    /// Acts like --public-ip.
    pub choose: Addresses,
    /// Replaces only what is published.
    pub overwrite: Addresses,
}

/// A store of config and leases; see the WIT interface `store-api`, whose functions these are.
pub trait Store: Send + Sync + 'static {
    /// What it can do.
    fn abilities(&self) -> Abilities;
    /// What it says of this node's address.
    fn hints(&self) -> impl Future<Output = Result<AddressHints, StoreError>> + Send;
    /// Writes the network config; `replacing` is the text it was made from.
    fn write_config(&self, config: String, replacing: Option<String>) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Everything, consistent at its cursor.
    fn read(&self) -> impl Future<Output = Result<StoreSnapshot, StoreError>> + Send;
    /// Changes since `cursor`; none after `wait_ms` milliseconds.
    fn watch(&self, cursor: String, wait_ms: u32) -> impl Future<Output = Result<Changes, StoreError>> + Send;
    /// Takes the first of `candidates` that nobody holds.
    fn claim(&self, candidates: Vec<Prefixes>, wish: Lease) -> impl Future<Output = Result<Held, StoreError>> + Send;
    /// Takes the lease that was recognised as this node's.
    fn adopt(&self, mine: Lease) -> impl Future<Output = Result<Held, StoreError>> + Send;
    /// Renews and republishes; `Conflict` says that it is no longer ours.
    fn publish(&self, mine: Held) -> impl Future<Output = Result<Held, StoreError>> + Send;
    /// The first plan is in force.
    fn ready(&self, mine: Held) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Gives the lease back.
    fn release(&self, mine: Held) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Pins a subnet for the node with the lease's public address.
    fn reserve(&self, lease: Lease) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Ends a reservation.
    fn unreserve(&self, subnets: Prefixes) -> impl Future<Output = Result<(), StoreError>> + Send;
}
