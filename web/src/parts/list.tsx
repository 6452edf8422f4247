// Rows that are no table: something on the left, its state on the right.

import type { ComponentChildren } from "preact";
import type { Word } from "../words";
import { Tag } from "./tag";

export function Row({ state, children }: { state?: Word | undefined; children: ComponentChildren }) {
  return (
    <li>
      <span>{children}</span>
      {state && <Tag {...state} />}
    </li>
  );
}
