// What happened on this node, newest first, day by day.

import type { Event } from "../api";
import { day } from "../format";
import { events } from "../live";
import { matches } from "../order";
import { Find } from "../parts/find";
import { Timeline } from "../parts/timeline";
import { parameter } from "../route";

export function EventsPage() {
  const query = parameter("q");
  const all = events.value;
  const shown = all.filter((event) => matches(query, [event.text, event.room, event.weight])).reverse();
  return (
    <section class="card">
      <h1>Events <small>what happened on this node, newest first</small></h1>
      <Find noun="event" shown={shown.length} total={all.length} />
      {all.length === 0 && <p class="empty">Nothing has happened since the daemon started.</p>}
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
