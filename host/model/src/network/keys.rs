//! The keys of a network config, as Go's JSON reader takes them: any case, the later of two spellings wins, `null` is the same as absent.
//!
//! [`Keys`] has the right JSON types and nothing more; [`Family::range`] applies flannel's rules to one address family.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{ConfigError, at};
use super::{Prefix, Range};

const KNOWN: [&str; 12] = [
    "Network",
    "IPv6Network",
    "EnableIPv4",
    "EnableIPv6",
    "EnableNFTables",
    "SubnetLen",
    "SubnetMin",
    "SubnetMax",
    "IPv6SubnetLen",
    "IPv6SubnetMin",
    "IPv6SubnetMax",
    "Backend",
];

/// What flannel calls the keys of a family, and its limits.
pub(super) struct Names {
    network: &'static str,
    len: &'static str,
    min: &'static str,
    max: &'static str,
    family: &'static str,
    example: &'static str,
    longest: u8,
    usual: u8,
}

pub(super) const V4: Names = Names {
    network: "Network",
    len: "SubnetLen",
    min: "SubnetMin",
    max: "SubnetMax",
    family: "IPv4",
    example: "10.244.0.0/16",
    longest: 30,
    usual: 24,
};

pub(super) const V6: Names = Names {
    network: "IPv6Network",
    len: "IPv6SubnetLen",
    min: "IPv6SubnetMin",
    max: "IPv6SubnetMax",
    family: "IPv6",
    example: "fd00:10:244::/48",
    longest: 126,
    usual: 64,
};

/// The raw values of one family; none where the key is absent or null.
pub(super) struct Family {
    network: Option<String>,
    len: Option<u64>,
    min: Option<String>,
    max: Option<String>,
}

/// All keys, with the right JSON types.
pub(super) struct Keys {
    pub(super) enable_v4: bool,
    pub(super) enable_v6: bool,
    pub(super) v4: Family,
    pub(super) v6: Family,
    /// Type in lower case, and the object verbatim.
    pub(super) backend: Option<(String, String)>,
}

impl Keys {
    pub(super) fn read(text: &str) -> Result<Keys, ConfigError> {
        let object = Object::read(text)?;
        object.typed("EnableNFTables", "true or false", r#""EnableNFTables": false"#, Value::as_bool)?;
        Ok(Keys {
            enable_v4: object.flag("EnableIPv4")?.unwrap_or(true),
            enable_v6: object.flag("EnableIPv6")?.unwrap_or(false),
            v4: Family::read(&object, &V4)?,
            v6: Family::read(&object, &V6)?,
            backend: object.raw("Backend").map(backend).transpose()?,
        })
    }
}

/// The top-level keys that are none of flannel's.
pub(super) fn unknown(text: &str) -> Vec<String> {
    let known = |key: &str| KNOWN.iter().any(|name| name.eq_ignore_ascii_case(key));
    Object::read(text).map(|object| object.0.into_iter().map(|(key, _)| key).filter(|key| !known(key)).collect()).unwrap_or_default()
}

fn backend(raw: &RawValue) -> Result<(String, String), ConfigError> {
    const EXAMPLE: &str = r#""Backend": {"Type": "vxlan"}"#;
    let value: Value = serde_json::from_str(raw.get())?;
    let Value::Object(map) = &value else {
        return Err(at("Backend", shown(&value), "an object", EXAMPLE));
    };
    let kind = map.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case("Type")).map(|(_, value)| value);
    let expected = "the name of a backend as a string";
    match kind {
        Some(Value::String(name)) if !name.trim().is_empty() => Ok((name.trim().to_lowercase(), raw.get().to_owned())),
        Some(other) => Err(at("Backend.Type", shown(other), expected, EXAMPLE)),
        None => Err(at("Backend.Type", "nothing", expected, EXAMPLE)),
    }
}

impl Family {
    fn read(object: &Object, names: &Names) -> Result<Family, ConfigError> {
        Ok(Family {
            network: object.text(names.network, names.example)?,
            len: object.number(names.len, names.usual)?,
            min: object.text(names.min, "10.244.16.0")?,
            max: object.text(names.max, "10.244.31.0")?,
        })
    }

    /// flannel's rules (spec: validation in etcd mode), and two that it misses: `Min` above `Max`, and a network of the other family.
    pub(super) fn range<N: Prefix>(&self, names: &Names) -> Result<Range<N>, ConfigError> {
        let network: N = self.network(names)?;
        let subnet_len = self.subnet_len(names, network)?;
        let second = network.base() + (N::around(network.base(), subnet_len).last() - network.base()) + 1;
        let min = self.bound(names, names.min, self.min.as_deref(), network, subnet_len)?.unwrap_or_else(|| N::around(second, subnet_len));
        let max = self
            .bound(names, names.max, self.max.as_deref(), network, subnet_len)?
            .unwrap_or_else(|| N::around(network.last(), subnet_len));
        if min.base() > max.base() {
            let example = format!("\"{}\": \"{}\"", names.min, address(N::around(network.base(), subnet_len)));
            return Err(at(names.min, address(min), format!("at most {}, which is {}", names.max, address(max)), example));
        }
        Ok(Range { network, subnet_len, min, max })
    }

