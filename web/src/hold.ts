// News that comes while somebody scrolls waits until the hand rests: thousands of leases take longer to read and sort than a frame lasts.

/** The hand rests when nothing was scrolled for so long. */
const REST_MS = 150;
/** News is never held back for longer: a page that scrolls on and on must not grow old. */
const LONGEST_MS = 3_000;

/** True when news that has been held since `heldSinceMs` is to be applied now. */
export function isDue(nowMs: number, scrolledMs: number, heldSinceMs: number): boolean {
  return nowMs - scrolledMs >= REST_MS || nowMs - heldSinceMs >= LONGEST_MS;
}

/** Hands on what it is given, in order, at once or when the hand rests. */
export function holding<T>(apply: (all: T[]) => void): (one: T) => void {
  let scrolledMs = -Infinity;
  let sinceMs = 0;
  let held: T[] = [];
  addEventListener("scroll", () => (scrolledMs = Date.now()), { passive: true, capture: true });
  const look = () => {
    if (!isDue(Date.now(), scrolledMs, sinceMs)) return void setTimeout(look, REST_MS);
    const all = held;
    held = [];
    apply(all);
  };
  return (one) => {
    held.push(one);
    if (held.length > 1) return;
    sinceMs = Date.now();
    look();
  };
}
