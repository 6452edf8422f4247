// The search box above a list, with how many of what it finds. What is searched for is part of the page's address.

import { count, plural } from "../format";
import { parameter, setParameters } from "../route";

/** `noun` is what the list holds, in the singular. */
export function Find({ noun, shown, total }: { noun: string; shown: number; total: number }) {
  const query = parameter("q");
  const words = `Search ${noun}s`;
  const search = (text: string) => setParameters({ q: text });
  return (
    <>
      <div class="find">
        <input type="search" aria-label={words} placeholder={words} value={query} onInput={(e) => search(e.currentTarget.value)} />
        <span class="soft" role="status">{query ? `${count(shown)} of ` : ""}{plural(total, noun)}</span>
      </div>
      {shown === 0 && total > 0 && (
        <p class="empty">No {noun} matches “{query}”. <button onClick={() => search("")}>Show all</button></p>
      )}
    </>
  );
}
