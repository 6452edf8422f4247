// The path to one peer, leg by leg: what is known of each of its ways, what this node has in place for it, and what was said of it lately.

import type { ItemStatus, PathStatus, WayStatus } from "../api";
import { bitrate, count, families, short, spent, volume } from "../format";
import { events, now, paths, samples, state, tunnels } from "../live";
import { matches, sorted } from "../order";
import { Row } from "../parts/list";
import { Spark } from "../parts/spark";
import { Ago, Fact, Lines, Tag } from "../parts/tag";
import { Timeline } from "../parts/timeline";
import { Drops } from "../parts/traffic";
import { barrier, pathNamed, sentence, stands } from "../paths";
import { counters } from "../peers";
import { leaseAddress } from "../route";
import { peerRates } from "../traffic";
import { bare, drifts, standing, standingRank, verdict } from "../words";
import { loss } from "./paths";

export function PathPage({ name }: { name: string }) {
  const path = pathNamed(paths.value, name);
  if (!path) return <Gone name={name} />;
  const subnets = families(path.subnets);
  const stop = barrier(path, state.value);
  const items = sorted(state.value.filter((item) => takesPart(item, path, subnets)), standingRank);
  return (
    <>
      <section class="card">
        <h1>
          <span class="m">{families(path.public)[0]}</span> {path.way && <Tag word={path.way} tone="way" />} <Tag {...stands(path, stop)} /> <a href="/paths">All paths</a>
        </h1>
        <p>{sentence(path, stop)}</p>
        <Facts path={path} />
      </section>
      <section class="card">
        <h2>Leg by leg <small>from a pod here to a pod there</small></h2>
        <Legs path={path} items={items} />
      </section>
      <div class="columns">
        <section class="card">
          <h2>Ways <small>by which it can be reached, the one that is wanted first</small></h2>
          <ol class="rows">{path.ways.map((way) => <WayRow key={way.way} way={way} />)}</ol>
        </section>
        <Traffic path={path} />
      </div>
      <Lately subnets={[...subnets, ...families(path.public)]} />
    </>
  );
}

/** What packets to the peer pass on this node: what is there for it alone, the link of its way, and chains of others that drop them. */
function takesPart(item: ItemStatus, path: PathStatus, subnets: string[]): boolean {
  const its = families(item.lease).some((prefix) => subnets.includes(prefix));
  return its || item.kind === "firewall" || (item.kind === "link" && item.backend === path.way);
}

function Facts({ path }: { path: PathStatus }) {
  const used = path.ways.find((way) => way.in_use);
  return (
    <dl class="facts">
      <Fact name="Subnets"><Lines of={families(path.subnets)} /></Fact>
      <Fact name="Public address"><Lines of={families(path.public)} /></Fact>
      <Fact name="Round trip">{path.rtt_us === null ? "not measured yet" : spent(path.rtt_us)}</Fact>
      <Fact name="Loss, last echoes">{path.loss_permille === null ? "not measured yet" : loss(path.loss_permille)}</Fact>
      <Fact name="Largest packet proved">{used?.proved_bytes ? `${count(used.proved_bytes)} bytes` : "none yet"}</Fact>
      <Fact name="Last proof">{used?.proved_ms ? <Ago atMs={used.proved_ms} /> : "none yet"}</Fact>
      <Fact name="Node"><a class="m" title={path.node ?? undefined} href={leaseAddress(families(path.subnets)[0])}>{path.node ? short(path.node, 13) : "a flannel node"}</a></Fact>
    </dl>
  );
}

/** What stands on this node for the peer, then the road and the peer itself; the first leg that is broken is marked. */
function Legs({ path, items }: { path: PathStatus; items: ItemStatus[] }) {
  const used = path.ways.find((way) => way.in_use);
  const broken = items.find(drifts);
  return (
    <ol class="rows legs">
      {items.map((item) => (
        <li key={`${item.kind} ${item.what}`} class={item === broken ? "broken" : ""}>
          <span>{item.kind} <code>{bare(item)}</code> {item.reason && <span class="soft">{item.reason}</span>}</span>
          <Tag {...standing(item)} />
        </li>
      ))}
      {items.length === 0 && <li><span class="soft">nothing is in place for this peer alone: its packets take what is there for all</span></li>}
      <li class={!broken && path.state === "down" ? "broken" : path.narrow ? "narrow" : ""}>
        <span>
          {(path.state === "down" && !broken && path.leg) || "the road to the peer, the peer, and the road back"}
          {path.narrow && <span class="line soft">the MTU on the road is smaller than the link's: {path.narrow}</span>}
        </span>
        {used ? <Tag {...verdict(used)} /> : <Tag word="no way" tone="bad" />}
      </li>
    </ol>
  );
}

function WayRow({ way }: { way: WayStatus }) {
  const proof = way.proved_bytes === null ? "" : `, proved up to ${count(way.proved_bytes)} bytes`;
  const next = way.next_ms !== null && !way.in_use && way.next_ms > now.value ? `, tried again in ${spent((way.next_ms - now.value) * 1000)}` : "";
  return (
    <Row state={verdict(way)}>
      <b>{way.way}</b>{way.in_use && <> <span class="word">in use</span></>}
      <span class="soft"> {count(way.answered)} of {count(way.sent)} echoes came back{proof}{next}</span>
      {way.reason && <span class="line reason">{way.reason}</span>}
    </Row>
  );
}

function Traffic({ path }: { path: PathStatus }) {
  const { traffic, heardMs, dropped } = counters(tunnels.value)(path.public);
  if (!traffic) {
    return (
      <section class="card">
        <h2>Traffic</h2>
        <p class="empty">The kernel forwards this way by itself; only twill's own tunnels count packets for each peer.</p>
      </section>
    );
  }
  const series = peerRates(samples.value, path.public);
  const latest = series.at(-1);
  return (
    <section class="card">
      <h2>Traffic <small>with this peer</small></h2>
      {latest && <Spark values={series.map((rate) => rate.sent + rate.received)} words={`Traffic with this peer over the last two minutes; now ${bitrate(latest.sent + latest.received)}`} />}
      {latest && <p>{bitrate(latest.sent)} sent, {bitrate(latest.received)} received</p>}
      <p class="soft figures">
        {volume(traffic.sent_bytes)} sent and {volume(traffic.received_bytes)} received in all; last heard {heardMs === null ? "never" : <Ago atMs={heardMs} />}
      </p>
      <Drops reasons={dropped} />
    </section>
  );
}

function Lately({ subnets }: { subnets: string[] }) {
  const told = events.value.filter((event) => subnets.some((prefix) => matches(prefix, [event.text]))).slice(-8).reverse();
  if (told.length === 0) return null;
  return (
    <section class="card">
      <h2>Events <small>that speak of this peer</small> <a href="/events">All events</a></h2>
      <Timeline events={told} />
    </section>
  );
}

function Gone({ name }: { name: string }) {
  return (
    <section class="card">
      <h1>There is no path to {name}</h1>
      <p class="soft">No lease of another node has that subnet. These are <a href="/paths">all paths</a>, and <a href="/leases">all leases</a>.</p>
    </section>
  );
}
