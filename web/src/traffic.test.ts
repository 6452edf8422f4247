import { expect, it } from "vitest";
import { snapshot } from "./fixtures/snapshot";
import { host, peersOf } from "./peers";
import { drops, keep, line, rates, type Sample, sample } from "./traffic";

const at = (atMs: number, sent: number): Sample => ({ atMs, sent, received: 0, dropped: 0 });

it("adds up the tunnels", () => {
  const { sent, received, dropped } = sample(snapshot.tunnels, 0);
  expect([sent, received, dropped]).toEqual([1_031_240_000, 702_720_000, 35]);
});

it("makes rates of neighbouring samples", () => {
  expect(rates([at(0, 0), at(2000, 500), at(3000, 500)]).map((rate) => rate.sent)).toEqual([250, 0]);
  expect(rates([at(0, 0)])).toEqual([]);
});

it("starts anew when a counter runs backwards, and forgets what is old", () => {
  expect(keep([at(0, 900)], at(1000, 5))).toEqual([at(1000, 5)]);
  expect(keep([at(0, 1), at(500_000, 2)], at(700_000, 3))).toEqual([at(500_000, 2), at(700_000, 3)]);
  expect(keep([at(0, 1)], at(100, 2))).toEqual([at(0, 1)]);
});

it("names drops, most first, and only those that happened", () => {
  expect(drops([...snapshot.tunnels, ...snapshot.tunnels])).toEqual([["unknown sender", 62], ["too big", 8]]);
});

it("draws a line from edge to edge", () => {
  expect(line([0, 5, 10], 100, 50, 10)).toBe("M0.0 50.0L50.0 25.0L100.0 0.0");
  expect(line([1], 100, 50, 1)).toBe("");
});

it("joins peers with their traffic, worst first", () => {
  const peers = peersOf(snapshot.leases, snapshot.tunnels);
  expect(peers.map((peer) => peer.lease.public.v4)).toEqual(["192.0.2.48", "192.0.2.22", "192.0.2.11", "192.0.2.19"]);
  expect(peers.map((peer) => peer.traffic !== null)).toEqual([false, true, true, true]);
  expect([host("192.0.2.1:8285"), host("[2001:db8::1]:8285")]).toEqual(["192.0.2.1", "2001:db8::1"]);
});
