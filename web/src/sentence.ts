// What is true, in words: the sentence that the overview opens with, and those below it. Worst first, the cause before the figure.

import type { LeaseStatus, PathStatus, PluginState, Snapshot } from "./api";
import { ago, count, families, plural, sentenceCase } from "./format";
import { sorted } from "./order";
import { progress, tally } from "./paths";
import { drifts, type Tone } from "./words";

export interface Account {
  tone: Extract<Tone, "ok" | "warn" | "bad">;
  headline: string;
  /** What else needs somebody's eye. */
  others: string[];
  /** What is worth knowing even when all is well. */
  background: string[];
}

interface Finding {
  tone: Account["tone"];
  text: string;
}

/** The account of a snapshot, as of `nowMs` by the node's clock. */
export function account(snapshot: Snapshot, nowMs: number): Account {
  const all = [starting, told, waiting, full, unreachable, down, held, drift, plugins, oddities].flatMap((look) => look(snapshot));
  const [first = well(snapshot), ...rest] = sorted(all, ({ tone }) => (tone === "bad" ? 0 : 1));
  return { tone: first.tone, headline: first.text, others: rest.map(({ text }) => text), background: background(snapshot, nowMs) };
}

/** Not ready, and nobody said why: it is on its way. */
function starting({ node }: Snapshot): Finding[] {
  if (node.ready || node.problems.length) return [];
  return [{ tone: "warn", text: node.subnets ? "This node is making its network ready." : "This node is starting: it has no lease yet." }];
}

/** What the daemon itself calls a problem. */
function told({ node }: Snapshot): Finding[] {
  const tone = node.ready ? "warn" : "bad";
  const problems = node.problems.map((text): Finding => ({ tone, text: sentenceCase(text) }));
  const unsaid = node.store.name !== "" && !node.store.reachable && !/\bstore\b/i.test(node.problems.join(" "));
  const why = node.store.error ? `: ${node.store.error}` : "";
  const store: Finding = { tone, text: sentenceCase(`The store ${node.store.name} does not answer${why}`) };
  return unsaid ? [...problems, store] : problems;
}

/** A config in the store that nobody has accepted. */
function waiting({ network, node }: Snapshot): Finding[] {
  const told = node.problems.some((text) => text.includes("config"));
  return network.waiting && !told ? [{ tone: "warn", text: "A network config in the store waits to be accepted: twill config accept." }] : [];
}

/** Hardly a subnet is left for nodes to come. */
function full({ network }: Snapshot): Finding[] {
  const tight = network.ranges.find(({ free, subnets }) => subnets > 0 && free * 20 < subnets);
  return tight ? [{ tone: "warn", text: `${plural(tight.free, "subnet")} of ${count(tight.subnets)} in ${tight.network} ${tight.free === 1 ? "is" : "are"} free.` }] : [];
}

/** Another node's: a reservation that no node uses yet is nobody's. */
const isPeer = (lease: LeaseStatus) => !lease.own && lease.ways.length > 0;

function unreachable({ leases }: Snapshot): Finding[] {
  const peers = leases.filter(isPeer);
  const lost = peers.filter((lease) => lease.way === null);
  const [first] = lost;
  if (!first) return [];
  if (lost.length > 1) return [{ tone: "bad", text: `${lost.length} of ${plural(peers.length, "peer")} have no way from here.` }];
  const reason = first.reason ? `: ${first.reason}` : "";
  return [{ tone: "bad", text: sentenceCase(`The peer ${families(first.public).join(", ")} has no way from here${reason}`) }];
}

/** Peers that there is a way to, over which nothing comes back. */
function down({ paths }: Snapshot): Finding[] {
  const silent = paths.filter((path) => path.state === "down" && path.way !== null);
  const [first] = silent;
  if (!first) return [];
  if (silent.length > 1) return [{ tone: "bad", text: `${silent.length} of ${plural(paths.length, "path")} carry no traffic${where(silent)}.` }];
  const why = [first.leg, first.reason].find((text) => text !== null);
  return [{ tone: "bad", text: sentenceCase(`The path to ${families(first.subnets)[0]} by ${first.way} carries no traffic${why ? `: ${why}` : ""}`) }];
}

/** The legs at which paths stop, with how many each. */
function where(silent: PathStatus[]): string {
  const legs = tally(silent.flatMap(({ stops_at }) => stops_at ?? [])).slice(0, 3);
  const [only] = legs;
  if (!only) return "";
  return `: they stop at ${legs.length === 1 ? only[0] : legs.map(([leg, n]) => `${leg} (${n})`).join(", ")}`;
}

