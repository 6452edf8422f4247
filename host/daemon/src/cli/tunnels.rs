//! The tunnels of the udp backend in words: which offloads are in force, and what they are worth.

use twill_model::status::{Crossing, CrossingCounts, TunnelStatus};

use super::table::bytes;

/// The sizes that super-packets are told apart by, in packets.
const SIZES: [&str; 7] = ["1", "2-3", "4-7", "8-15", "16-31", "32-63", "64 or more"];

/// All tunnels, one after the other.
pub fn tunnels(tunnels: Vec<TunnelStatus>) -> String {
    if tunnels.is_empty() {
        return "no tunnel is open: none of this node's ways needs one\n".into();
    }
    tunnels.iter().map(tunnel).collect::<Vec<_>>().join("\n")
}

fn tunnel(tunnel: &TunnelStatus) -> String {
    let TunnelStatus { total, .. } = tunnel;
    let crossing = tunnel.crossing.as_ref();
    let mut lines = vec![crossing.map_or_else(|| tunnel.link.clone(), |crossing| format!("{}  {}", tunnel.link, offloads(crossing)))];
    let way = |name: &str, packets: u64, sum: u64, counts: Option<&CrossingCounts>| {
        let crossed = counts.map_or_else(String::new, |counts| format!("; {}", crossed(packets, counts)));
        format!("  {name:<9} {packets} packets, {}{crossed}", bytes(sum))
    };
    lines.push(way("sent", total.sent_packets, total.sent_bytes, crossing.map(|crossing| &crossing.sent)));
    lines.push(way("received", total.received_packets, total.received_bytes, crossing.map(|crossing| &crossing.received)));
    let dropped: Vec<String> = tunnel.drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.push(format!("  {:<9} {}", "dropped", if dropped.is_empty() { "nothing".into() } else { dropped.join(", ") }));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn offloads(crossing: &Crossing) -> String {
    let queues = if crossing.queues == 1 { "1 queue".to_owned() } else { format!("{} queues", crossing.queues) };
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let missing = if crossing.missing.is_empty() { String::new() } else { format!(", not {}", list(&crossing.missing)) };
    format!("{queues}, offloads {}{missing}", list(&crossing.offloads))
}

/// How many packets each drain of the source brought, and how many of them stood in super-packets of which sizes.
fn crossed(packets: u64, counts: &CrossingCounts) -> String {
    let each = |whole: u64, parts: u64| whole as f64 / parts.max(1) as f64;
    let batches = format!("{:.1} a batch", each(packets, counts.batches));
    if counts.super_packets == 0 {
        return format!("{batches}, none in super-packets");
    }
    let seen = SIZES.iter().zip(&counts.sizes).filter(|(_, count)| **count > 0);
    let sizes: Vec<String> = seen.map(|(size, count)| format!("{count} of {size}")).collect();
    let (segments, super_packets) = (counts.segments, counts.super_packets);
    format!("{batches}, {segments} in {super_packets} super-packets ({})", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use twill_model::status::Traffic;

    use super::*;

    #[test]
    fn a_tunnel_tells_what_its_offloads_are_worth() {
        let sent = CrossingCounts { batches: 40, super_packets: 12, segments: 380, sizes: vec![0, 2, 0, 0, 0, 10, 0] };
        let received = CrossingCounts { batches: 9, ..CrossingCounts::default() };
        let offloads = ["tso", "uso", "gso"].map(String::from).to_vec();
        let crossing = Crossing { queues: 1, offloads, missing: vec!["gro".into()], sent, received };
        let shown = tunnels(vec![TunnelStatus {
            link: "flannel0".into(),
            total: Traffic { sent_packets: 400, sent_bytes: 560_000, received_packets: 18, received_bytes: 936 },
            drops: [("tun-full".to_owned(), 3)].into(),
            peers: Vec::new(),
            crossing: Some(crossing),
        }]);
        let wanted = "\
flannel0  1 queue, offloads tso, uso, gso, not gro
  sent      400 packets, 560.0 kB; 10.0 a batch, 380 in 12 super-packets (2 of 2-3, 10 of 32-63)
  received  18 packets, 936 B; 2.0 a batch, none in super-packets
  dropped   3 tun-full
";
        assert_eq!(shown, wanted);
        assert!(tunnels(Vec::new()).starts_with("no tunnel is open"));
    }
}
