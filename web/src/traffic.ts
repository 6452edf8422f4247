// Traffic over time: samples of the tunnels' counters, and the rates between them.

import type { Families, TunnelStatus } from "./api";
import { families } from "./format";
import { host } from "./peers";

/** The counters of all tunnels at one moment. */
export interface Sample {
  atMs: number;
  sent: number;
  received: number;
  dropped: number;
  /** Bytes sent and received by peer, for as long as [`PEERS_KEPT_MS`] and for no more than [`MOST_PEERS`]. */
  peers?: ReadonlyMap<string, readonly [number, number]>;
}

/** Bytes, and dropped packets, a second, until `atMs`. */
export interface Rate {
  atMs: number;
  sent: number;
  received: number;
  dropped: number;
}

/** How much of the past a page keeps. */
export const KEPT_MS = 10 * 60_000;
/** The same for single peers. */
export const PEERS_KEPT_MS = 2 * 60_000;
/** Larger clusters are counted as a whole only. */
const MOST_PEERS = 500;

export function sample(tunnels: readonly TunnelStatus[], atMs: number): Sample {
  const sum = (of: (tunnel: TunnelStatus) => number) => tunnels.reduce((total, tunnel) => total + of(tunnel), 0);
  return {
    atMs,
    sent: sum((tunnel) => tunnel.total.sent_bytes),
    received: sum((tunnel) => tunnel.total.received_bytes),
    dropped: sum((tunnel) => Object.values(tunnel.drops).reduce((a, b) => a + b, 0)),
    peers: byPeer(tunnels),
  };
}

function byPeer(tunnels: readonly TunnelStatus[]): ReadonlyMap<string, readonly [number, number]> {
  const all = tunnels.flatMap((tunnel) => tunnel.peers);
  const sums = new Map<string, readonly [number, number]>();
  for (const { peer, traffic } of all.length > MOST_PEERS ? [] : all) {
    const [sent, received] = sums.get(host(peer)) ?? [0, 0];
    sums.set(host(peer), [sent + traffic.sent_bytes, received + traffic.received_bytes]);
  }
  return sums;
}

/** The samples with one more; old ones are let go. Counters that ran backwards mean a new daemon: what was before says nothing any more. */
export function keep(samples: readonly Sample[], next: Sample): Sample[] {
  const last = samples.at(-1);
  if (last && next.atMs - last.atMs < 500) return [...samples];
  const restarted = last && (next.sent < last.sent || next.received < last.received || next.atMs < last.atMs);
  return restarted ? [next] : [...samples.filter((old) => next.atMs - old.atMs <= KEPT_MS).map((old) => aged(old, next.atMs)), next];
}

/** Without its peers, once they are too old. */
function aged(old: Sample, nowMs: number): Sample {
  if (!old.peers || nowMs - old.atMs <= PEERS_KEPT_MS) return old;
  const { peers: _, ...rest } = old;
  return rest;
}

export function rates(samples: readonly Sample[]): Rate[] {
  return samples.slice(1).map((next, i) => {
    const before = samples[i]!;
    const seconds = (next.atMs - before.atMs) / 1000;
    const per = (of: "sent" | "received" | "dropped") => (next[of] - before[of]) / seconds;
    return { atMs: next.atMs, sent: per("sent"), received: per("received"), dropped: per("dropped") };
  });
}

/** Bytes a second with one peer, over the last two minutes; empty where nothing is counted for it. */
export function peerRates(samples: readonly Sample[], peer: Families): { sent: number; received: number }[] {
  const addresses = families(peer);
  const of = (sample: Sample) => addresses.map((address) => sample.peers?.get(address)).find((sums) => sums !== undefined);
  return samples.slice(1).flatMap((next, i) => {
    const [a, b] = [of(samples[i]!), of(next)];
    const seconds = (next.atMs - samples[i]!.atMs) / 1000;
    // A peer whose counters began anew says nothing of what was before.
    return a && b ? [{ sent: Math.max(0, b[0] - a[0]) / seconds, received: Math.max(0, b[1] - a[1]) / seconds }] : [];
  });
}

/** The newest of [`peerRates`]. */
export function peerRate(samples: readonly Sample[], peer: Families): { sent: number; received: number } | undefined {
  return peerRates(samples.slice(-2), peer)[0];
}

/** An SVG path through `values`, the newest at the right edge; `most` reaches the top. */
export function line(values: readonly number[], width: number, height: number, most: number): string {
  if (values.length < 2) return "";
  const step = width / (values.length - 1);
  const points = values.map((value, i) => `${(i * step).toFixed(1)} ${(height - (value / (most || 1)) * height).toFixed(1)}`);
  return `M${points.join("L")}`;
}
