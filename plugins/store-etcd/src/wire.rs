//! etcd's v3 messages as its JSON gateway speaks them: keys and values in base64, whole numbers as texts, empty fields left out. Pure.
//!
//! Only what this store asks and reads; fields that it does not know are passed over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, base64 on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Bytes(text.into_bytes())
    }
}

impl Bytes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For people.
    pub fn words(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Bytes).map_err(serde::de::Error::custom)
    }
}

/// A whole number, a text on the wire.
mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What every answer begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Of the cluster of etcd servers.
    pub cluster_id: String,
    /// The store's revision.
    #[serde(with = "number")]
    pub revision: i64,
}

/// A key with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The revision of its last write, or of its removal.
    #[serde(with = "number")]
    pub mod_revision: i64,
    /// The etcd lease that it ends with; 0: none.
    #[serde(with = "number")]
    pub lease: i64,
}

/// `/v3/kv/range`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Range {
    /// The first key.
    pub key: Bytes,
    /// The key behind the last; empty: `key` alone.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
    /// As of this revision; 0: now.
    #[serde(with = "number", skip_serializing_if = "is_zero")]
    pub revision: i64,
    /// At most so many; 0: all.
    #[serde(with = "number", skip_serializing_if = "is_zero")]
    pub limit: i64,
    /// Without values.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keys_only: bool,
}

impl Range {
    /// One key.
    pub fn one(key: String) -> Range {
        Range { key: key.into(), ..Range::default() }
    }
}

/// The answer to a [`Range`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Found {
    /// The store's revision.
    pub header: Header,
    /// In the order of their keys.
    pub kvs: Vec<KeyValue>,
    /// There are more than the limit.
    pub more: bool,
}

/// A condition of a transaction.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "target")]
pub enum Compare {
    /// How often the key was written; 0: it is not there.
    #[serde(rename = "VERSION")]
    Version {
        /// The key.
        key: Bytes,
        /// "EQUAL".
        result: &'static str,
        /// The number.
        #[serde(with = "number")]
        version: i64,
    },
    /// When it was written last.
    #[serde(rename = "MOD")]
    Revision {
        /// The key.
        key: Bytes,
        /// "EQUAL".
        result: &'static str,
        /// The revision.
        #[serde(with = "number")]
        mod_revision: i64,
    },
    /// What its value is.
    #[serde(rename = "VALUE")]
    Value {
        /// The key.
        key: Bytes,
        /// "EQUAL".
        result: &'static str,
        /// The value.
        value: Bytes,
    },
}

impl Compare {
    /// There is no such key.
    pub fn absent(key: String) -> Compare {
        Compare::Version { key: key.into(), result: "EQUAL", version: 0 }
    }

    /// The key was last written at `revision`.
    pub fn unchanged(key: String, revision: i64) -> Compare {
        Compare::Revision { key: key.into(), result: "EQUAL", mod_revision: revision }
    }

    /// The key's value is `value`.
    pub fn holds(key: String, value: String) -> Compare {
        Compare::Value { key: key.into(), result: "EQUAL", value: value.into() }
    }
}

/// A step of a transaction.
#[derive(Debug, Clone, Serialize)]
pub enum Step {
    /// Writes a key.
    #[serde(rename = "request_put")]
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// The etcd lease that it ends with; 0: none.
        #[serde(with = "number", skip_serializing_if = "is_zero")]
        lease: i64,
    },
    /// Removes a key, if it is there.
    #[serde(rename = "request_delete_range")]
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Reads.
    #[serde(rename = "request_range")]
    Read(Range),
}

/// `/v3/kv/txn`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Transaction {
    /// What must be so.
    pub compare: Vec<Compare>,
    /// What is done when it is.
    pub success: Vec<Step>,
    /// What is done when it is not.
    pub failure: Vec<Step>,
}

/// The answer to a [`Transaction`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The store's revision: that of all that was written.
    pub header: Header,
    /// The conditions held.
    pub succeeded: bool,
    responses: Vec<StepAnswer>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct StepAnswer {
    response_range: Option<Found>,
}

impl Outcome {
    /// All that was read.
    pub fn read(self) -> Vec<KeyValue> {
        self.responses.into_iter().filter_map(|answer| answer.response_range).flat_map(|found| found.kvs).collect()
    }
}

/// `/v3/lease/grant`.
#[derive(Debug, Clone, Serialize)]
pub struct Grant {
    /// Seconds.
    #[serde(rename = "TTL", with = "number")]
    pub ttl: i64,
}

/// `/v3/lease/revoke` and `/v3/lease/timetolive`.
#[derive(Debug, Clone, Serialize)]
pub struct OfLease {
    /// The etcd lease.
    #[serde(rename = "ID", with = "number")]
    pub id: i64,
    /// With the keys that end with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keys: bool,
}

