import { expect, it } from "vitest";
import { snapshot } from "./fixtures/snapshot";
import { counters, host } from "./peers";
import { keep, line, peerRate, peerRates, rates, type Sample, sample } from "./traffic";

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

it("draws a line from edge to edge", () => {
  expect(line([0, 5, 10], 100, 50, 10)).toBe("M0.0 50.0L50.0 25.0L100.0 0.0");
  expect(line([1], 100, 50, 1)).toBe("");
});

it("finds what is counted for a peer", () => {
  const counted = counters(snapshot.tunnels);
  expect(["192.0.2.48", "192.0.2.22", "192.0.2.11"].map((v4) => counted({ v4 }).traffic?.sent_packets ?? null)).toEqual([null, 812, 568_400]);
  expect([host("192.0.2.1:8285"), host("[2001:db8::1]:8285")]).toEqual(["192.0.2.1", "2001:db8::1"]);
});

it("makes rates for one peer, and none for who is not counted", () => {
  const counted = (atMs: number, bytes: number): Sample => ({ ...at(atMs, 0), peers: new Map([["192.0.2.11", [bytes, 2 * bytes] as const]]) });
  const samples = [counted(0, 100), counted(2000, 300), counted(3000, 50)];
  expect(peerRates(samples, { v4: "192.0.2.11" })).toEqual([{ sent: 100, received: 200 }, { sent: 0, received: 0 }]);
  expect(peerRate(samples, { v4: "192.0.2.12" })).toBeUndefined();
  expect(keep([counted(0, 1)], counted(130_000, 2))[0]).toEqual(at(0, 0));
});
