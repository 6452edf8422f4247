// Paths: how each peer is reached from here, with what the tunnels count for it; and how far a change of the backend has come.

import type { ItemStatus, PathState, PathStatus, TunnelStatus } from "./api";
import { families, sentenceCase } from "./format";
import { addressRank, sorted } from "./order";
import { type Counted, counters } from "./peers";
import { drifts, pathState, type Word } from "./words";

/** A path with what the tunnels count for its peer, and what stops pods' packets to it on this node. */
export type Path = PathStatus & Counted & { barrier?: ItemStatus | undefined };

/** Worst first. */
export function pathRank(path: Path): number {
  return path.barrier ? 0 : { down: 0, held: 1, proving: 2, moved: 3 }[path.state];
}

/** A text that sorts paths worst first: by state, by loss, then by subnet. */
export function worstFirst(path: Path): string {
  const loss = String(1000 - (path.loss_permille ?? 0)).padStart(4, "0");
  return `${pathRank(path)}${loss}${addressRank(families(path.subnets)[0])}`;
}

/** All paths, worst first. */
export function pathsOf(paths: readonly PathStatus[], tunnels: readonly TunnelStatus[], items: readonly ItemStatus[]): Path[] {
  const counted = counters(tunnels);
  return sorted(paths.map((path) => ({ ...path, ...counted(path.public), barrier: barrier(path, items) })), worstFirst);
}

/** How a path stands for pods, whatever this node's own echoes tell. */
export function stands(path: PathStatus, barrier?: ItemStatus): Word {
  return barrier && path.state !== "down" ? { word: "stopped here", tone: "bad" } : pathState(path.state);
}

/**
 * A chain of somebody else's on this node that drops what pods send to the peer. The echoes that prove a path are this node's own and never
 * pass it, so the path may be well for all that they tell.
 */
export function barrier(path: PathStatus, items: readonly ItemStatus[]): ItemStatus | undefined {
  const six = (item: ItemStatus) => /\b(table ip6 |of ip6tables)/.test(item.what);
  const four = (item: ItemStatus) => /\b(table ip |of iptables)/.test(item.what);
  const meets = (item: ItemStatus) => (path.subnets.v4 !== undefined && !six(item)) || (path.subnets.v6 !== undefined && !four(item));
  return items.find((item) => item.kind === "firewall" && drifts(item) && meets(item));
}

/** Where pods' packets to the peer stop, in a few words; null where they do not, as far as is known. */
export function stopsAt(path: Path): string | null {
  return path.stops_at ?? (path.barrier ? "the firewall here" : null);
}

/** Why a path is not as it should be. */
export function why(path: Path): string {
  if (path.state === "down") return path.leg ?? path.reason ?? "";
  return path.barrier?.reason ?? path.reason ?? path.leg ?? "";
}

/** How a path stands, in one sentence. */
export function sentence(path: PathStatus, barrier?: ItemStatus): string {
  const why = path.state === "down" ? (path.leg ?? path.reason) : (path.reason ?? path.leg);
  const because = why ? `: ${why}` : "";
  if (path.way === null) return sentenceCase(`Nothing can be sent there${because}`);
  if (path.state === "down") return sentenceCase(`Pods' packets do not arrive over ${path.way}${because}`);
  if (barrier) return sentenceCase(`Pods' packets stop on this node: ${barrier.reason ?? `${barrier.what} drops them`}`);
  if (path.way !== path.wanted && path.wanted !== null) return sentenceCase(`It is reached by ${path.way} and not by ${path.wanted}${because}`);
  if (path.state === "proving") return `It is reached by ${path.way}; the first echo is under way.`;
  const narrow = path.narrow ? `; the MTU on the road is smaller than the link's: ${path.narrow}` : "";
  return `It is reached by ${path.way}, and answers${narrow}.`;
}

/** How far a change of the backend has come, as seen from this node. */
export interface Progress {
  /** The way that should be in use. */
  wanted: string;
  /** The ways still in use by those that have not moved. */
  from: string[];
  moved: number;
  proving: number;
  held: number;
  down: number;
  total: number;
  /** Why paths are held, with how many for each reason, most first. */
  reasons: [string, number][];
}

/** The change under way; null while every path is on the way that it should be on. */
export function progress(paths: readonly PathStatus[]): Progress | null {
  const elsewhere = paths.filter((path) => path.way !== null && path.wanted !== null && path.way !== path.wanted);
  const wanted = elsewhere[0]?.wanted;
  if (!wanted) return null;
  const how = (state: PathState) => paths.filter((path) => path.state === state);
  return {
    wanted,
    from: [...new Set(elsewhere.map((path) => path.way!))],
    moved: how("moved").length,
    proving: how("proving").length,
    held: how("held").length,
    down: how("down").length,
    total: paths.length,
    reasons: tally(how("held").map((path) => path.reason ?? "no reason told")),
  };
}

/** Each text with how often it is there, most first. */
export function tally(texts: readonly string[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** The path to a peer by the name in its page's address: a subnet without its slash. */
export function pathNamed(paths: readonly PathStatus[], name: string): PathStatus | undefined {
  return paths.find((path) => families(path.subnets).some((prefix) => prefix.replace("/", "-") === name));
}
