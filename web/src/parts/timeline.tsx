// Events as a time line, newest first.

import type { Event } from "../api";
import { clock, moment } from "../format";
import { weight } from "../words";

export function Timeline({ events }: { events: readonly Event[] }) {
  return (
    <ol class="events">
      {events.map((event) => {
        const { word, tone } = weight(event);
        return (
          <li key={event.id} id={`event-${event.id}`}>
            <time dateTime={new Date(event.at_ms).toISOString()} title={moment(event.at_ms)}>{clock(event.at_ms)}</time>
            <i class={tone} />
            <div>
              {event.weight !== "info" && <><span class={`word ${tone}`}>{word}</span> </>}
              {event.text} <span class="faint">{event.room}</span>
              {told(event) && <span class="line soft">{told(event)}</span>}
            </div>
          </li>
        );
      })}
    </ol>
  );
}

/** Cause, act and time taken, where they are known. */
function told({ cause, act, took_ms }: Event): string {
  const took = took_ms === undefined ? "" : ` in ${took_ms}\u00a0ms`;
  return [cause && `cause: ${cause}`, act && `${act}${took}`].filter(Boolean).join("; ");
}
