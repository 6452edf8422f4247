// Drives a real Chromium for the tests in tests/e2e/browser.rs: reads one command a line from standard input, as JSON, and answers each with one line.
// `node web/browser/drive.mjs http://127.0.0.1:4646` by hand works too: type {"open":"/leases"}.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [base = "http://127.0.0.1:4646"] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// Whatever a browser would ask of the world outside is switched off: the pages need nothing but the node.
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, bypassCSP: true });
const elsewhere = [];
page.on("request", (request) => request.url().startsWith(base) || request.url().startsWith("data:") || elsewhere.push(request.url()));
const complaints = [];
page.on("pageerror", (error) => complaints.push(String(error)));

const commands = {
  /** Goes to a page of the dashboard. */
  async open({ open, within_ms = 20_000 }) {
    await page.goto(base + open);
    await page.evaluate(() => (window.opened = true));
    await page.locator("main h1").first().waitFor({ timeout: within_ms });
  },
  /** Follows a link by its text, within the place that `inside` selects, without loading the page anew. */
  async follow({ follow, inside = "body", within_ms = 20_000 }) {
    await page.locator(inside).getByRole("link", { name: follow }).first().click({ timeout: within_ms });
  },
  /** Presses a key, such as "Tab" or "Enter", on what has the focus, and tells of what has it then: its text, and whether a ring is drawn around it. */
  async press({ press }) {
    await page.keyboard.press(press);
    return page.evaluate(() => {
      const at = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(at);
      return { text: (at.getAttribute("aria-label") ?? at.textContent).trim(), ring: outlineStyle !== "none" && parseFloat(outlineWidth) > 0 };
    });
  },
  /** Types a text, key by key, into what has the focus. */
  async type({ type }) {
    await page.keyboard.type(type);
  },
  /** Waits until a text is to be seen, within the place that `inside` selects. */
  async see({ see, inside = "main", within_ms = 20_000 }) {
    await page.locator(inside).filter({ hasText: see }).first().waitFor({ state: "visible", timeout: within_ms });
  },
  /** Waits until a text is not to be seen any more. */
  async miss({ miss, inside = "main", within_ms = 20_000 }) {
    await page.locator(inside).filter({ hasText: miss }).first().waitFor({ state: "hidden", timeout: within_ms });
  },
  /** What stands in a place, as text. */
  async read({ read }) {
    return page.locator(read).allInnerTexts();
  },
  /** Fails when the page was loaded anew since `open`. */
  async still() {
    if (!(await page.evaluate(() => window.opened === true))) throw new Error("the page was loaded anew");
  },
  /** Light or dark, and how wide. */
  async look({ look: { theme = "light", width = 1280, height = 900 } }) {
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize({ width, height });
  },
  /** Writes a picture of the whole page. */
  async shot({ shot }) {
    await page.screenshot({ path: shot, fullPage: true });
  },
  /** All violations of the accessibility rules that axe knows, as sentences. */
  async axe() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }));
    return violations.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.html.slice(0, 120)}`));
  },
  /** True when the page is wider than the window. */
  async overflow() {
    return page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  },
  /** Loads a page anew and waits until what `row` selects is there: how long that took, in milliseconds since the request. */
  async usable({ usable, row, within_ms = 20_000 }) {
    await page.goto(base + usable, { waitUntil: "commit" });
    const found = await page.waitForFunction((row) => document.querySelector(row) && performance.now(), row, { timeout: within_ms, polling: "raf" });
    return found.jsonValue();
  },
  /** A tall page with nothing on it, to hold others against: what this machine makes of frames. */
  async blank() {
    await page.goto("data:text/html,<title>blank</title><div style=height:200000px>");
  },
  /** Scrolls down `scroll` pixels a frame for a second and a half; the frames' lengths in milliseconds. */
  async scroll({ scroll }) {
    return page.evaluate(
      (step) =>
        new Promise((done) => {
          const frames = [];
          let last = performance.now();
          const begun = last;
          const frame = (now) => {
            frames.push(now - last);
            last = now;
            window.scrollBy(0, step);
            now - begun < 1500 ? requestAnimationFrame(frame) : done(frames.slice(1));
          };
          requestAnimationFrame(frame);
        }),
      scroll,
    );
  },
  /** Bytes over the wire since the page was opened, and how long its first sentence took, in milliseconds. */
  async cost() {
    return page.evaluate(() => ({
      bytes: [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].reduce((sum, one) => sum + one.transferSize, 0),
      usable_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
    }));
  },
  /** Requests to anywhere else, and errors of the page's own scripts; both ought to be empty. */
  async faults() {
    return { elsewhere, complaints };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  const [name] = Object.keys(command);
  try {
    const value = await commands[name](command);
    console.log(JSON.stringify({ ok: value ?? null }));
  } catch (error) {
    const text = await page.locator("body").innerText().catch(() => "");
    console.log(JSON.stringify({ error: `${error instanceof Error ? error.message : error}\n${text.slice(0, 2000)}` }));
  }
}
await browser.close();
