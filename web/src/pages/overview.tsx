// The overview: what is true in one sentence, then this node, its peers, traffic, plugins and the newest events.

import { count, duration, families, volume } from "../format";
import { events, leases, node, now, plugins, snapshot, tunnels } from "../live";
import { sorted } from "../order";
import { Row } from "../parts/list";
import { Ago, Fact, Lines, Tag } from "../parts/tag";
import { Timeline } from "../parts/timeline";
import { TrafficCard } from "../parts/traffic";
import { type Peer, peersOf } from "../peers";
import { leaseAddress, pluginAddress } from "../route";
import { account } from "../sentence";
import { pluginRank, pluginState, way } from "../words";

export function OverviewPage() {
  return (
    <>
      <Hero />
      <div class="columns">
        <div class="stack">
          <Peers />
          <TrafficCard />
        </div>
        <div class="stack">
          <section class="card">
            <h2>Events <a href="/events">All events</a></h2>
            {events.value.length ? <Timeline events={events.value.slice(-5).reverse()} /> : <p class="empty">Nothing has happened yet.</p>}
          </section>
          <Plugins />
        </div>
      </div>
    </>
  );
}

const TONE_WORDS = { ok: "well", warn: "look here", bad: "broken" };

function Hero() {
  if (!snapshot.value) return null;
  const { tone, headline, others, background } = account(snapshot.value, now.value);
  return (
    <section class="hero">
      <div>
        <Tag word={TONE_WORDS[tone]} tone={tone} />
        <h1>{headline}</h1>
        {others.length > 0 && <ul>{others.map((text) => <li key={text}>{text}</li>)}</ul>}
        <p>{background.join(" ")}</p>
      </div>
      <Facts />
    </section>
  );
}

function Facts() {
  const { subnets, store, backend, renewal_ms, pod_mtu, underlay, underlay_mtu, version, started_ms } = node.value!;
  const addresses = families(node.value!.public);
  return (
    <dl class="facts">
      <Fact name="Subnet">{subnets ? <Lines of={families(subnets)} /> : "none yet"}</Fact>
      <Fact name="Lease renews in">{renewal_ms === null ? "not planned" : renewal_ms > now.value ? duration(renewal_ms - now.value) : "due now"}</Fact>
      <Fact name="Store">{store.name ? `${store.name}, ${store.reachable ? "answers" : "no answer"}` : "none yet"}</Fact>
      <Fact name="Backend">{backend ?? "no config yet"}</Fact>
      <Fact name="Pod MTU">{pod_mtu === null ? "no plan yet" : `${pod_mtu} bytes`}</Fact>
      <Fact name="Underlay">{underlay ? `${underlay}, ${underlay_mtu} bytes` : "none yet"}</Fact>
      <Fact name="Public address">{addresses.length ? <Lines of={addresses} /> : "none yet"}</Fact>
      <Fact name="twill">{version ? `${version}, up ${duration(now.value - started_ms)}` : "starting"}</Fact>
    </dl>
  );
}

function Peers() {
  const peers = peersOf(leases.value, tunnels.value);
  return (
    <section class="card">
      <h2>Peers <small>worst first</small> {peers.length > 0 && <a href="/leases">All {count(leases.value.length)} leases</a>}</h2>
      {peers.length === 0 ? <NoPeers /> : <PeerTable peers={peers.slice(0, 8)} />}
    </section>
  );
}

/** How another node joins the store that this one uses. */
function join(store: string): string {
  const kind = store.replace(/^store-/, "") || "file";
  return `twill run --store ${kind} ${kind === "file" ? "--store-dir …" : "…"}`;
}

function NoPeers() {
  return (
    <div class="empty">
      <p>No peers yet. A second node joins with:</p>
      <pre><code>{join(node.value?.store.name ?? "")}</code></pre>
      <p>and what this node names as its store.</p>
    </div>
  );
}

function PeerTable({ peers }: { peers: Peer[] }) {
  return (
    <div class="scroll">
      <table>
        <caption>Peers of this node, worst first</caption>
        <thead>
          <tr>
            <th scope="col">Peer</th>
            <th scope="col" class="wide">Subnet</th>
            <th scope="col">Way</th>
            <th scope="col" class="n">Last heard</th>
            <th scope="col" class="n wide">Sent</th>
            <th scope="col" class="n wide">Received</th>
          </tr>
        </thead>
        <tbody>
          {peers.map((peer) => {
            const [subnet] = families(peer.lease.subnets);
            return (
              <tr key={subnet}>
                <th scope="row" class="m">
                  {families(peer.lease.public)[0]}
                  <a class="narrow" href={leaseAddress(subnet)}>{subnet}</a>
                </th>
                <td class="m wide"><a href={leaseAddress(subnet)}>{subnet}</a></td>
                <td><Tag {...way(peer.lease)} /></td>
                <td class="n"><Heard {...peer} /></td>
                <td class="n wide">{peer.traffic ? volume(peer.traffic.sent_bytes) : ""}</td>
                <td class="n wide">{peer.traffic ? volume(peer.traffic.received_bytes) : ""}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Heard({ heardMs, traffic }: Peer) {
  return heardMs !== null ? <Ago atMs={heardMs} /> : <span class="faint">{traffic ? "not yet" : "not counted"}</span>;
}

function Plugins() {
  const list = sorted(plugins.value, (plugin) => pluginRank(plugin.state));
  return (
    <section class="card">
      <h2>Plugins <a href="/plugins">Details</a></h2>
      {list.length === 0 && <p class="empty">No plugin found. Name their folder with <code>twill run --plugin-dir FOLDER</code>.</p>}
      <ul class="rows">
        {list.map((plugin) => (
          <Row key={plugin.file} state={pluginState(plugin.state)}>
            <a href={pluginAddress(plugin.name)}><b>{plugin.name}</b></a> <span class="faint">{plugin.version}</span>
          </Row>
        ))}
      </ul>
    </section>
  );
}
