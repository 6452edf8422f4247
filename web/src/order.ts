// Order, search and windows of lists: pure, so that tables of thousands of rows stay simple.

/** What a row is sorted by. */
export type Rank = string | number;

/** The rows by `rank`, stable; `down` turns the order round. */
export function sorted<T>(rows: readonly T[], rank: (row: T) => Rank, down = false): T[] {
  const ranked = rows.map((row) => ({ row, rank: rank(row) }));
  const sign = down ? -1 : 1;
  ranked.sort((a, b) => sign * compare(a.rank, b.rank));
  return ranked.map(({ row }) => row);
}

function compare(a: Rank, b: Rank): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A text that sorts addresses and prefixes by their value, IPv4 before IPv6; other texts come last, as they are. */
export function addressRank(text: string | undefined): string {
  if (text === undefined) return "9";
  const known = ranks.get(text);
  if (known !== undefined) return known;
  if (ranks.size > MOST_RANKS) ranks.clear();
  const rank = rankOf(text);
  ranks.set(text, rank);
  return rank;
}

/** Ranks that were computed before: a list of thousands is sorted anew whenever one of its rows changes. */
const ranks = new Map<string, string>();
const MOST_RANKS = 50_000;

function rankOf(text: string): string {
  const [address = "", length = ""] = text.split("/");
  const tail = `/${length.padStart(3, "0")}`;
  if (/^\d+(\.\d+){3}$/.test(address)) return `4${address.split(".").map((part) => part.padStart(3, "0")).join(".")}${tail}`;
  if (address.includes(":")) return `6${expand(address)}${tail}`;
  return `8${text}`;
}

/** All eight groups of an IPv6 address, four digits each. */
function expand(address: string): string {
  const [head = "", rest] = address.split("::");
  const groups = (text: string | undefined) => (text ? text.split(":") : []);
  const [left, right] = [groups(head), groups(rest)];
  const gap = rest === undefined ? [] : Array<string>(Math.max(0, 8 - left.length - right.length)).fill("0");
  return [...left, ...gap, ...right].map((group) => group.padStart(4, "0")).join(":");
}

/** True when every word of the query occurs in one of the texts. */
export function matches(query: string, texts: readonly (string | null | undefined)[]): boolean {
  const hay = texts.filter((text) => text != null).join("\n").toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => hay.includes(word));
}

/** The rows to draw of `total`, when the list's top lies `above` pixels above the viewport's: from `first`, before `end`. */
export function rowsInView(above: number, viewport: number, row: number, total: number, spare = 12): { first: number; end: number } {
  const top = Math.floor(Math.max(0, above) / row);
  const end = Math.min(total, Math.max(0, Math.ceil((above + viewport) / row)) + spare);
  return { first: Math.max(0, Math.min(top - spare, end - 1)), end };
}
