//! A node as a real flanneld makes it: its lease by `etcdctl`, its kernel state by plain `ip` and `bridge`, as the specification's sections 2.3, 4.1, 4.2, 5 and
//! 7.4 have them. No part of twill is used, so that what twill does with it is a proof of sorts where no real flanneld can be run.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::etcd::{Etcd, PREFIX, place};
use crate::node::Node;
use crate::process::run;
use crate::proxy::{Proxy, parts};

/// The overlay network of all these stories.
const NETWORK: &str = "10.50.0.0/16";
const LINK: &str = "flannel.1";

/// What stands for flanneld on a node.
pub struct Flannel<'a> {
    node: &'a Node,
    etcd: &'a Etcd,
    backend: &'static str,
    subnet: String,
    proxy: RefCell<Option<Proxy>>,
}

/// A peer by its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its subnet, "10.50.1.0/24".
    pub subnet: String,
    /// Where it is.
    pub public: String,
    /// "vxlan", "host-gw", or nothing for udp.
    pub backend: String,
    /// Its VXLAN device's address, where it has one.
    pub mac: Option<String>,
}

impl<'a> Flannel<'a> {
    /// flanneld's start: device, address, lease, entries for all peers, subnet.env. A device that fits is kept.
    pub fn start(node: &'a Node, etcd: &'a Etcd, backend: &'static str, subnet: &str) -> Result<Flannel<'a>> {
        let flannel = Flannel { node, etcd, backend, subnet: subnet.into(), proxy: RefCell::new(None) };
        // Docker or CNI turn forwarding on, not flannel.
        node.net().sysctl("net.ipv4.ip_forward", "1")?;
        let (base, _) = parts(subnet)?;
        let mtu = match backend {
            "vxlan" => {
                if !flannel.fits()? {
                    // A device of that name is in the way, or none is there.
                    let _ = node.ip(&format!("link delete {LINK}"));
                    flannel.make_device(&fresh_mac(node))?;
                }
                1450
            }
            "udp" => {
                *flannel.proxy.borrow_mut() = Some(Proxy::start(node.net(), node.address(), base, NETWORK, 1472)?);
                1472
            }
            _ => 1500,
        };
        flannel.publish()?;
        if backend == "vxlan" {
            node.ip(&format!("address replace {base}/32 dev {LINK}"))?;
            node.ip(&format!("link set {LINK} up"))?;
        }
        flannel.learn()?;
        let first = std::net::Ipv4Addr::from(u32::from(base) + 1);
        let file = node.dir("run").join("flannel/subnet.env");
        std::fs::create_dir_all(file.parent().context("a folder")?)?;
        let text = format!("FLANNEL_NETWORK={NETWORK}\nFLANNEL_SUBNET={first}/24\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=false\n");
        std::fs::write(file, text)?;
        Ok(flannel)
    }

    /// flanneld's end: the TUN device of udp goes, all else stays.
    pub fn stop(self) {
        self.proxy.borrow_mut().take();
    }

    /// Its subnet.
    pub fn subnet(&self) -> &str {
        &self.subnet
    }

    fn make_device(&self, mac: &str) -> Result<()> {
        let local = self.node.address();
        let words = format!("link add {LINK} mtu 1450 address {mac} type vxlan id 1 dev eth0 local {local} dstport 8472 nolearning");
        self.node.ip(&words)?;
        // Its dot is part of the name, so this is no dotted setting.
        let file = format!("/proc/sys/net/ipv6/conf/{LINK}/accept_ra");
        self.node.net().inside(|| std::fs::write(&file, "0").with_context(|| format!("cannot write {file}")))
    }

    /// True when there is a device that flanneld keeps (spec 4.1): same kind, VNI, underlay, local address, group, l2miss, port and GBP.
    pub fn fits(&self) -> Result<bool> {
        let Ok(links) = self.node.ip_json(&format!("link show dev {LINK}")) else { return Ok(false) };
        let (info, link) = (&links[0]["linkinfo"], &links[0]["link"]);
        let data = &info["info_data"];
        let absent = |key: &str| data[key].is_null() || data[key] == false;
        Ok(info["info_kind"] == "vxlan"
            && data["id"] == 1
            && (data["link"] == "eth0" || link == "eth0")
            && data["local"] == self.node.address().to_string().as_str()
            && data["port"] == 8472
            && ["group", "l2miss", "gbp"].into_iter().all(absent))
    }

    /// The device's address.
    pub fn mac(&self) -> Result<String> {
        let links = self.node.ip_json(&format!("link show dev {LINK}"))?;
        links[0]["address"].as_str().map(str::to_owned).context("no address")
    }

    /// Puts the lease on a new etcd lease of a day, as flanneld does at its start and at each renewal.
    pub fn publish(&self) -> Result<()> {
        let data = match self.backend {
            "udp" => String::new(),
            "vxlan" => format!(r#","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{}"}}"#, self.mac()?),
            other => format!(r#","BackendType":"{other}""#),
        };
        let value = format!(r#"{{"PublicIP":"{}","PublicIPv6":null{data}}}"#, self.node.address());
        self.etcd.put_for(86_400, &place(&self.subnet), &value)
    }

    /// Makes what flanneld makes for each peer that etcd knows now.
    pub fn learn(&self) -> Result<()> {
        let own = self.node.address().to_string();
        let peers: Vec<Peer> = peers(self.etcd)?.into_iter().filter(|peer| peer.public != own).collect();
        if let Some(proxy) = &*self.proxy.borrow() {
            let hop = |peer: &Peer| {
                let (base, length) = parts(&peer.subnet)?;
                Ok((base, length, peer.public.parse()?))
            };
            proxy.set(peers.iter().map(hop).collect::<Result<_>>()?);
            return Ok(());
        }
        for peer in peers.iter().filter(|peer| peer.backend == self.backend) {
            let Peer { subnet, public, .. } = peer;
            match &peer.mac {
                Some(mac) => {
                    let base = parts(subnet)?.0;
                    self.node.ip(&format!("neigh replace {base} dev {LINK} lladdr {mac} nud permanent"))?;
                    let fdb = ["fdb", "replace", mac, "dev", LINK, "dst", public, "self", "permanent"];
                    run(self.node.net().command("bridge")?.args(fdb))?;
                    self.node.ip(&format!("route replace {subnet} via {base} dev {LINK} onlink"))?;
                }
                None => {
                    self.node.ip(&format!("route replace {subnet} via {public} dev eth0"))?;
                }
            }
        }
        Ok(())
    }

    /// The node lost its device, and flanneld has made it anew with another address that it publishes.
    pub fn make_device_anew(&self) -> Result<()> {
        self.node.ip(&format!("link delete {LINK}"))?;
        let [.., last] = self.node.address().octets();
        self.make_device(&format!("6a:00:00:00:00:{last:02x}"))?;
        self.node.ip(&format!("address replace {}/32 dev {LINK}", parts(&self.subnet)?.0))?;
        self.node.ip(&format!("link set {LINK} up"))?;
        self.publish()?;
        self.learn()
    }
}

/// A MAC as flannel's are: unicast, local.
fn fresh_mac(node: &Node) -> String {
    let [.., last] = node.address().octets();
    format!("aa:f6:b2:bc:81:{last:02x}")
}

/// All leases in etcd, by flannel's keys and values alone.
pub fn peers(etcd: &Etcd) -> Result<Vec<Peer>> {
    let told: Value = serde_json::from_str(&etcd.ctl(&["get", "--prefix", &format!("{PREFIX}/subnets/"), "-w", "json"])?)?;
    let text = |value: &Value| Ok::<_, anyhow::Error>(String::from_utf8(STANDARD.decode(value.as_str().context("no text")?)?)?);
    let mut peers = Vec::new();
    for entry in told["kvs"].as_array().into_iter().flatten() {
        let (key, value) = (text(&entry["key"])?, text(&entry["value"])?);
        let lease: Value = serde_json::from_str(&value)?;
        let name = key.rsplit('/').next().unwrap_or_default();
        let v4 = name.split('&').next().unwrap_or_default();
        ensure!(v4.contains('-'), "{key}");
        peers.push(Peer {
            subnet: v4.replace('-', "/"),
            public: lease["PublicIP"].as_str().context("no PublicIP")?.to_owned(),
            backend: lease["BackendType"].as_str().unwrap_or_default().to_owned(),
            mac: lease["BackendData"]["VtepMAC"].as_str().map(str::to_owned),
        });
    }
    Ok(peers)
}
