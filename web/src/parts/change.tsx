// A change of the backend under way: how many paths have moved, and what holds the others back.

import { count } from "../format";
import { paths } from "../live";
import { progress } from "../paths";

export function ChangeCard() {
  const change = progress(paths.value);
  if (!change) return null;
  const words = `${change.moved} of ${change.total} paths have moved to ${change.wanted}`;
  const share = (n: number) => `${(100 * n) / change.total}%`;
  return (
    <section class="card">
      <h2>Backend change <small>{change.from.join(" and ")} → {change.wanted}, as seen from this node</small></h2>
      <div class="change">
        <p class="big">{count(change.moved)}<span class="faint"> / {count(change.total)} paths</span></p>
        <div>
          <div class="bar" role="img" aria-label={words}>
            <i class="moved" style={{ width: share(change.moved) }} />
            <i class="held" style={{ width: share(change.held) }} />
            <i class="down" style={{ width: share(change.down) }} />
          </div>
          <p class="legend">
            <span class="key moved">moved {count(change.moved)}</span>
            <span class="key">proving {count(change.proving)}</span>
            <span class="key held">held {count(change.held)}</span>
            {change.down > 0 && <span class="key down">down {count(change.down)}</span>}
          </p>
          {change.reasons.length > 0 && (
            <ul class="rows">{change.reasons.slice(0, 4).map(([reason, n]) => <li key={reason}><span>{reason}</span><span class="faint">{count(n)}</span></li>)}</ul>
          )}
        </div>
      </div>
      <p class="soft">A path moves only after an echo of full size came back over the new way; until then it stays where it works. Back with <code>twill backend abort</code>.</p>
    </section>
  );
}
