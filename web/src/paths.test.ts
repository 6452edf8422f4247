import { expect, it } from "vitest";
import { snapshot } from "./fixtures/snapshot";
import { families } from "./format";
import type { ItemStatus, PathStatus } from "./api";
import { barrier, pathNamed, pathsOf, progress, sentence, stands, stopsAt, why } from "./paths";

it("puts the worst first", () => {
  expect(pathsOf(snapshot.paths, snapshot.tunnels, []).map((path) => path.state)).toEqual(["down", "held", "proving", "moved"]);
  const lossy = [{ ...snapshot.paths[0]!, loss_permille: 0 }, { ...snapshot.paths[0]!, loss_permille: 500 }];
  expect(pathsOf(lossy, [], []).map((path) => path.loss_permille)).toEqual([500, 0]);
});

it("tells how far a change has come and what holds it back", () => {
  const { wanted, from, moved, proving, held, down, total, reasons } = progress(snapshot.paths)!;
  expect([wanted, from, moved, proving, held, down, total]).toEqual(["vxlan", ["udp"], 1, 1, 1, 1, 4]);
  expect(reasons).toEqual([["vxlan: 9 echoes were sent and none came back", 1]]);
});

it("knows no change while all paths are where they should be", () => {
  expect(progress(snapshot.paths.filter((path) => path.state === "moved"))).toBeNull();
  expect(progress([])).toBeNull();
});

it("finds a path by its page's name", () => {
  expect(families(pathNamed(snapshot.paths, "10.123.31.0-24")!.public)).toEqual(["192.0.2.19"]);
  expect(pathNamed(snapshot.paths, "10.9.9.0-24")).toBeUndefined();
});

const chain = (what: string): ItemStatus => ({ kind: "firewall", what, desired: "lets pods' packets pass", observed: "drops them", standing: "missing", backend: "host", lease: null, reason: `${what} drops them` });
const moved = (subnets: PathStatus["subnets"]): PathStatus => ({ ...snapshot.paths.find((path) => path.state === "moved")!, stops_at: null, subnets });

it("says that packets stop at a chain of another's, though the path's own echoes come back", () => {
  const four = moved({ v4: "10.123.31.0/24" });
  const items = [...snapshot.state, chain("chain outwards of table inet guard")];
  const [well] = pathsOf([four], [], snapshot.state);
  const [stopped, first] = [pathsOf([four], [], items)[0]!, pathsOf([...snapshot.paths, four], [], items)[0]!];
  expect([stopsAt(well!), stopsAt(stopped)]).toEqual([null, "the firewall here"]);
  expect([stands(well!, well!.barrier).tone, stands(stopped, stopped.barrier).tone, why({ ...stopped, reason: "held" })]).toEqual(["ok", "bad", "chain outwards of table inet guard drops them"]);
  expect(first.barrier).toBeDefined();
  expect(sentence(four, barrier(four, items))).toBe("Pods' packets stop on this node: chain outwards of table inet guard drops them.");
  expect(sentence(four, barrier(four, snapshot.state))).toMatch(/^It is reached by/);
  expect(stopsAt({ ...stopped, stops_at: "the host" })).toBe("the host");
});

it("knows which families a chain stops", () => {
  const [four, six, both] = [moved({ v4: "10.123.31.0/24" }), moved({ v6: "fd00:123:31::/64" }), moved({ v4: "10.123.31.0/24", v6: "fd00:123:31::/64" })];
  const stopped = (what: string) => [four, six, both].map((path) => barrier(path, [chain(what)]) !== undefined);
  expect(stopped("chain outwards of table inet guard")).toEqual([true, true, true]);
  expect(stopped("chain outwards of table ip guard")).toEqual([true, false, true]);
  expect(stopped("chain outwards of table ip6 guard")).toEqual([false, true, true]);
  expect(stopped("chain FORWARD of iptables-legacy")).toEqual([true, false, true]);
  expect(stopped("chain FORWARD of ip6tables-legacy")).toEqual([false, true, true]);
});
