// All leases of the cluster.

import type { LeaseStatus } from "../api";
import { expiry, families, life, short } from "../format";
import { leases, now } from "../live";
import { addressRank } from "../order";
import { type Column, Table } from "../parts/table";
import { Life, Lines, Tag } from "../parts/tag";
import { leaseAddress } from "../route";
import { way } from "../words";

const subnet = (lease: LeaseStatus) => families(lease.subnets)[0];

const COLUMNS: Column<LeaseStatus>[] = [
  {
    key: "subnet",
    title: "Subnet",
    look: "m",
    rank: (lease) => addressRank(subnet(lease)),
    cell: (lease) => (
      <>
        <a href={leaseAddress(subnet(lease))}><Lines of={families(lease.subnets)} /></a>
        <span class="narrow">at {families(lease.public).join(", ")}</span>
      </>
    ),
  },
  {
    key: "node",
    title: "Node",
    look: "m wide",
    rank: (lease) => lease.node ?? "~",
    cell: (lease) => (lease.node ? <span title={lease.node}>{short(lease.node)}</span> : <span class="faint">a flannel node</span>),
  },
  {
    key: "address",
    title: "Public address",
    look: "m wide",
    rank: (lease) => addressRank(families(lease.public)[0]),
    cell: (lease) => <Lines of={families(lease.public)} />,
  },
  {
    key: "way",
    title: "Way",
    rank: (lease) => (lease.own ? "" : (lease.way ?? " ")),
    cell: (lease) => <Tag {...way(lease)} />,
  },
  { key: "why", title: "Why", look: "wide why soft", cell: (lease) => <span title={lease.reason ?? undefined}>{lease.reason}</span> },
  {
    key: "life",
    title: "Life",
    look: "n",
    rank: (lease) => expiry(lease) ?? (lease.life === "reserved" ? Number.MAX_VALUE : Number.MAX_SAFE_INTEGER),
    cell: (lease) => <Life lease={lease} />,
  },
];

/** The own lease first, then what has no way, then by subnet. */
function rank(lease: LeaseStatus): string {
  return `${lease.own ? 0 : lease.way === null ? 1 : 2}${addressRank(subnet(lease))}`;
}

export function LeasesPage() {
  return (
    <section class="card">
      <h1>Leases <small>which node holds which pod subnet</small></h1>
      <Table
        caption="Leases of the cluster; this node's own first, then those without a way"
        noun="lease"
        columns={COLUMNS}
        rows={leases.value}
        rowKey={(lease) => families(lease.subnets).join()}
        rowClass={(lease) => (lease.own ? "own" : "")}
        rank={rank}
        texts={(lease) => [...families(lease.subnets), ...families(lease.public), lease.node, lease.way, lease.reason, life(lease, now.peek())]}
        empty={<p>No leases yet: this node is still asking its store for one. If this lasts, the overview says why.</p>}
      />
    </section>
  );
}