    fn network<N: Prefix>(&self, names: &Names) -> Result<N, ConfigError> {
        let wrong = |found: String| {
            at(names.network, found, format!("an {} range in CIDR form", names.family), quoted(names.network, names.example))
        };
        let text = self.network.as_deref().ok_or_else(|| wrong("nothing".into()))?;
        let net = text.parse::<IpNet>().map_err(|_| wrong(format!("\"{text}\"")))?;
        if family(net.addr()) != N::WIDTH {
            return Err(wrong(format!("\"{text}\", which is of the other address family")));
        }
        if net.prefix_len() == 0 && number(net.addr()) == 0 {
            return Err(wrong(format!("\"{text}\", which is every address")));
        }
        Ok(N::around(number(net.addr()), net.prefix_len()))
    }

    fn subnet_len<N: Prefix>(&self, names: &Names, network: N) -> Result<u8, ConfigError> {
        let least = network.length() + 2;
        let example = format!("\"{}\": {}", names.len, least.max(names.usual).min(names.longest));
        let too_small = || format!("a range of at least four subnets, so /{} or wider", names.longest - 2);
        match self.len.filter(|len| *len != 0) {
            _ if least > names.longest => Err(at(names.network, network.to_string(), too_small(), quoted(names.network, names.example))),
            None if least <= names.usual => Ok(names.usual),
            None => Ok(least),
            Some(len) => u8::try_from(len).ok().filter(|len| (least..=names.longest).contains(len)).ok_or_else(|| {
                at(
                    names.len,
                    len.to_string(),
                    format!("{least} to {}, so that {network} holds at least four subnets", names.longest),
                    example,
                )
            }),
        }
    }

    /// `SubnetMin` or `SubnetMax`; the unspecified address is the same as absent, as it is for flannel.
    fn bound<N: Prefix>(&self, names: &Names, key: &str, text: Option<&str>, network: N, len: u8) -> Result<Option<N>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let example = quoted(key, &address(N::around(network.last(), len)));
        let wrong = |expected: String| at(key, format!("\"{text}\""), expected, example.clone());
        let found = text.parse::<IpAddr>().ok().filter(|found| family(*found) == N::WIDTH);
        let base = number(found.ok_or_else(|| wrong(format!("an {} address", names.family)))?);
        if base == 0 {
            return Ok(None);
        }
        let subnet = N::around(base, len);
        if !(network.base()..=network.last()).contains(&base) {
            return Err(wrong(format!("an address inside {} {network}", names.network)));
        }
        if subnet.base() != base {
            return Err(wrong(format!("the first address of a /{len} subnet, such as {}", address(subnet))));
        }
        Ok(Some(subnet))
    }
}

fn quoted(key: &str, value: &str) -> String {
    format!("\"{key}\": \"{value}\"")
}

fn address<N: Prefix>(subnet: N) -> String {
    subnet.to_string().split('/').next().unwrap_or_default().to_owned()
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// A JSON object with its keys as written and its values verbatim.
struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    fn read(text: &str) -> Result<Object, ConfigError> {
        let whole: &RawValue = serde_json::from_str(text)?;
        if !whole.get().starts_with('{') {
            let value: Value = serde_json::from_str(text)?;
            return Err(at("(top level)", shown(&value), "an object", r#"{"Network": "10.244.0.0/16"}"#));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        Ok(Object(reader.deserialize_map(Pairs)?))
    }

    fn raw(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, raw)| raw.as_ref())
    }

    fn typed<T>(&self, key: &str, expected: &str, example: &str, take: fn(&Value) -> Option<T>) -> Result<Option<T>, ConfigError> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        let value: Value = serde_json::from_str(raw.get())?;
        if value.is_null() {
            return Ok(None);
        }
        take(&value).map(Some).ok_or_else(|| at(key, shown(&value), expected, example))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, "true or false", &format!("\"{key}\": true"), Value::as_bool)
    }

    fn number(&self, key: &str, example: u8) -> Result<Option<u64>, ConfigError> {
        self.typed(key, "a whole number, not below 0 and without quotes", &format!("\"{key}\": {example}"), Value::as_u64)
    }

    fn text(&self, key: &str, example: &str) -> Result<Option<String>, ConfigError> {
        self.typed(key, "a string", &quoted(key, example), |value| value.as_str().map(str::to_owned))
    }
}

/// Collects the pairs of an object in their order.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

/// A JSON value as people would name it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("\"{text}\""),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}
