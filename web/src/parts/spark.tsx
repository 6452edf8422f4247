// A small line of figures over time, without axes.

import { line } from "../traffic";

const [WIDTH, HEIGHT] = [220, 40];

export function Spark({ values, words }: { values: readonly number[]; words: string }) {
  const most = Math.max(1, ...values);
  return (
    <svg class="spark" viewBox={`0 -2 ${WIDTH} ${HEIGHT + 4}`} preserveAspectRatio="none" role="img" aria-label={words}>
      <path class="sent" d={line(values, WIDTH, HEIGHT, most)} />
    </svg>
  );
}