/// An etcd lease: the answer to a [`Grant`] and to a question for its time to live.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Granted {
    /// The etcd lease.
    #[serde(rename = "ID", with = "number")]
    pub id: i64,
    /// Seconds from now; -1: it has ended.
    #[serde(rename = "TTL", with = "number")]
    pub ttl: i64,
    /// Seconds that it was granted for.
    #[serde(rename = "grantedTTL", with = "number")]
    pub granted_ttl: i64,
    /// The keys that end with it.
    pub keys: Vec<Bytes>,
}

/// An answer that went wrong, or a watch that did.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// What etcd says.
    pub message: String,
    /// gRPC's status code.
    #[serde(alias = "grpc_code")]
    pub code: Option<i64>,
}

/// `/v3/watch`.
#[derive(Debug, Clone, Serialize)]
pub struct Watch {
    /// What to watch.
    pub create_request: WatchRange,
}

/// What to watch.
#[derive(Debug, Clone, Serialize)]
pub struct WatchRange {
    /// The first key.
    pub key: Bytes,
    /// The key behind the last.
    pub range_end: Bytes,
    /// From this revision on.
    #[serde(with = "number")]
    pub start_revision: i64,
    /// Tell the revision now and then when nothing happens.
    pub progress_notify: bool,
}

/// One line of a watch's answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Line {
    /// News.
    pub result: Option<News>,
    /// The end.
    pub error: Option<Refused>,
}

/// What a watch tells.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct News {
    /// The store's revision when it was told.
    pub header: Header,
    /// The watch begins.
    pub created: bool,
    /// The watch has ended.
    pub canceled: bool,
    /// It ended because all before this revision is forgotten.
    #[serde(with = "number")]
    pub compact_revision: i64,
    /// Why it ended.
    pub cancel_reason: String,
    /// What happened.
    pub events: Vec<Event>,
}

/// One change of one key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// "DELETE"; nothing for a write.
    #[serde(rename = "type")]
    pub kind: String,
    /// The key as it is now; of a removed one, key and revision alone.
    pub kv: KeyValue,
}

impl Event {
    /// The key was removed, or has ended.
    pub fn is_removal(&self) -> bool {
        self.kind == "DELETE"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_what_the_gateway_takes() {
        let put = Step::Put { key: "/a".to_owned().into(), value: "1".to_owned().into(), lease: 7 };
        let transaction = Transaction {
            compare: vec![Compare::absent("/a".into()), Compare::unchanged("/b".into(), 5)],
            success: vec![put, Step::Delete { key: "/c".to_owned().into() }],
            failure: vec![Step::Read(Range::one("/a".into()))],
        };
        assert_eq!(
            serde_json::to_string(&transaction).expect("JSON"),
            concat!(
                r#"{"compare":[{"target":"VERSION","key":"L2E=","result":"EQUAL","version":"0"},"#,
                r#"{"target":"MOD","key":"L2I=","result":"EQUAL","mod_revision":"5"}],"#,
                r#""success":[{"request_put":{"key":"L2E=","value":"MQ==","lease":"7"}},{"request_delete_range":{"key":"L2M="}}],"#,
                r#""failure":[{"request_range":{"key":"L2E="}}]}"#
            )
        );
    }

    #[test]
    fn answers_are_read_with_what_is_left_out() {
        let answer = r#"{"header":{"cluster_id":"148","member_id":"9","revision":"3"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"3"}}},{"response_range":{"kvs":[{"key":"L2E=","mod_revision":"3","version":"2","value":"MQ=="}],"count":"1"}}]}"#;
        let outcome: Outcome = serde_json::from_str(answer).expect("an outcome");
        assert_eq!((outcome.header.cluster_id.as_str(), outcome.header.revision, outcome.succeeded), ("148", 3, true));
        let expected = KeyValue { key: Bytes(b"/a".into()), value: Bytes(b"1".into()), mod_revision: 3, lease: 0 };
        assert_eq!(outcome.read(), [expected]);
    }

    #[test]
    fn lines_of_a_watch_are_read() {
        let line = r#"{"result":{"header":{"revision":"9"},"events":[{"type":"DELETE","kv":{"key":"L2E=","mod_revision":"9"}}]}}"#;
        let news = serde_json::from_str::<Line>(line).expect("a line").result.expect("news");
        assert!(news.events[0].is_removal() && !news.created);
        let end: Line =
            serde_json::from_str(r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}"#).expect("a line");
        assert_eq!(end.error.expect("an error").code, Some(14));
    }
}
