import { describe, expect, it } from "vitest";
import type { LeaseStatus, PathStatus, Snapshot } from "./api";
import { snapshot as sample, takenMs } from "./fixtures/snapshot";
import { account } from "./sentence";

/** The sample without its troubles. */
function well(): Snapshot {
  const snapshot = structuredClone(sample);
  snapshot.node.problems = [];
  Object.assign(snapshot.node.store, { reachable: true, remembered: false, error: null, oddities: [] });
  snapshot.leases = snapshot.leases.filter((lease) => lease.own || lease.way !== null);
  snapshot.paths = snapshot.paths.filter((path) => path.state === "moved");
  snapshot.state = snapshot.state.filter((item) => item.standing === "present");
  snapshot.plugins = snapshot.plugins.filter((plugin) => plugin.state === "active");
  return snapshot;
}

const peer = (change: Partial<LeaseStatus>): LeaseStatus => ({ ...sample.leases[1]!, ...change });
const tell = (snapshot: Snapshot) => {
  const { tone, headline, others } = account(snapshot, takenMs);
  return [tone, headline, ...others].map((text) => text.replaceAll("\u00a0", " "));
};

describe("when all is well", () => {
  it("counts the peers", () => {
    expect(tell(well())).toEqual(["ok", "All 3 peers have a way, and all is in place."]);
  });
  it("passes over a reservation that no node uses yet", () => {
    const reserved = peer({ life: "reserved", node: null, ways: [], way: null });
    expect(tell({ ...well(), leases: [...well().leases, reserved] })).toEqual(["ok", "All 3 peers have a way, and all is in place."]);
  });
  it("knows one peer from many, and from none", () => {
    const one = { ...well(), paths: [], leases: [sample.leases[0]!, peer({})] };
    expect(tell(one)[1]).toBe("The one peer has a way, and all is in place.");
    expect(tell({ ...one, leases: [sample.leases[0]!] })).toEqual(["ok", "This node is ready, and alone so far."]);
  });
  it("adds what is worth knowing", () => {
    expect(account(well(), takenMs).background).toEqual(["This node holds 10.123.7.0/24 and fd00:123:7::/64.", "The last packet from a peer came just now."]);
  });
});

describe("paths", () => {
  const path = (change: Partial<PathStatus>): PathStatus => ({ ...sample.paths[0]!, ...change });
  it("counts those that are proved", () => {
    const snapshot = { ...well(), paths: [path({}), path({}), path({})] };
    expect(tell(snapshot)[1]).toBe("All 3 paths carry traffic.");
  });
  it("tells how far a change has come", () => {
    const change = { state: "proving", way: "udp" } as const;
    const snapshot = { ...well(), paths: [path({}), path(change), path({})] };
    expect(account(snapshot, takenMs).background[1]?.replaceAll("\u00a0", " ")).toBe("The cluster is moving from udp to vxlan: 2 of 3 paths have moved.");
  });
  it("tells of a path that carries less than its link, though all is well", () => {
    const narrow = "packets of up to 1350 bytes come back, those of 1450 do not: the route says so";
    const snapshot = { ...well(), paths: [path({ narrow }), path({})] };
    expect([tell(snapshot)[0], account(snapshot, takenMs).background[1]]).toEqual(["ok", `The MTU on the road is smaller than the link's on the path to 10.123.12.0/24: ${narrow}.`]);
  });
  it("names the one that carries nothing, with its leg", () => {
    const silent = path({ state: "down", leg: "from here to 192.0.2.11 by vxlan", reason: "no echo came back" });
    expect(tell({ ...well(), paths: [silent] })).toEqual(["bad", "The path to 10.123.12.0/24 by vxlan carries no traffic: from here to 192.0.2.11 by vxlan."]);
    expect(tell({ ...well(), paths: [silent, silent, path({})] })[1]).toBe("2 of 3 paths carry no traffic.");
    const at = (stops_at: string) => path({ state: "down", stops_at });
    expect(tell({ ...well(), paths: [at("the host"), at("the host"), path({})] })[1]).toBe("2 of 3 paths carry no traffic: they stop at the host.");
    expect(tell({ ...well(), paths: [at("the host"), at("the host"), at("UDP port 8472")] })[1]).toBe(
      "3 of 3 paths carry no traffic: they stop at the host (2), UDP port 8472 (1).",
    );
  });
});

describe("when something is wrong", () => {
  it("puts what is broken before what is being mended", () => {
    const lines = tell(sample);
    expect(lines[0]).toBe("bad");
    expect(lines[1]).toBe("The peer 192.0.2.48 has no way from here: no plugin for vxlan is loaded here, and udp has no road to 192.0.2.48.");
    expect(lines[2]).toBe("The store does not answer: cannot list /srv/twill/leases: permission denied.");
    expect(lines.slice(3)).toEqual([
      "1 path of 4 stays on udp: vxlan: 9 echoes were sent and none came back.",
      "2 pieces of network state are not as planned; twill is mending them.",
      "The plugin my-backend failed and will be tried again.",
      "The plugin old.wasm cannot be used here.",
      "1 entry in the store is not a lease, and passed over.",
    ]);
  });
  it("says that a node starts", () => {
    const snapshot = well();
    Object.assign(snapshot.node, { ready: false, subnets: null });
    expect(tell(snapshot)).toEqual(["warn", "This node is starting: it has no lease yet."]);
  });
  it("calls a problem of a node that is not ready broken", () => {
    const snapshot = well();
    Object.assign(snapshot.node, { ready: false, problems: ["cannot open /dev/net/tun: permission denied"] });
    expect(tell(snapshot)).toEqual(["bad", "Cannot open /dev/net/tun: permission denied."]);
  });
  it("names the store once, whether the node did or not", () => {
    const snapshot = well();
    Object.assign(snapshot.node.store, { reachable: false, error: "connection refused" });
    expect(tell(snapshot)).toEqual(["warn", "The store store-file does not answer: connection refused."]);
    snapshot.node.problems = ["The store is away"];
    expect(tell(snapshot)).toEqual(["warn", "The store is away."]);
  });
  it("counts peers without a way", () => {
    const leases = [peer({ way: null }), peer({ way: null }), peer({})];
    expect(tell({ ...well(), leases })[1]).toBe("2 of 3 peers have no way from here.");
  });
  it("does not count as drift what the node named already", () => {
    const state = sample.state.filter((item) => item.standing === "failed");
    const snapshot = { ...well(), state };
    snapshot.node.problems = ["net/ipv4/ip_forward cannot be set: read-only file system"];
    expect(tell(snapshot)).toEqual(["warn", "Net/ipv4/ip_forward cannot be set: read-only file system."]);
  });
  it("tells why the kernel refused", () => {
    const state = sample.state.filter((item) => item.standing === "failed");
    expect(tell({ ...well(), state })[1]).toBe("The sysctl net/ipv4/ip_forward is not as planned, since the kernel refused it: read-only file system.");
  });
});
