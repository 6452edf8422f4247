import { expect, it } from "vitest";
import { snapshot } from "./fixtures/snapshot";
import { counters, drops } from "./peers";

it("names drops, most first, and only those that happened", () => {
  expect(drops([...snapshot.tunnels, ...snapshot.tunnels])).toEqual([["unknown sender", 62], ["too big", 8]]);
});

it("finds what the tunnels count for a peer by any of its addresses", () => {
  const entry = snapshot.tunnels[0]!.peers.find(({ drops }) => Object.keys(drops).length)!;
  const counted = counters(snapshot.tunnels)({ v4: entry.peer.replace(/:.*/, "") });
  expect(counted.traffic).toEqual(entry.traffic);
  expect(counted.dropped).toEqual(Object.entries(entry.drops));
  expect(counters(snapshot.tunnels)({ v4: "203.0.113.1" })).toEqual({ traffic: null, heardMs: null, dropped: [] });
});
