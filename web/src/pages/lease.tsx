// One lease: who holds it, by which ways its node is reached, and what stands on this node for its sake.

import type { LeaseStatus, Way } from "../api";
import { families, short, volume } from "../format";
import { leases, state, tunnels } from "../live";
import { Row } from "../parts/list";
import { Ago, Fact, Life, Lines, Tag } from "../parts/tag";
import { counters } from "../peers";
import { pathAddress } from "../route";
import { bare, standing, way } from "../words";

export function LeasePage({ name }: { name: string }) {
  const lease = leases.value.find((lease) => families(lease.subnets).some((prefix) => prefix.replace("/", "-") === name));
  if (!lease) return <Gone name={name} />;
  return (
    <>
      <section class="card">
        <h1><span class="m">{families(lease.subnets)[0]}</span> <Tag {...way(lease)} /> <a href="/leases">All leases</a></h1>
        {!lease.own && <p><a href={pathAddress(families(lease.subnets)[0])}>The path to it, leg by leg</a></p>}
        {lease.reason && <p class="soft">{lease.way === null ? "No way is in use: " : `By ${lease.way}: `}{lease.reason}.</p>}
        <Facts lease={lease} />
      </section>
      <section class="card">
        <h2>Ways <small>by which its node is reached, best first</small></h2>
        <ol class="rows">{lease.ways.map((way) => <WayRow key={way.backend + way.options} way={way} used={way.backend === lease.way} />)}</ol>
      </section>
      {!lease.own && <Items lease={lease} />}
    </>
  );
}

function Facts({ lease }: { lease: LeaseStatus }) {
  const { traffic, heardMs } = counters(tunnels.value)(lease.public);
  return (
    <dl class="facts">
      <Fact name="Subnets"><Lines of={families(lease.subnets)} /></Fact>
      <Fact name="Public address"><Lines of={families(lease.public)} /></Fact>
      <Fact name="Lives on for"><Life lease={lease} /></Fact>
      <Fact name="Node"><span class={lease.node ? "m" : ""} title={lease.node ?? undefined}>{lease.node ? short(lease.node, 13) : "a flannel node, which has no id"}</span></Fact>
      {traffic && !lease.own && <Fact name="Sent">{volume(traffic.sent_bytes)}</Fact>}
      {traffic && !lease.own && <Fact name="Received">{volume(traffic.received_bytes)}</Fact>}
      {traffic && !lease.own && <Fact name="Last heard">{heardMs === null ? "not yet" : <Ago atMs={heardMs} />}</Fact>}
    </dl>
  );
}

function WayRow({ way, used }: { way: Way; used: boolean }) {
  return (
    <Row state={used ? { word: "in use", tone: "way" } : undefined}>
      <b>{way.backend}</b> <code>{way.options}</code> <code class="faint">{way.data_v4}</code> <code class="faint">{way.data_v6}</code>
    </Row>
  );
}

function Items({ lease }: { lease: LeaseStatus }) {
  const own = families(lease.subnets);
  const items = state.value.filter((item) => families(item.lease).some((prefix) => own.includes(prefix)));
  return (
    <section class="card">
      <h2>On this node <small>network state that is there for this lease</small></h2>
      {items.length === 0 && <p class="empty">Nothing is planned for this lease alone.</p>}
      <ul class="rows">
        {items.map((item) => (
          <Row key={`${item.kind} ${item.what}`} state={standing(item)}>
            {item.kind} <code>{bare(item)}</code> <span class="soft">{item.reason}</span>
          </Row>
        ))}
      </ul>
    </section>
  );
}

function Gone({ name }: { name: string }) {
  return (
    <section class="card">
      <h1>There is no lease {name}</h1>
      <p class="soft">
        It may have expired, or its node released it. These are <a href="/leases">all leases</a>; the{" "}
        <a href={`/events?q=${encodeURIComponent(name.replace("-", "/"))}`}>events</a> may tell when it went.
      </p>
    </section>
  );
}
