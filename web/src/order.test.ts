import { expect, it } from "vitest";
import { addressRank, matches, rowsInView, sorted } from "./order";

it("sorts addresses by value, IPv4 first, words last", () => {
  const order = ["9.0.0.0/8", "10.2.0.0/16", "10.2.0.0/24", "10.10.0.0/16", "::1", "2001:db8::2", "2001:db8::10", "fd00:123:7::/64", "twill0"];
  expect(sorted([...order].reverse(), addressRank)).toEqual(order);
});

it("keeps the order of equals, both ways", () => {
  const rows = [{ n: 1, k: "a" }, { n: 0, k: "b" }, { n: 1, k: "c" }];
  expect(sorted(rows, (row) => row.n).map((row) => row.k)).toEqual(["b", "a", "c"]);
  expect(sorted(rows, (row) => row.n, true).map((row) => row.k)).toEqual(["a", "c", "b"]);
});

it("finds rows that hold every word", () => {
  expect(matches("UDP 10.1", ["10.1.2.0/24", null, "udp"])).toBe(true);
  expect(matches("udp 10.2", ["10.1.2.0/24", null, "udp"])).toBe(false);
  expect(matches("", [])).toBe(true);
});

it("draws what is in view and a little more, and never leaves a list's ends", () => {
  expect(rowsInView(0, 800, 40, 5000)).toEqual({ first: 0, end: 32 });
  expect(rowsInView(40_000, 800, 40, 5000)).toEqual({ first: 988, end: 1032 });
  expect(rowsInView(-5_000, 800, 40, 5000)).toEqual({ first: 0, end: 12 });
  expect(rowsInView(1e9, 800, 40, 5000)).toEqual({ first: 4999, end: 5000 });
  for (let above = 0; above < 200_000; above += 777) {
    const { first, end } = rowsInView(above, 800, 40, 5000);
    expect(first * 40).toBeLessThanOrEqual(above);
    expect(Math.min(5000 * 40, above + 800)).toBeLessThanOrEqual(end * 40);
  }
});
