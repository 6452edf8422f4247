// What happened on this node, newest first, day by day.

import type { Event } from "../api";
import { day, plural } from "../format";
import { events } from "../live";
import { matches } from "../order";
import { Timeline } from "../parts/timeline";
import { parameter, setParameters } from "../route";

export function EventsPage() {
  const query = parameter("q");
  const all = events.value;
  const shown = all.filter((event) => matches(query, [event.text, event.room, event.weight])).reverse();
  return (
    <section class="card">
      <h1>Events <small>what happened on this node, newest first</small></h1>
      <div class="find">
        <input type="search" aria-label="Search events" placeholder="Search events" value={query} onInput={(e) => setParameters({ q: e.currentTarget.value })} />
        <span class="soft" role="status">{query ? `${shown.length} of ${plural(all.length, "event")}` : plural(all.length, "event")}</span>
      </div>
      {all.length === 0 && <p class="empty">Nothing has happened since the daemon started.</p>}
      {all.length > 0 && shown.length === 0 && <p class="empty">No event matches “{query}”. <button onClick={() => setParameters({ q: "" })}>Show all</button></p>}
      {byDay(shown).map(([title, list]) => (
        <section key={title}>
          <h2>{title}</h2>
          <Timeline events={list} />
        </section>
      ))}
    </section>
  );
}

function byDay(list: readonly Event[]): [string, Event[]][] {
  const days = new Map<string, Event[]>();
  for (const event of list) days.set(day(event.at_ms), [...(days.get(day(event.at_ms)) ?? []), event]);
  return [...days];
}
