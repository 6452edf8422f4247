// Serves the page that target/grafana holds on port 3000, and passes what it asks of /prometheus on to a Prometheus on port 9090.
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { extname } from "node:path";

const [folder] = process.argv.slice(2);
const kinds = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

createServer((asked, answer) => {
  const { pathname, search } = new URL(asked.url, "http://127.0.0.1");
  if (pathname.startsWith("/prometheus/")) {
    const passed = request({ port: 9090, path: pathname.replace("/prometheus", "") + search, headers: asked.headers }, (told) => {
      answer.writeHead(told.statusCode, told.headers);
      told.pipe(answer);
    });
    passed.on("error", (error) => answer.writeHead(502).end(String(error)));
    asked.pipe(passed);
    return;
  }
  try {
    const file = pathname === "/" ? "/index.html" : pathname;
    const text = readFileSync(folder + file);
    answer.writeHead(200, { "content-type": kinds[extname(file)] ?? "application/octet-stream" }).end(text);
  } catch {
    answer.writeHead(404).end();
  }
}).listen(3000, "127.0.0.1");
