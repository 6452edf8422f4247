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

/** Cause, act and time taken, where they are known and the text does not say so already. */
function told({ text, cause, act, took_ms }: Event): string {
  const took = took_ms === undefined ? "" : ` in ${took_ms}\u00a0ms`;
  const news = (words: string | undefined) => words !== undefined && !text.includes(words);
  return [news(cause) && `cause: ${cause}`, (news(act) || took) && `${act}${took}`].filter(Boolean).join("; ");
}
