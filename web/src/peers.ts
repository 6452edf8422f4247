// What the tunnels count for a peer, found by its public address.

import type { Families, PeerTraffic, Traffic, TunnelStatus } from "./api";
import { families } from "./format";

/** What is counted for one peer, over all tunnels. */
export interface Counted {
  /** Null when no tunnel of twill's own leads to it: what the kernel forwards by itself is not counted here. */
  traffic: Traffic | null;
  /** When something last arrived from it. */
  heardMs: number | null;
  /** Packets to and from it that the tunnels dropped, with how many for each reason, most first. */
  dropped: [string, number][];
}

/** Looks up what the tunnels count for a peer. */
export function counters(tunnels: readonly TunnelStatus[]): (peer: Families) => Counted {
  const known = byAddress(tunnels);
  return (peer) => {
    const entries = families(peer).flatMap((address) => known.get(address) ?? []);
    const heard = entries.map((entry) => entry.heard_ms).filter((at) => at !== null);
    return {
      traffic: entries.length ? entries.map((entry) => entry.traffic).reduce(add) : null,
      heardMs: heard.length ? Math.max(...heard) : null,
      dropped: drops(entries),
    };
  };
}

/** Drops by reason over all tunnels or peers, most first, without those that never happened. */
export function drops(counted: readonly { drops: Record<string, number> }[]): [string, number][] {
  const sums = new Map<string, number>();
  for (const [reason, n] of counted.flatMap(({ drops }) => Object.entries(drops))) sums.set(reason, (sums.get(reason) ?? 0) + n);
  return [...sums].filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
}

function byAddress(tunnels: readonly TunnelStatus[]): Map<string, PeerTraffic[]> {
  const known = new Map<string, PeerTraffic[]>();
  for (const entry of tunnels.flatMap((tunnel) => tunnel.peers)) {
    const address = host(entry.peer);
    const there = known.get(address);
    there ? there.push(entry) : known.set(address, [entry]);
  }
  return known;
}

/** The address in "192.0.2.1:8285" or "[2001:db8::1]:8285". */
export function host(peer: string): string {
  return peer.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}

export function add(a: Traffic, b: Traffic): Traffic {
  return {
    sent_packets: a.sent_packets + b.sent_packets,
    sent_bytes: a.sent_bytes + b.sent_bytes,
    received_packets: a.received_packets + b.received_packets,
    received_bytes: a.received_bytes + b.received_bytes,
  };
}
