// Writes the pictures that the end-to-end tests left in target/lab-shots into web/docs/screens, each with a palette of its own so that it stays small:
// node web/scripts/screens.mjs. Reads the PNG files that Chromium writes: 8 bits, RGB or RGBA, not interlaced (PNG, third edition, sections 9 and 11).
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { crc32, deflateSync, inflateSync } from "node:zlib";

const COLOURS = 96;
const AREAS = 32;
const MOST_BYTES = 100_000;
const from = new URL("../../target/lab-shots/", import.meta.url);
const to = new URL("../docs/screens/", import.meta.url);
const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);

function read(file) {
  const bytes = readFileSync(file);
  const data = [];
  let head;
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const kind = bytes.toString("latin1", at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (kind === "IHDR") head = body;
    if (kind === "IDAT") data.push(body);
    at += 12 + length;
  }
  const [width, height, depth, colour, interlaced] = [head.readUInt32BE(0), head.readUInt32BE(4), head[8], head[9], head[12]];
  const channels = { 2: 3, 6: 4 }[colour];
  if (depth !== 8 || !channels || interlaced) throw new Error(`${file}: another kind of PNG`);
  return { width, height, channels, pixels: unfiltered(inflateSync(Buffer.concat(data)), width * channels, height, channels) };
}

/** Undoes the filter of each line. */
function unfiltered(raw, line, height, step) {
  const out = Buffer.alloc(line * height);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (line + 1)];
    for (let x = 0; x < line; x += 1) {
      const a = x >= step ? out[y * line + x - step] : 0;
      const b = y > 0 ? out[(y - 1) * line + x] : 0;
      const c = x >= step && y > 0 ? out[(y - 1) * line + x - step] : 0;
      out[y * line + x] = raw[y * (line + 1) + 1 + x] + [0, a, b, (a + b) >> 1, paeth(a, b, c)][filter];
    }
  }
  return out;
}

function paeth(a, b, c) {
  const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/** The commonest colours, which fill areas, as they are; then those of edges, each standing for its neighbours. */
function palette({ pixels, channels }) {
  const counts = new Map();
  for (let at = 0; at < pixels.length; at += channels) {
    const colour = (pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2];
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const chosen = [];
  const commonest = [...counts].sort((one, other) => other[1] - one[1]);
  for (const [near, most] of [[0, AREAS], [400, COLOURS], [0, COLOURS]]) {
    for (const [colour] of commonest) {
      if (chosen.length >= most) break;
      if (chosen.every((other) => distance(colour, other) > near)) chosen.push(colour);
    }
  }
  const known = new Map();
  const index = (colour) => {
    if (!known.has(colour)) known.set(colour, chosen.reduce((best, other, i) => (distance(colour, other) < distance(colour, chosen[best]) ? i : best), 0));
    return known.get(colour);
  };
  return { chosen, index };
}

function distance(a, b) {
  const part = (shift) => ((a >> shift) & 255) - ((b >> shift) & 255);
  return part(16) ** 2 + part(8) ** 2 + part(0) ** 2;
}

function written(image) {
  const { width, height, channels, pixels } = image;
  const { chosen, index } = palette(image);
  const lines = Buffer.alloc((width + 1) * height);
  for (let i = 0; i < width * height; i += 1) {
    const at = i * channels;
    lines[i + Math.floor(i / width) + 1] = index((pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2]);
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8);
  const colours = Buffer.from(chosen.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]));
  const chunks = [["IHDR", head], ["PLTE", colours], ["IDAT", deflateSync(lines, { level: 9 })], ["IEND", Buffer.alloc(0)]];
  return Buffer.concat([SIGNATURE, ...chunks.map(([kind, body]) => chunk(kind, body))]);
}

function chunk(kind, body) {
  const whole = Buffer.concat([Buffer.from(kind, "latin1"), body]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(body.length, 0);
  frame.writeUInt32BE(crc32(whole), 4);
  return Buffer.concat([frame.subarray(0, 4), whole, frame.subarray(4)]);
}

mkdirSync(to, { recursive: true });
let total = 0;
for (const name of readdirSync(from).filter((name) => name.endsWith(".png"))) {
  const bytes = written(read(new URL(name, from)));
  if (bytes.length > MOST_BYTES) throw new Error(`${name} takes ${bytes.length} bytes`);
  writeFileSync(new URL(name, to), bytes);
  total += bytes.length;
}
console.log(`${total} bytes in all`);
