// The map: this node in the middle, its peers around it, each path drawn by the way and the state that it has. Every peer is a link to its path.

import { count, families, spent } from "../format";
import { node } from "../live";
import { type Path, stands, stopsAt } from "../paths";
import { pathAddress } from "../route";

/** How many peers a circle holds so that their names can be read; worse paths come first. */
export const MOST = 24;
const [WIDTH, RADIUS] = [760, 150];

/** One or two peers need no circle: they stand beside this node. */
const height = (total: number) => (total > 2 ? 400 : 150);

/** Where the peer at `index` of `total` stands. */
function place(index: number, total: number): { x: number; y: number } {
  const angle = (2 * Math.PI * index) / total - (total > 2 ? Math.PI / 2 : 0);
  return { x: WIDTH / 2 + 1.32 * RADIUS * Math.cos(angle), y: height(total) / 2 + RADIUS * Math.sin(angle) };
}

export function Map({ paths }: { paths: readonly Path[] }) {
  const shown = paths.slice(0, MOST);
  const middle = height(shown.length) / 2;
  return (
    <svg class="map" viewBox={`0 0 ${WIDTH} ${2 * middle}`} role="group" aria-label="Paths from this node to its peers">
      {shown.map((path, i) => <Spoke key={families(path.subnets).join()} path={path} middle={middle} {...place(i, shown.length)} />)}
      <circle class={`centre ${shown.some((path) => path.barrier) ? "bad" : ""}`} cx={WIDTH / 2} cy={middle} r="30" />
      <text class="self" x={WIDTH / 2} y={middle + 4}>{node.value?.hostname || "this node"}</text>
    </svg>
  );
}

function Spoke({ path, middle, x, y }: { path: Path; middle: number; x: number; y: number }) {
  const [subnet] = families(path.subnets);
  const right = x >= WIDTH / 2;
  const leg = stopsAt(path);
  const stops = leg ? `stops at ${leg}` : "";
  const { word, tone } = stands(path, path.barrier);
  const trip = path.rtt_us === null || stops ? "" : spent(path.rtt_us);
  const fits = path.narrow && !stops ? `up to ${count(path.ways.find((way) => way.in_use)?.proved_bytes ?? 0)} bytes` : "";
  const label = [families(path.public)[0], path.way ?? "no way", path.barrier ? "" : word, stops, fits, trip].filter(Boolean).join(", ");
  return (
    <a href={pathAddress(subnet)} aria-label={label}>
      <title>{label}</title>
      <path class={`spoke ${tone}`} d={`M${WIDTH / 2} ${middle}L${x} ${y}`} />
      <circle class={`peer ${tone}`} cx={x} cy={y} r="6" />
      <text class={right ? "" : "left"} x={x + (right ? 12 : -12)} y={y}>{families(path.public)[0]}</text>
      <text class={`how ${stops ? tone : ""} ${right ? "" : "left"}`} x={x + (right ? 12 : -12)} y={y + 14}>{stops || [path.way ?? "no way", word, fits].filter(Boolean).join(" · ")}</text>
    </a>
  );
}
