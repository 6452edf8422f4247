import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { holding, isDue } from "./hold";

let scroll: () => void = () => {};

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("addEventListener", (_: string, listener: () => void) => (scroll = listener));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("holds news while somebody scrolls, and not for ever", () => {
  expect(isDue(10_000, -Infinity, 10_000)).toBe(true);
  expect(isDue(10_000, 9_990, 9_995)).toBe(false);
  expect(isDue(10_000, 9_800, 9_995)).toBe(true);
  expect(isDue(10_000, 9_990, 6_000)).toBe(true);
});

it("applies at once, and in order when the hand rests", () => {
  const applied: number[][] = [];
  const give = holding<number>((all) => applied.push(all));
  give(1);
  expect(applied).toEqual([[1]]);
  scroll();
  give(2);
  give(3);
  expect(applied).toEqual([[1]]);
  vi.advanceTimersByTime(400);
  expect(applied).toEqual([[1], [2, 3]]);
  give(4);
  expect(applied).toEqual([[1], [2, 3], [4]]);
});

it("does not grow old under a hand that never rests", () => {
  const applied: number[][] = [];
  const give = holding<number>((all) => applied.push(all));
  scroll();
  give(1);
  for (let i = 0; i < 40; i += 1) {
    scroll();
    vi.advanceTimersByTime(100);
  }
  expect(applied).toEqual([[1]]);
});
