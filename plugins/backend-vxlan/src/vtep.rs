//! What a node publishes of its VXLAN end: flannel's BackendData, and the MAC address in it.
//!
//! flannel reads its own MAC back from this text by splitting it, so its shape is fixed to the byte: the MAC last and the only string. A MAC is
//! kept over restarts and take-overs, since every peer has it in a forwarding entry.

use twill_guest::backend::{Refusal, Way};
use twill_guest::family::Family;
use twill_guest::options::Options;

/// A node's end of the VXLAN: network identifier and Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vtep {
    /// Network identifier; none where the data do not say it.
    pub vni: Option<u32>,
    /// Ethernet address, lower case with colons.
    pub mac: String,
}

impl Vtep {
    /// Reads what a way publishes for `family`; none when it publishes nothing.
    pub fn read(family: Family, way: &Way) -> Result<Option<Vtep>, Refusal> {
        let field = family.pick("BackendData", "BackendV6Data");
        let Some(data) = family.pick(&way.data_v4, &way.data_v6) else { return Ok(None) };
        let data = Options::parse(field, data)?;
        let vni = data.number("VNI", 0..=0xff_ffff, 0)?;
        let text = data.text("VtepMAC")?.ok_or_else(|| Refusal::Invalid(format!("{field}.VtepMAC is missing")))?;
        let wrong = || format!("{field}.VtepMAC must be the Ethernet address of one node, such as 0a:1b:2c:3d:4e:5f, not \"{text}\"");
        let mac = unicast(text).ok_or_else(|| Refusal::Invalid(wrong()))?;
        Ok(Some(Vtep { vni: (vni != 0).then_some(vni), mac }))
    }

    /// The text to publish.
    pub fn written(vni: u32, mac: &str) -> String {
        format!(r#"{{"VNI":{vni},"VtepMAC":"{mac}"}}"#)
    }
}

/// The MAC of this node's link: the one it published last, else that of the link found under its name, else one of its own.
pub fn own_mac(family: Family, link: &str, previous: Option<&Way>, existing: &[(String, String)], seed: &str) -> String {
    let published = || Vtep::read(family, previous?).ok().flatten().map(|vtep| vtep.mac);
    let found = || existing.iter().find(|(name, _)| name == link).and_then(|(_, mac)| unicast(mac));
    published().or_else(found).unwrap_or_else(|| derived(link, seed))
}

/// A locally administered unicast address (IEEE 802: bit 0x02 set, 0x01 clear) from 48 bits of the FNV-1a hash of link and seed.
fn derived(link: &str, seed: &str) -> String {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = link.bytes().chain([0]).chain(seed.bytes()).fold(0xcbf2_9ce4_8422_2325, mix);
    let [.., a, b, c, d, e, f] = (hash ^ (hash >> 48)).to_be_bytes();
    written([a & 0xfc | 0x02, b, c, d, e, f])
}

/// The address in lower case with colons; none when it is no unicast address. Hyphens are taken too, as Go does.
fn unicast(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let byte = |part: &&str| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2 && !part.starts_with('+'));
    let bytes: [u8; 6] = parts.iter().map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    (bytes[0] & 1 == 0 && bytes != [0; 6]).then(|| written(bytes))
}

fn written(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
