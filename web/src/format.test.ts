import { expect, it } from "vitest";
import { snapshot, takenMs } from "./fixtures/snapshot";
import * as format from "./format";

const plain = (text: string) => text.replaceAll("\u00a0", " ").replaceAll("\u202f", " ");

it("groups digits by three", () => {
  expect([0, 999, 1000, 1234567].map((n) => plain(format.count(n)))).toEqual(["0", "999", "1 000", "1 234 567"]);
});

it("counts things", () => {
  expect([0, 1, 2].map((n) => plain(format.plural(n, "peer")))).toEqual(["0 peers", "1 peer", "2 peers"]);
});

it("gives sizes with three figures at most, and a unit", () => {
  expect([0, 1023, 1024, 1310720, 52428800].map((n) => plain(format.memory(n)))).toEqual(["0 B", "1023 B", "1.00 KiB", "1.25 MiB", "50.0 MiB"]);
  expect([999, 1000, 1.5e9].map((n) => plain(format.volume(n)))).toEqual(["999 B", "1.00 kB", "1.50 GB"]);
  expect([0, 125_000_000].map((n) => plain(format.bitrate(n)))).toEqual(["0 bit/s", "1.00 Gbit/s"]);
  expect([850, 153, 184_000, 2_500_000].map((n) => plain(format.spent(n)))).toEqual(["850 µs", "153 µs", "184 ms", "2.50 s"]);
});

it("gives times in their two largest units", () => {
  const seconds = [0, 59, 60, 95, 3600, 81_660, 90_061];
  expect(seconds.map((s) => plain(format.duration(s * 1000)))).toEqual(["0 s", "59 s", "1 m 0 s", "1 m 35 s", "1 h 0 m", "22 h 41 m", "1 d 1 h"]);
  expect(plain(format.duration(-5))).toBe("0 s");
  expect([500, 40_000].map((ms) => plain(format.ago(ms)))).toEqual(["just now", "40 s ago"]);
});

it("counts a lease's life down from when it was told", () => {
  const [own, , short, reserved, unknown] = snapshot.leases;
  expect(plain(format.life(own!, takenMs))).toBe("23 h 58 m");
  expect(plain(format.life(short!, takenMs))).toBe("55 s");
  expect(format.life(short!, takenMs + 60_000)).toBe("expired");
  expect([reserved!, unknown!].map((lease) => format.life(lease, takenMs))).toEqual(["reserved, no end", "set by the store"]);
});

it("makes sentences of phrases", () => {
  expect(["cannot bind", "Done.", "why?"].map(format.sentenceCase)).toEqual(["Cannot bind.", "Done.", "Why?"]);
});
