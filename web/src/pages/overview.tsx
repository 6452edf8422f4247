// The overview: what is true in one sentence, then this node, a change under way, its paths, traffic, plugins and the newest events.

import { count, duration, families, plural, spent } from "../format";
import { events, network, node, now, paths, plugins, snapshot, state, tunnels } from "../live";
import { sorted } from "../order";
import { ChangeCard } from "../parts/change";
import { Row } from "../parts/list";
import { Ago, Fact, Lines, Tag } from "../parts/tag";
import { Timeline } from "../parts/timeline";
import { TrafficCard } from "../parts/traffic";
import { type Path, pathsOf, stands } from "../paths";
import { pathAddress, pluginAddress } from "../route";
import { account } from "../sentence";
import { pluginRank, pluginState } from "../words";
import { loss } from "./paths";

export function OverviewPage() {
  return (
    <>
      <Hero />
      <ChangeCard />
      <div class="columns">
        <div class="stack">
          <Paths />
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
      {network.value.ranges.length > 0 && (
        <Fact name="Free subnets"><Lines of={network.value.ranges.map(({ free, subnets }) => `${count(free)} of ${count(subnets)}`)} /></Fact>
      )}
      <Fact name="Underlay">{underlay ? `${underlay}, ${underlay_mtu} bytes` : "none yet"}</Fact>
      <Fact name="Public address">{addresses.length ? <Lines of={addresses} /> : "none yet"}</Fact>
      <Fact name="twill">{version ? `${version}, up ${duration(now.value - started_ms)}` : "starting"}</Fact>
    </dl>
  );
}

function Paths() {
  const all = pathsOf(paths.value, tunnels.value, state.value);
  return (
    <section class="card">
      <h2>Paths <small>from this node, worst first</small> {all.length > 0 && <a href="/paths">All {count(all.length)}</a>}</h2>
      {all.length === 0 ? <NoPeers /> : <PathTable paths={all.slice(0, 8)} />}
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

function PathTable({ paths }: { paths: Path[] }) {
  return (
    <div class="scroll">
      <table>
        <caption>Paths from this node, worst first</caption>
        <thead>
          <tr>
            <th scope="col">Peer</th>
            <th scope="col" class="wide">Subnet</th>
            <th scope="col">Way</th>
            <th scope="col" class="n">Round trip</th>
            <th scope="col" class="n wide">Loss</th>
            <th scope="col" class="n wide">Last heard</th>
          </tr>
        </thead>
        <tbody>
          {paths.map((path) => {
            const [subnet] = families(path.subnets);
            return (
              <tr key={subnet}>
                <th scope="row" class="m">
                  <a href={pathAddress(subnet)}>{families(path.public)[0]}</a>
                  <span class="narrow">{subnet}</span>
                </th>
                <td class="m wide">{subnet}</td>
                <td>
                  {path.way && <><Tag word={path.way} tone="way" /> </>}
                  {(path.state !== "moved" || path.barrier) && <Tag {...stands(path, path.barrier)} />}
                </td>
                <td class="n">{path.rtt_us === null ? "" : spent(path.rtt_us)}</td>
                <td class="n wide">{loss(path.loss_permille)}</td>
                <td class="n wide"><Heard {...path} /></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Heard({ heardMs, traffic }: Path) {
  return heardMs !== null ? <Ago atMs={heardMs} /> : <span class="faint">{traffic ? "not yet" : "not counted"}</span>;
}

function Plugins() {
  const idle = plugins.value.filter((plugin) => plugin.state === "idle").length;
  const list = sorted(plugins.value.filter((plugin) => plugin.state !== "idle"), (plugin) => pluginRank(plugin.state));
  return (
    <section class="card">
      <h2>Plugins <a href="/plugins">Details</a></h2>
      {plugins.value.length === 0 && <p class="empty">No plugin found. Name their folder with <code>twill run --plugin-dir FOLDER</code>.</p>}
      <ul class="rows">
        {list.map((plugin) => (
          <Row key={plugin.file} state={pluginState(plugin.state)}>
            <a href={pluginAddress(plugin.name)}><b>{plugin.name}</b></a> <span class="faint">{plugin.version}</span>
          </Row>
        ))}
      </ul>
      {idle > 0 && <p class="soft rest">{plural(idle, "more plugin")} {idle === 1 ? "is" : "are"} there and not needed now.</p>}
    </section>
  );
}
