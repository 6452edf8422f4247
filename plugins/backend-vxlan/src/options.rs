//! The options of the vxlan backend: read from the config's `Backend` object, written into the way, read again from there.
//!
//! Keys and defaults are flannel's. `MTU` is the underlay's, as there: the header is taken off it.

use serde_json::json;
use twill_guest::backend::{Refusal, Underlay};
use twill_guest::family::Family;
use twill_guest::options::Options;

/// JSON Schema of the `Backend` object, as far as this backend reads it.
pub const SCHEMA: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"Type":{"const":"vxlan"},"VNI":{"description":"VXLAN network identifier; at most 9999999, with IPv6 at most 9999, so that the link's name fits","type":"integer","minimum":1,"maximum":9999999,"default":1},"Port":{"description":"UDP port; 0 is the kernel's default, 8472","type":"integer","minimum":0,"maximum":65535,"default":0},"MTU":{"description":"MTU of the underlay in bytes, when it is less than the interface says; 50 (IPv6: 70) are taken off","type":"integer","minimum":626,"maximum":65535},"GBP":{"description":"the group-based policy extension","type":"boolean","default":false},"Learning":{"description":"learn from received frames","type":"boolean","default":false},"DirectRouting":{"description":"plain routes to peers on the same link","type":"boolean","default":false}}}"#;

/// The largest network identifier (RFC 7348: 24 bits).
const LARGEST_VNI: u32 = 0xff_ffff;
/// The kernel's default port (module parameter `udp_port` of vxlan), not the registered 4789.
const KERNEL_PORT: u16 = 8472;
/// Longest interface name: `IFNAMSIZ` (linux/if.h) less the closing zero.
const LONGEST_NAME: usize = 15;
/// The least `MTU` that leaves room for 576 bytes, which every host takes (RFC 791).
const LEAST_MTU: u32 = 626;
/// What IPv6 asks of a link (RFC 8200); the kernel switches IPv6 off on links of less.
const LEAST_IPV6_MTU: u32 = 1280;

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Network identifier.
    pub vni: u32,
    /// UDP destination port, never 0.
    pub port: u16,
    /// The underlay's MTU in bytes as the config says it.
    pub mtu: Option<u32>,
    /// The group-based policy extension.
    pub gbp: bool,
    /// Learn from received frames.
    pub learning: bool,
    /// Plain routes to peers on the same link.
    pub direct: bool,
}

impl Settings {
    /// Reads the object `json`; `section` is what errors put before a key.
    pub fn read(section: &'static str, json: &str) -> Result<Settings, Refusal> {
        let options = Options::parse(section, json)?;
        let mtu = options.number("MTU", LEAST_MTU..=65_535, 0)?;
        let port = options.number("Port", 0..=65_535, 0)?;
        Ok(Settings {
            vni: options.number("VNI", 1..=LARGEST_VNI, 1)?,
            port: u16::try_from(port).ok().filter(|port| *port != 0).unwrap_or(KERNEL_PORT),
            mtu: (mtu != 0).then_some(mtu),
            gbp: options.flag("GBP", false)?,
            learning: options.flag("Learning", false)?,
            direct: options.flag("DirectRouting", false)?,
        })
    }

    /// The options as a JSON object, to be read again by [`Settings::read`].
    pub fn written(&self) -> String {
        let mut all = json!({
            "VNI": self.vni, "Port": self.port, "GBP": self.gbp, "Learning": self.learning, "DirectRouting": self.direct,
        });
        if let Some(mtu) = self.mtu {
            all["MTU"] = mtu.into();
        }
        all.to_string()
    }

    /// The name of the family's link, which must fit into the kernel's field.
    pub fn link_name(&self, family: Family) -> Result<String, Refusal> {
        let name = format!("{}.{}", family.pick("flannel", "flannel-v6"), self.vni);
        if name.len() <= LONGEST_NAME {
            return Ok(name);
        }
        let most = family.pick(9_999_999, 9_999);
        let (vni, family) = (self.vni, family.name());
        Err(Refusal::Invalid(format!(
            "Backend.VNI must be at most {most} with {family}, not {vni}: the link's name {name} is longer than {LONGEST_NAME} bytes"
        )))
    }

    /// What fits into a frame of the family's link: the underlay's MTU, or less where the config says so, less outer IP (20 or 40 bytes), UDP (8),
    /// VXLAN (8) and inner Ethernet (14).
    pub fn inner_mtu(&self, family: Family, underlay: &Underlay) -> Result<u32, Refusal> {
        let outer = self.mtu.map_or(underlay.mtu, |mtu| mtu.min(underlay.mtu));
        let inner = outer.saturating_sub(family.pick(50, 70));
        let least = family.pick(LEAST_MTU - 50, LEAST_IPV6_MTU);
        if inner >= least {
            return Ok(inner);
        }
        let family = family.name();
        Err(Refusal::Unsuitable(format!(
            "an underlay MTU of {outer} on {} leaves {inner} bytes for {family} in VXLAN, and {least} is the least",
            underlay.name
        )))
    }
}
