// A table that sorts, searches and stays smooth with thousands of rows: long lists draw only the rows in view. Search and order live in the
// page's address.

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { matches, type Rank, rowsInView, sorted } from "../order";
import { parameter, setParameters } from "../route";
import { Find } from "./find";

export interface Column<T> {
  key: string;
  title: string;
  cell: (row: T) => ComponentChildren;
  /** What the column sorts by; without it, it does not. */
  rank?: (row: T) => Rank;
  /** "n" for figures, "wide" for what a phone leaves out, "m" for a monospaced face. */
  look?: string;
}

interface Props<T> {
  caption: string;
  columns: Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  /** The texts that the search looks through. */
  texts: (row: T) => (string | null | undefined)[];
  /** What rows are called, as in "12 leases". */
  noun: string;
  rowClass?: (row: T) => string;
  /** The order until a column is chosen. */
  rank: (row: T) => Rank;
  /** Shown when there are no rows at all. */
  empty: ComponentChildren;
}

/** Lists up to this length are drawn whole. */
const WHOLE = 150;
/** Height of a row in a long list, in pixels; style.css says the same. */
const ROW = 41;

export function Table<T>(props: Props<T>) {
  const { columns, rows, texts, noun } = props;
  const [query, sort, order] = [parameter("q"), parameter("sort"), parameter("order")];
  const shown = useMemo(() => {
    const chosen = columns.find((column) => column.key === sort)?.rank;
    const found = query ? rows.filter((row) => matches(query, texts(row))) : rows;
    return sorted(found, chosen ?? props.rank, chosen !== undefined && order === "down");
  }, [rows, query, sort, order]);
  if (rows.length === 0) return <div class="empty">{props.empty}</div>;
  return (
    <>
      <Find noun={noun} shown={shown.length} total={rows.length} />
      {shown.length > 0 && <Grid {...props} rows={shown} />}
    </>
  );
}

function Grid<T>({ caption, columns, rows, rowKey, rowClass }: Props<T>) {
  const long = rows.length > WHOLE;
  const [body, { first, end }] = useView(long, rows.length);
  return (
    <div class={long ? "scroll long" : "scroll"}>
      <table aria-rowcount={long ? rows.length + 1 : undefined}>
        <caption>{caption}</caption>
        <thead>
          <tr>{columns.map((column) => <Head key={column.key} column={column} />)}</tr>
        </thead>
        <tbody ref={body}>
          <Gap rows={first} />
          {rows.slice(first, end).map((row, i) => (
            <tr key={rowKey(row)} class={rowClass?.(row)} aria-rowindex={long ? first + i + 2 : undefined}>
              {columns.map(({ key, look, cell }, c) =>
                c === 0 ? <th scope="row" key={key} class={look}>{cell(row)}</th> : <td key={key} class={look}>{cell(row)}</td>,
              )}
            </tr>
          ))}
          <Gap rows={rows.length - end} />
        </tbody>
      </table>
    </div>
  );
}

/** The room that rows out of view would take. */
function Gap({ rows }: { rows: number }) {
  return rows > 0 ? <tr class="gap" aria-hidden="true"><td style={{ height: `${rows * ROW}px` }} /></tr> : null;
}

function Head<T>({ column }: { column: Column<T> }) {
  const active = parameter("sort") === column.key;
  const down = active && parameter("order") === "down";
  // Up, down, and back to the table's own order.
  const next = !active ? { sort: column.key, order: "" } : down ? { sort: "", order: "" } : { sort: column.key, order: "down" };
  const arrow = active ? <span aria-hidden="true">{down ? " ↓" : " ↑"}</span> : null;
  return (
    <th scope="col" class={column.look} aria-sort={active ? (down ? "descending" : "ascending") : undefined}>
      {column.rank ? <button onClick={() => setParameters(next)}>{column.title}{arrow}</button> : column.title}
    </th>
  );
}

/** The rows of a long list that are in view, followed as the page scrolls. */
function useView(long: boolean, total: number) {
  const body = useRef<HTMLTableSectionElement>(null);
  const [view, setView] = useState({ first: 0, end: 60 });
  useEffect(() => {
    if (!long) return;
    const look = () => {
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const next = rowsInView(-top, innerHeight, ROW, total);
      setView((old) => (old.first === next.first && old.end === next.end ? old : next));
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [long, total]);
  return [body, long ? { first: Math.min(view.first, total), end: Math.min(view.end, total) } : { first: 0, end: total }] as const;
}
