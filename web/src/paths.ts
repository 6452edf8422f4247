// Paths: how each peer is reached from here, with what the tunnels count for it; and how far a change of the backend has come.

import type { PathState, PathStatus, TunnelStatus } from "./api";
import { families } from "./format";
import { addressRank, sorted } from "./order";
import { type Counted, counters } from "./peers";

/** A path with what the tunnels count for its peer. */
export type Path = PathStatus & Counted;

/** Worst first. */
export function pathRank(state: PathState): number {
  return { down: 0, held: 1, proving: 2, moved: 3 }[state];
}

/** A text that sorts paths worst first: by state, by loss, then by subnet. */
export function worstFirst(path: PathStatus): string {
  const loss = String(1000 - (path.loss_permille ?? 0)).padStart(4, "0");
  return `${pathRank(path.state)}${loss}${addressRank(families(path.subnets)[0])}`;
}

/** All paths, worst first. */
export function pathsOf(paths: readonly PathStatus[], tunnels: readonly TunnelStatus[]): Path[] {
  const counted = counters(tunnels);
  return sorted(paths.map((path) => ({ ...path, ...counted(path.public) })), worstFirst);
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
