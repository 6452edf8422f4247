// The live snapshot: follows the node's event stream, and knows when it does not. Each part of the snapshot is a signal of its own, so that a
// page draws anew only what changed. While the connection is lost the clock stands still: nothing pretends to be live.

import { batch, computed, effect, signal } from "@preact/signals";
import type { Change, Event, ItemStatus, LeaseStatus, NetworkStatus, NodeStatus, PathStatus, PluginStatus, Snapshot, TunnelStatus, WorkStatus } from "./api";
import { holding } from "./hold";
import { keep, sample, type Sample } from "./traffic";

export const node = signal<NodeStatus | null>(null);
export const network = signal<NetworkStatus>({ ranges: [], backend: null, waiting: false });
export const leases = signal<LeaseStatus[]>([]);
export const paths = signal<PathStatus[]>([]);
export const state = signal<ItemStatus[]>([]);
export const plugins = signal<PluginStatus[]>([]);
export const tunnels = signal<TunnelStatus[]>([]);
export const work = signal<WorkStatus | null>(null);
export const events = signal<Event[]>([]);
export const samples = signal<Sample[]>([]);

/** Null until the first snapshot is there. */
export const snapshot = computed<Snapshot | null>(
  () =>
    node.value &&
    work.value && {
      node: node.value,
      network: network.value,
      leases: leases.value,
      paths: paths.value,
      state: state.value,
      plugins: plugins.value,
      tunnels: tunnels.value,
      events: events.value,
      work: work.value,
    },
);

export type Link = { live: true } | { live: false; sinceMs: number | null };

/** The connection; `sinceMs` is when it was last heard of, null before it ever was. */
export const link = signal<Link>({ live: false, sinceMs: null });

/** The node's clock, second by second; it stands still while the connection is lost. */
export const now = signal(Date.now());

/** The node's clock less the reader's. */
let skew = 0;
let heardAt = Date.now();

/** No sign of life for this long means that the connection is lost, whatever the browser believes; the node sends one every four seconds. */
const SILENCE_MS = 12_000;
const RETRY_MS = 2_000;

/** `cameMs` is when it came, by the reader's clock; `fresh` is false for what was already there when the stream began: the counters in it may be of any age. */
function apply(change: Change, fresh: boolean, cameMs: number): void {
  batch(() => {
    skew = change.at_ms - cameMs;
    now.value = Date.now() + skew;
    link.value = { live: true };
    if (change.node) node.value = change.node;
    if (change.network) network.value = change.network;
    if (change.leases) leases.value = change.leases;
    if (change.paths) paths.value = change.paths;
    if (change.state) state.value = change.state;
    if (change.plugins) plugins.value = change.plugins;
    if (change.tunnels) tunnels.value = change.tunnels;
    if (change.work) work.value = change.work;
    if (change.events) events.value = change.events;
    if (fresh) samples.value = keep(samples.value, sample(tunnels.value, change.at_ms));
  });
}

/** What the stream sends, read and applied when there is time for it. */
const take = holding<[string, boolean, number]>((all) => batch(() => all.forEach(([text, fresh, atMs]) => apply(JSON.parse(text) as Change, fresh, atMs))));

function lost(): void {
  if (link.value.live) link.value = { live: false, sinceMs: heardAt };
}

/** Follows the stream for as long as the page is open. */
export function follow(): void {
  let source = open();
  let triedAt = Date.now();
  setInterval(() => {
    const current = Date.now();
    if (link.value.live) now.value = current + skew;
    const silent = current - heardAt > SILENCE_MS && current - triedAt > SILENCE_MS;
    const closed = source.readyState === EventSource.CLOSED && current - triedAt > RETRY_MS;
    if (!silent && !closed) return;
    lost();
    source.close();
    source = open();
    triedAt = current;
  }, 1000);
}

function open(): EventSource {
  const source = new EventSource("/api/v1/stream");
  const read = (fresh: boolean) => (message: MessageEvent<string>) => {
    heardAt = Date.now();
    take([message.data, fresh, heardAt]);
  };
  source.addEventListener("snapshot", read(false));
  source.addEventListener("change", read(true));
  source.addEventListener("error", lost);
  return source;
}

effect(() => {
  document.documentElement.classList.toggle("lost", !link.value.live && node.value !== null);
});
