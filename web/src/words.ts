// States in words and tones. A tone is a colour with a meaning, and always comes with its word.

import type { Event, ItemStatus, LeaseStatus, PathState, PluginState, WayStatus } from "./api";

export type Tone = "ok" | "warn" | "bad" | "way" | "quiet";

export interface Word {
  word: string;
  tone: Tone;
}

/** How an item stands. */
export function standing(item: ItemStatus): Word {
  switch (item.standing) {
    case "present":
      return { word: "in place", tone: "ok" };
    case "missing":
      return { word: item.observed === null ? "missing" : "differs", tone: "bad" };
    case "failed":
      return { word: "failed", tone: "bad" };
    case "refused":
      return { word: "refused", tone: "warn" };
    case "leaving":
      return { word: "leaving", tone: "quiet" };
  }
}

/** What there should be, or is, without the kind that stands beside it. */
export function bare(item: ItemStatus): string {
  const words = item.desired ?? item.observed ?? "";
  return words.replace(new RegExp(`^${item.kind}( entry)? `, "i"), "");
}

/** Worst first. */
export function standingRank(item: ItemStatus): number {
  return { failed: 0, missing: 1, refused: 2, leaving: 3, present: 4 }[item.standing];
}

/** True when the kernel is not as planned. What leaves is on its way, and what was refused was never to be there. */
export function drifts(item: ItemStatus): boolean {
  return item.standing === "missing" || item.standing === "failed";
}

export function pluginState(state: PluginState): Word {
  const words: Record<PluginState, Word> = {
    active: { word: "active", tone: "ok" },
    idle: { word: "idle", tone: "quiet" },
    backoff: { word: "failed, waiting", tone: "bad" },
    refused: { word: "refused", tone: "warn" },
  };
  return words[state];
}

/** Worst first. */
export function pluginRank(state: PluginState): number {
  return { backoff: 0, refused: 1, active: 2, idle: 3 }[state];
}

export function weight(event: Event): Word {
  const words: Record<Event["weight"], Word> = {
    info: { word: "note", tone: "quiet" },
    warn: { word: "warning", tone: "warn" },
    error: { word: "error", tone: "bad" },
  };
  return words[event.weight];
}

/** The way to a lease. */
export function way(lease: LeaseStatus): Word {
  if (lease.own) return { word: "this node", tone: "quiet" };
  if (lease.ways.length === 0) return { word: "no node yet", tone: "quiet" };
  return lease.way === null ? { word: "no way", tone: "bad" } : { word: lease.way, tone: "way" };
}

/** How a path stands. */
export function pathState(state: PathState): Word {
  const words: Record<PathState, Word> = {
    down: { word: "down", tone: "bad" },
    held: { word: "held", tone: "warn" },
    proving: { word: "proving", tone: "quiet" },
    moved: { word: "works", tone: "ok" },
  };
  return words[state];
}

/** What is known of one way to a peer. */
export function verdict(way: WayStatus): Word {
  const words: Record<WayStatus["verdict"], Word> = {
    proved: { word: "proved", tone: "ok" },
    failed: { word: way.sent > 0 ? "no answer" : "not possible", tone: "bad" },
    unknown: { word: "not tried yet", tone: "quiet" },
  };
  return words[way.verdict];
}
