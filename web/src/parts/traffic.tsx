// Traffic of all tunnels: now, over the last minutes, and what was dropped.

import { bitrate, count, duration, plural, volume } from "../format";
import { node, samples, tunnels } from "../live";
import { add, drops } from "../peers";
import { line, rates } from "../traffic";

const WIDTH = 700;
const HEIGHT = 120;

export function TrafficCard() {
  const none = { sent_packets: 0, sent_bytes: 0, received_packets: 0, received_bytes: 0 };
  const total = tunnels.value.map((tunnel) => tunnel.total).reduce(add, none);
  return (
    <section class="card">
      <h2>Traffic <small>through twill's tunnels</small></h2>
      {tunnels.value.length === 0 ? (
        <p class="empty">{nothing()}</p>
      ) : (
        <>
          <Chart />
          <p class="soft figures">
            {volume(total.sent_bytes)} sent in {plural(total.sent_packets, "packet")},{" "}
            {volume(total.received_bytes)} received in {plural(total.received_packets, "packet")}
          </p>
          <Drops reasons={drops(tunnels.value)} />
        </>
      )}
    </section>
  );
}

/** Why there is no tunnel to count. */
function nothing(): string {
  const backend = node.value?.subnets ? node.value.backend : null;
  return backend && backend !== "udp"
    ? `The kernel carries this cluster's packets by itself (${backend}); only twill's own tunnels are counted here.`
    : "No tunnel yet. It comes with the first lease.";
}

function Chart() {
  const series = rates(samples.value);
  const latest = series.at(-1);
  if (!latest) return <p class="empty">The rates show in a moment: they need two readings.</p>;
  const most = Math.max(1, ...series.map((rate) => Math.max(rate.sent, rate.received)));
  const span = duration(latest.atMs - series[0]!.atMs + 1000);
  const sent = line(series.map((rate) => rate.sent), WIDTH, HEIGHT - 4, most);
  const words = `Over the last ${span}: at most ${bitrate(most)}; now ${bitrate(latest.sent)} sent and ${bitrate(latest.received)} received.`;
  return (
    <>
      <svg class="chart" viewBox={`0 -2 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={words}>
        <path class="grid-line" d={`M0 0H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 4}H${WIDTH}`} />
        {sent && <path class="area" d={`${sent}V${HEIGHT}H0Z`} />}
        <path class="sent" d={sent} />
        <path class="received" d={line(series.map((rate) => rate.received), WIDTH, HEIGHT - 4, most)} />
      </svg>
      <p class="legend">
        <span class="key sent">sent <b>{bitrate(latest.sent)}</b></span>
        <span class="key received">received <b>{bitrate(latest.received)}</b></span>
        <span class="faint">at most {bitrate(most)} in the last {span}</span>
      </p>
    </>
  );
}

/** Packets that were dropped, with how many for each reason. */
export function Drops({ reasons }: { reasons: readonly [string, number][] }) {
  if (reasons.length === 0) return <p class="soft figures">No packet dropped.</p>;
  return <p class="figures"><span class="word warn">packets dropped</span> {reasons.map(([reason, n]) => `${reason} ${count(n)}`).join(" · ")}</p>;
}
