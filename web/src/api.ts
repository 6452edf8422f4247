// The snapshot as the API sends it: twill_model::status, by hand. host/http/tests/fixture.rs writes fixtures/snapshot.ts, which the type check
// holds against this file. All times are milliseconds since the Unix epoch by the node's clock.

export interface Snapshot {
  node: NodeStatus;
  leases: LeaseStatus[];
  paths: PathStatus[];
  state: ItemStatus[];
  plugins: PluginStatus[];
  tunnels: TunnelStatus[];
  events: Event[];
  network: NetworkStatus;
  work: WorkStatus;
}

/** What the stream sends: the node's clock, and the parts that are new. */
export type Change = { at_ms: number } & Partial<Snapshot>;

/** One value a family; a family that is not there is left out. */
export interface Families {
  v4?: string;
  v6?: string;
}

export interface NodeStatus {
  id: string;
  hostname: string;
  version: string;
  instance: string;
  started_ms: number;
  underlay: string;
  underlay_mtu: number;
  public: Families;
  subnets: Families | null;
  networks: string[];
  pod_mtu: number | null;
  backend: string | null;
  store: StoreStatus;
  ready: boolean;
  problems: string[];
  renewal_ms: number | null;
}

/** What the reconciler has done since the daemon started. */
export interface WorkStatus {
  passes: number;
  changes: number;
  repairs: number;
}

export interface NetworkStatus {
  ranges: RangeStatus[];
  backend: string | null;
  /** A config in the store waits to be accepted. */
  waiting: boolean;
}

export interface RangeStatus {
  network: string;
  subnet_len: number;
  min: string;
  max: string;
  subnets: number;
  free: number;
}

export interface StoreStatus {
  name: string;
  reachable: boolean;
  remembered: boolean;
  error: string | null;
  /** Where, and why. */
  oddities: [string, string][];
}

export interface Way {
  backend: string;
  options: string;
  data_v4?: string;
  data_v6?: string;
}

export type Lifetime = "reserved" | "unknown" | { seconds: number };

export interface LeaseStatus {
  subnets: Families;
  public: Families;
  node: string | null;
  ways: Way[];
  way: string | null;
  reason: string | null;
  own: boolean;
  life: Lifetime;
  seen_ms: number;
}

export type PathState = "proving" | "moved" | "held" | "down";

export interface PathStatus {
  subnets: Families;
  node: string | null;
  public: Families;
  way: string | null;
  wanted: string | null;
  state: PathState;
  reason: string | null;
  leg: string | null;
  /** The same in a few words, while the path is down. */
  stops_at: string | null;
  /** That the path carries less than its link, and how much. */
  narrow: string | null;
  rtt_us: number | null;
  loss_permille: number | null;
  ways: WayStatus[];
}

export type Verdict = "unknown" | "proved" | "failed";

export interface WayStatus {
  way: string;
  in_use: boolean;
  verdict: Verdict;
  reason: string | null;
  proved_bytes: number | null;
  rtt_us: number | null;
  sent: number;
  answered: number;
  proved_ms: number | null;
  next_ms: number | null;
}

export type Standing = "present" | "missing" | "failed" | "refused" | "leaving";

export interface ItemStatus {
  kind: string;
  what: string;
  desired: string | null;
  observed: string | null;
  standing: Standing;
  backend: string;
  lease: Families | null;
  reason: string | null;
}

export type PluginState = "active" | "idle" | "backoff" | "refused";

export interface PluginStatus {
  name: string;
  version: string;
  summary: string;
  world: string | null;
  contract: string | null;
  file: string;
  digest: string;
  imports: string[];
  state: PluginState;
  error: string | null;
  calls: number;
  failures: number;
  restarts: number;
  guest_us: number;
  memory: number;
  violations: number;
  violation: string | null;
  limits: PluginLimits | null;
  granted: PluginGrants | null;
}

/** What an instance may use; memory and output in bytes. */
export interface PluginLimits {
  memory: number;
  table_elements: number;
  instances: number;
  output: number;
  stretch_ms: number;
  computing_ms: number;
  host_calls: number;
  log_lines: number;
  plan_ms: number;
  store_ms: number;
  watch_slack_ms: number;
  items: number;
}

/** What the operator granted to a store. */
export interface PluginGrants {
  directory: string | null;
  servers: Record<string, string[]>;
}

export interface TunnelStatus {
  link: string;
  total: Traffic;
  drops: Record<string, number>;
  peers: PeerTraffic[];
  /** How packets cross between kernel and twill; null before the tunnel is open. */
  crossing: Crossing | null;
}

export interface Crossing {
  queues: number;
  offloads: string[];
  missing: string[];
  sent: CrossingCounts;
  received: CrossingCounts;
}

export interface CrossingCounts {
  batches: number;
  super_packets: number;
  segments: number;
  /** Super-packets by how many packets each stood for. */
  sizes: number[];
}

export interface Traffic {
  sent_packets: number;
  sent_bytes: number;
  received_packets: number;
  received_bytes: number;
}

export interface PeerTraffic {
  peer: string;
  traffic: Traffic;
  heard_ms: number | null;
  /** Packets that were dropped, by reason. */
  drops: Record<string, number>;
}

export interface Event {
  id: number;
  at_ms: number;
  weight: "info" | "warn" | "error";
  room: string;
  text: string;
  /** What kind of thing happened: "repair", "joined", "store", …. */
  kind?: string;
  /** What it is about. */
  item?: string;
  cause?: string;
  /** What twill did. */
  act?: string;
  took_ms?: number;
}
