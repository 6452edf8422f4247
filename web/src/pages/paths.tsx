// All paths from this node, worst first: a change of the backend under way, the map, and the table.

import { bitrate, count, families, plural, spent } from "../format";
import { paths, samples, state, tunnels } from "../live";
import { addressRank } from "../order";
import { ChangeCard } from "../parts/change";
import { Map, MOST } from "../parts/map";
import { type Column, Table } from "../parts/table";
import { Lines, Tag } from "../parts/tag";
import { pathRank, type Path, pathsOf, stands, why, worstFirst } from "../paths";
import { pathAddress } from "../route";
import { peerRate } from "../traffic";

const subnet = (path: Path) => families(path.subnets)[0];

/** The loss of the last echoes, in per cent. */
export function loss(permille: number | null): string {
  return permille === null ? "" : `${permille / 10}\u00a0%`;
}

const COLUMNS: Column<Path>[] = [
  {
    key: "peer",
    title: "Peer",
    look: "m",
    rank: (path) => addressRank(families(path.public)[0]),
    cell: (path) => (
      <>
        <a href={pathAddress(subnet(path))}><Lines of={families(path.public)} /></a>
        <span class="narrow">{subnet(path)}</span>
      </>
    ),
  },
  { key: "subnet", title: "Subnet", look: "m wide", rank: (path) => addressRank(subnet(path)), cell: (path) => <Lines of={families(path.subnets)} /> },
  { key: "way", title: "Way", rank: (path) => path.way ?? "", cell: (path) => (path.way ? <Tag word={path.way} tone="way" /> : <Tag word="no way" tone="bad" />) },
  { key: "state", title: "State", rank: pathRank, cell: (path) => <Tag {...stands(path, path.barrier)} /> },
  { key: "rtt", title: "Round trip", look: "n", rank: (path) => path.rtt_us ?? Infinity, cell: (path) => (path.rtt_us === null ? "" : spent(path.rtt_us)) },
  { key: "loss", title: "Loss", look: "n wide", rank: (path) => path.loss_permille ?? -1, cell: (path) => loss(path.loss_permille) },
  { key: "traffic", title: "Traffic", look: "n wide", cell: (path) => <Rate path={path} /> },
  { key: "why", title: "Why", look: "wide why soft", cell: (path) => <span title={why(path)}>{why(path)}</span> },
];

/** What goes to and comes from a peer now; the kernel's own ways are not counted. */
function Rate({ path }: { path: Path }) {
  const rate = peerRate(samples.value, path.public);
  return rate ? <>{bitrate(rate.sent + rate.received)}</> : <span class="faint">not counted</span>;
}

export function PathsPage() {
  const all = pathsOf(paths.value, tunnels.value, state.value);
  const worse = all.filter((path) => path.state !== "moved" || path.barrier).length;
  return (
    <>
      <ChangeCard />
      <section class="card">
        <h1>Paths <small>{worse === 0 ? "from this node to its peers" : `${plural(worse, "path")} not as ${worse === 1 ? "it" : "they"} should be, worst first`}</small></h1>
        {all.length > 0 && <Map paths={all} />}
        {all.length > MOST && <p class="soft wide">The picture shows the {MOST} worst of {count(all.length)} paths.</p>}
        <Table
          caption="Paths from this node to its peers, worst first"
          noun="path"
          columns={COLUMNS}
          rows={all}
          rowKey={(path) => families(path.subnets).join()}
          rowClass={(path) => (path.state === "down" || path.barrier ? "drift" : "")}
          rank={worstFirst}
          texts={(path) => [...families(path.subnets), ...families(path.public), path.node, path.way, path.reason, path.leg, stands(path, path.barrier).word]}
          empty={<p>No peers yet. A path appears here as soon as a second node has a lease.</p>}
        />
      </section>
    </>
  );
}
