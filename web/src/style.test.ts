// Text must be readable: every pair of ink and ground that the pages use has a contrast of 4.5 to 1 or more (WCAG 2.2, 1.4.3), in both themes.

import { expect, it } from "vitest";
import css from "./style.css?raw";

const [light = {}, dark = {}] = [...css.matchAll(/:root \{([^}]*)\}/g)].map(([, body = ""]) =>
  Object.fromEntries([...body.matchAll(/--([\w-]+): (#[0-9a-f]{3,6});/g)].map(([, name, value]) => [name, value])),
) as Record<string, string>[];

function luminance(hex: string): number {
  const digits = hex.length === 4 ? [...hex.slice(1)].map((digit) => digit + digit).join("") : hex.slice(1);
  const [r = 0, g = 0, b = 0] = [0, 2, 4].map((at) => {
    const part = parseInt(digits.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const grounds = ["bg", "card"].flatMap((ground) => ["ink", "soft", "faint", "accent", "ok", "warn", "bad"].map((ink) => [ink, ground]));
const tags = ["ok", "warn", "bad", "accent"].map((name) => [name, `${name}-soft`]);

it.each([...grounds, ...tags])("%s on %s", (ink, ground) => {
  for (const theme of [light, { ...light, ...dark }]) {
    expect(contrast(theme[ink!]!, theme[ground!]!)).toBeGreaterThanOrEqual(4.5);
  }
});