/** Paths that carry less than their links: their routes say so and traffic passes, but somebody may not know. */
function narrow(paths: readonly PathStatus[]): string[] {
  const found = paths.filter((path) => path.narrow !== null);
  const [first] = found;
  if (!first) return [];
  if (found.length > 1) return [`The MTU on the road is smaller than the link's on ${found.length} of ${plural(paths.length, "path")}, and their routes say so.`];
  return [`The MTU on the road is smaller than the link's on the path to ${families(first.subnets)[0]}: ${first.narrow}.`];
}

/** Peers that stay on another way than the one that is wanted. */
function held({ paths }: Snapshot): Finding[] {
  const change = progress(paths);
  if (!change?.held) return [];
  const [reason] = change.reasons[0] ?? [];
  return [{ tone: "warn", text: sentenceCase(`${plural(change.held, "path")} of ${change.total} ${change.held === 1 ? "stays" : "stay"} on ${change.from.join(" and ")}: ${reason}`) }];
}

function drift({ node, state }: Snapshot): Finding[] {
  const items = state.filter((item) => drifts(item) && !node.problems.some((text) => text.includes(item.what)));
  const failed = items.filter((item) => item.standing === "failed");
  const [first] = failed.length ? failed : items;
  if (!first) return [];
  if (items.length > 1) return [{ tone: "warn", text: `${plural(items.length, "piece")} of network state are not as planned; twill is mending them.` }];
  const reason = first.reason ? `, since the kernel refused it: ${first.reason}` : "; twill is mending it";
  return [{ tone: "warn", text: sentenceCase(`The ${first.kind} ${first.what} is not as planned${reason}`) }];
}

function plugins({ plugins: all }: Snapshot): Finding[] {
  const sentence = (state: PluginState, verb: string): Finding[] => {
    const names = all.filter((plugin) => plugin.state === state).map((plugin) => plugin.name);
    const subject = names.length > 1 ? "The plugins" : "The plugin";
    return names.length ? [{ tone: "warn", text: `${subject} ${names.join(", ")} ${verb}.` }] : [];
  };
  return [...sentence("backoff", "failed and will be tried again"), ...sentence("refused", "cannot be used here")];
}

function oddities({ node }: Snapshot): Finding[] {
  const n = node.store.oddities.length;
  return n ? [{ tone: "warn", text: `${plural(n, "entry", "entries")} in the store ${n > 1 ? "are" : "is"} not a lease, and passed over.` }] : [];
}

/** Nothing is wrong. */
function well({ leases, paths }: Snapshot): Finding {
  const peers = leases.filter(isPeer).length;
  if (peers === 0) return { tone: "ok", text: "This node is ready, and alone so far." };
  const proved = paths.filter((path) => path.ways.some((way) => way.in_use && way.verdict === "proved")).length;
  if (proved === peers) return { tone: "ok", text: peers === 1 ? "The one path carries traffic." : `${every(peers, "path")} carry traffic.` };
  const subject = peers === 1 ? "The one peer has" : `${every(peers, "peer")} have`;
  return { tone: "ok", text: `${subject} a way, and all is in place.` };
}

/** "Both paths", "All 3 paths". */
function every(n: number, noun: string): string {
  return n === 2 ? `Both ${noun}s` : `All ${plural(n, noun)}`;
}

/** What is worth knowing when nothing is wrong. */
function background({ node, paths, tunnels }: Snapshot, nowMs: number): string[] {
  const change = progress(paths);
  const moving = change ? [`The cluster is moving from ${change.from.join(" and ")} to ${change.wanted}: ${change.moved} of ${plural(change.total, "path")} have moved.`] : [];
  const holds = node.subnets ? [`This node holds ${families(node.subnets).join(" and ")}.`] : [];
  const remembered = node.store.remembered ? ["The leases are remembered ones, from this node's disk."] : [];
  const heard = tunnels.flatMap((tunnel) => tunnel.peers).reduce((newest, peer) => Math.max(newest, peer.heard_ms ?? 0), 0);
  const last = heard ? [`The last packet from a peer came ${ago(nowMs - heard)}.`] : [];
  return [...holds, ...moving, ...narrow(paths), ...remembered, ...last];
}
