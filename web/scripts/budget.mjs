// Fails when the first load has grown beyond its budget. Sizes are those of the files as gzip makes them.
import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

const budget = { js: 30_000, css: 6_000 };
const folder = new URL("../dist/assets/", import.meta.url);
let over = false;
for (const [kind, most] of Object.entries(budget)) {
  const files = readdirSync(folder).filter((name) => name.endsWith(`.${kind}`));
  const size = files.reduce((sum, name) => sum + gzipSync(readFileSync(new URL(name, folder))).length, 0);
  console.log(`${kind}: ${size} of ${most} bytes`);
  over ||= size > most || files.length === 0;
}
if (over) {
  console.error("the dashboard is over its budget, or incomplete");
  process.exit(1);
}
