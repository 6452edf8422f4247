// Network state: what there should be against what the kernel has, by kind, drift first.

import type { ItemStatus } from "../api";
import { count, families, plural } from "../format";
import { state } from "../live";
import { addressRank } from "../order";
import { type Column, Table } from "../parts/table";
import { Tag } from "../parts/tag";
import { leaseAddress, parameter } from "../route";
import { bare, drifts, standing, standingRank } from "../words";

const COLUMNS: Column<ItemStatus>[] = [
  { key: "what", title: "What", look: "m", rank: (item) => addressRank(item.what), cell: what },
  { key: "kind", title: "Kind", look: "wide", rank: (item) => item.kind, cell: (item) => item.kind },
  { key: "standing", title: "Standing", rank: standingRank, cell: (item) => <Tag {...standing(item)} /> },
  { key: "desired", title: "Should be", look: "m wide", cell: (item) => (item.desired === null ? null : bare(item)) ?? <span class="plain faint">nothing any more</span> },
  { key: "observed", title: "Is", look: "m wide", cell: observed },
  { key: "from", title: "Planned by", look: "wide", rank: (item) => item.backend, cell: planner },
];

/** The name of the item; on a phone, the columns that do not fit as well. */
function what(item: ItemStatus) {
  const difference = `should be ${item.desired ?? "gone"}, is ${item.observed ?? "nothing"}`;
  const words = item.observed === item.desired ? bare(item) : difference;
  return (
    <>
      {item.what}
      <span class="narrow plain">{item.kind}, {words}{item.reason && `: ${item.reason}`}</span>
    </>
  );
}

function observed(item: ItemStatus) {
  if (item.observed === null) return <><span class="plain faint">nothing</span><Reason item={item} /></>;
  if (item.observed === item.desired) return <span class="plain faint">the same</span>;
  return <>{item.observed}<Reason item={item} /></>;
}

function Reason({ item }: { item: ItemStatus }) {
  return item.reason ? <span class="line reason">{item.reason}</span> : null;
}

function planner(item: ItemStatus) {
  const [subnet] = families(item.lease);
  return <>{item.backend}{subnet && <> for <a class="m" href={leaseAddress(subnet)}>{subnet}</a></>}</>;
}

export function StatePage() {
  const all = state.value;
  const kind = parameter("kind");
  const kinds = [...new Set(all.map((item) => item.kind))];
  const items = kind ? all.filter((item) => item.kind === kind) : all;
  return (
    <section class="card">
      <h1>State <small>{summary(all)}</small></h1>
      <nav class="kinds" aria-label="Kind of state">
        <Kind name="all" items={all} href="/state" chosen={kind === ""} />
        {kinds.map((name) => (
          <Kind key={name} name={name} items={all.filter((item) => item.kind === name)} href={`/state?kind=${name}`} chosen={kind === name} />
        ))}
      </nav>
      <Table
        caption="Network state, desired against observed; what is not as planned first"
        noun="item"
        columns={COLUMNS}
        rows={items}
        rowKey={(item) => `${item.kind} ${item.what} ${item.standing === "leaving"}`}
        rowClass={(item) => (drifts(item) ? "drift" : "")}
        rank={(item) => `${standingRank(item)} ${item.kind} ${addressRank(item.what)}`}
        texts={(item) => [item.kind, item.what, item.desired, item.observed, item.reason, item.backend, standing(item).word]}
        empty={<p>Nothing is planned yet. Links, addresses and routes appear here once this node has a lease.</p>}
      />
    </section>
  );
}

function summary(items: ItemStatus[]): string {
  const n = items.filter(drifts).length;
  if (items.length === 0) return "";
  return n === 0 ? "the kernel has all that is planned" : `${plural(n, "item")} not as planned`;
}

/** A link to the items of one kind, with how many there are and how many are not as planned. */
function Kind({ name, items, href, chosen }: { name: string; items: ItemStatus[]; href: string; chosen: boolean }) {
  const off = items.filter(drifts).length;
  return (
    <a href={href} aria-current={chosen ? "true" : undefined}>
      {name} {count(items.length)}{off > 0 && <span class="word bad"> {count(off)} off</span>}
    </a>
  );
}
