// Numbers, times and addresses as people read them; every figure with its unit.

import type { Families, LeaseStatus } from "./api";

/** Keeps a number and its unit on one line. */
const NB = "\u00a0";

/** 1234567 -> "1 234 567". */
export function count(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** "1 peer", "2 peers". */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)}${NB}${n === 1 ? one : many}`;
}

function scaled(n: number, base: number, units: string[]): string {
  let unit = 0;
  while (n >= base && unit < units.length - 1) {
    n /= base;
    unit += 1;
  }
  const digits = unit === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return `${n.toFixed(digits)}${NB}${units[unit]}`;
}

/** Memory, by powers of 1024. */
export function memory(bytes: number): string {
  return scaled(bytes, 1024, ["B", "KiB", "MiB", "GiB"]);
}

/** An amount of traffic, by powers of 1000. */
export function volume(bytes: number): string {
  return scaled(bytes, 1000, ["B", "kB", "MB", "GB", "TB", "PB"]);
}

/** A rate of traffic, from bytes a second. */
export function bitrate(bytesPerSecond: number): string {
  return scaled(bytesPerSecond * 8, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
}

/** Time spent, from microseconds. */
export function spent(us: number): string {
  return scaled(us, 1000, ["µs", "ms", "s"]);
}

const STEPS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "m"],
  [1, "s"],
];

/** A length of time in its two largest units: "22 h 41 m". */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const first = STEPS.findIndex(([size]) => seconds >= size);
  if (first < 0) return `0${NB}s`;
  const [size, unit] = STEPS[first]!;
  const whole = `${Math.floor(seconds / size)}${NB}${unit}`;
  const next = STEPS[first + 1];
  return next ? `${whole} ${Math.floor((seconds % size) / next[0])}${NB}${next[1]}` : whole;
}

/** "40 s ago"; under two seconds, "just now". */
export function ago(ms: number): string {
  return ms < 2_000 ? "just now" : `${duration(ms)} ago`;
}

/** Time of day, local to the reader. */
export function clock(atMs: number): string {
  return new Date(atMs).toLocaleTimeString("en-GB");
}

/** Day and time of day, local to the reader. */
export function moment(atMs: number): string {
  return `${day(atMs)}, ${clock(atMs)}`;
}

/** "Sunday 20 September 2026", local to the reader. */
export function day(atMs: number): string {
  const options = { weekday: "long", day: "numeric", month: "long", year: "numeric" } as const;
  return new Date(atMs).toLocaleDateString("en-GB", options).replace(",", "");
}

/** The start of a long hexadecimal name. */
export function short(id: string, digits = 8): string {
  return id.length > digits + 2 ? `${id.slice(0, digits)}…` : id;
}

/** The values that are there, IPv4 first. */
export function families(values: Families | null): string[] {
  return values ? [values.v4, values.v6].filter((value) => value !== undefined) : [];
}

/** A sentence as it stands after another: with a capital, and a full stop. */
export function sentenceCase(text: string): string {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(start) ? start : `${start}.`;
}

/** When the store lets go of a lease; null when that is never, or not known. */
export function expiry(lease: LeaseStatus): number | null {
  return typeof lease.life === "object" ? lease.seen_ms + lease.life.seconds * 1000 : null;
}

/** A lease's life in words, as of `nowMs`. */
export function life(lease: LeaseStatus, nowMs: number): string {
  const end = expiry(lease);
  if (end === null) return lease.life === "reserved" ? "reserved, no end" : "set by the store";
  return end > nowMs ? duration(end - nowMs) : "expired";
}
