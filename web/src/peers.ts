// Peers: the leases of others, with what the tunnels tell of them.

import type { LeaseStatus, PeerTraffic, Traffic, TunnelStatus } from "./api";
import { families } from "./format";
import { addressRank, sorted } from "./order";

export interface Peer {
  lease: LeaseStatus;
  /** Over all tunnels; null when no tunnel knows the peer. */
  traffic: Traffic | null;
  heardMs: number | null;
}

/** All peers, worst first: without a way, never heard, then by subnet. */
export function peersOf(leases: readonly LeaseStatus[], tunnels: readonly TunnelStatus[]): Peer[] {
  const known = byAddress(tunnels);
  const peers = leases.filter((lease) => !lease.own).map((lease) => peerOf(lease, known));
  return sorted(peers, ({ lease, heardMs }) => `${lease.way === null ? 0 : heardMs === null ? 1 : 2}${addressRank(families(lease.subnets)[0])}`);
}

function peerOf(lease: LeaseStatus, known: Map<string, PeerTraffic[]>): Peer {
  const entries = families(lease.public).flatMap((address) => known.get(address) ?? []);
  const heard = entries.map((entry) => entry.heard_ms).filter((at) => at !== null);
  return {
    lease,
    traffic: entries.length ? entries.map((entry) => entry.traffic).reduce(add) : null,
    heardMs: heard.length ? Math.max(...heard) : null,
  };
}

function byAddress(tunnels: readonly TunnelStatus[]): Map<string, PeerTraffic[]> {
  const known = new Map<string, PeerTraffic[]>();
  for (const entry of tunnels.flatMap((tunnel) => tunnel.peers)) {
    const address = host(entry.peer);
    known.set(address, [...(known.get(address) ?? []), entry]);
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
