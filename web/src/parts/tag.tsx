// Small pieces: a state as a word in its colour, a fact with its name, a figure that runs with the clock.

import type { ComponentChildren } from "preact";
import type { LeaseStatus } from "../api";
import { ago, life } from "../format";
import { now } from "../live";
import type { Word } from "../words";

export function Tag({ word, tone }: Word) {
  return <span class={`tag ${tone}`}>{word}</span>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** What is left of a lease, counting down. */
export function Life({ lease }: { lease: LeaseStatus }) {
  return <>{life(lease, now.value)}</>;
}

/** How long ago something was, counting up. */
export function Ago({ atMs }: { atMs: number }) {
  return <>{ago(now.value - atMs)}</>;
}

/** Values of which there may be two, one a line. */
export function Lines({ of }: { of: string[] }) {
  return <>{of.map((text) => <span class="line" key={text}>{text}</span>)}</>;
}
