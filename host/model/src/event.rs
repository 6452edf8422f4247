//! Events: what happened on this node, in words and with a cause.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Worth knowing.
    Info,
    /// Something is not as it should be, and is being dealt with.
    Warn,
    /// Something is broken that twill cannot mend by itself.
    Error,
}

/// What kind of thing happened, for programs that look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The daemon started, or ended.
    Daemon,
    /// A peer's lease appeared.
    Joined,
    /// A peer's lease is gone.
    Left,
    /// A peer is reached otherwise, or renewed its lease with other data.
    Changed,
    /// This node's own lease was taken, published anew, lost or given back.
    OwnLease,
    /// The store stopped answering, or answers again.
    Store,
    /// The network config changed, or waits to be accepted.
    Config,
    /// A piece of network state vanished or changed by another hand, and was made again.
    Repair,
    /// The same, too often: it is left alone for a while.
    Contested,
    /// A piece of network state is not as planned, or is again.
    State,
    /// Something that a plugin planned, or asked for, was refused.
    Refused,
    /// A peer is reached by another way, or by none.
    Way,
    /// A path to a peer broke, or works again.
    Path,
    /// The underlay interface changed.
    Underlay,
    /// A plugin came, went, failed or was exchanged.
    Plugin,
    /// This node became ready, or ceased to be.
    Readiness,
    /// Packets were dropped.
    Drops,
    /// An operator asked for something.
    Operator,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up, over restarts of the daemon too as long as its history is kept.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How much it matters.
    pub weight: Weight,
    /// The room it comes from: "lease", "reconcile", "plugin", "fastpath", ….
    pub room: String,
    /// One sentence for people.
    pub text: String,
    /// What kind of thing happened; none where nobody sorted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What it is about: an item, a subnet, a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Why it happened, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What twill did about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// How long that took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// How a room tells what happened.
pub type Tell = Arc<dyn Fn(Weight, Told) + Send + Sync>;

/// What a room tells of something that happened: a sentence, and as much of the rest of an [`Event`] as it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// One sentence for people.
    pub text: String,
    /// What kind of thing happened.
    pub kind: Option<Kind>,
    /// What it is about.
    pub item: Option<String>,
    /// Why it happened.
    pub cause: Option<String>,
    /// What twill did about it.
    pub act: Option<String>,
    /// How long that took, in milliseconds.
    pub took_ms: Option<u64>,
}

impl Told {
    /// A sentence about a thing of this kind.
    pub fn new(kind: Kind, text: impl Into<String>) -> Told {
        Told { text: text.into(), kind: Some(kind), ..Told::default() }
    }

    /// The same about this item.
    pub fn about(self, item: impl ToString) -> Told {
        Told { item: Some(item.to_string()), ..self }
    }

    /// The same with its cause.
    pub fn because(self, cause: impl Into<String>) -> Told {
        Told { cause: Some(cause.into()), ..self }
    }

    /// The same with what twill did.
    pub fn did(self, act: impl Into<String>) -> Told {
        Told { act: Some(act.into()), ..self }
    }

    /// The same with how many milliseconds that took.
    pub fn within(self, took_ms: u64) -> Told {
        Told { took_ms: Some(took_ms), ..self }
    }

    /// The event that this becomes.
    pub fn event(self, id: u64, at_ms: u64, weight: Weight, room: &str) -> Event {
        let Told { text, kind, item, cause, act, took_ms } = self;
        Event { id, at_ms, weight, room: room.to_owned(), text, kind, item, cause, act, took_ms }
    }
}

impl From<String> for Told {
    fn from(text: String) -> Told {
        Told { text, ..Told::default() }
    }
}

impl From<&str> for Told {
    fn from(text: &str) -> Told {
        text.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_sentence_is_written_as_it_always_was() {
        let event = Told::from("The lease is renewed.").event(7, 1_000, Weight::Info, "lease");
        let text = r#"{"id":7,"at_ms":1000,"weight":"info","room":"lease","text":"The lease is renewed."}"#;
        assert_eq!(serde_json::to_string(&event).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<Event>(text).expect("an event"), event);
    }

    #[test]
    fn a_kind_of_a_later_version_is_read_as_another_one() {
        let text = r#"{"id":1,"at_ms":1,"weight":"warn","room":"x","text":"y","kind":"eclipse"}"#;
        assert_eq!(serde_json::from_str::<Event>(text).expect("an event").kind, Some(Kind::Other));
    }
}
