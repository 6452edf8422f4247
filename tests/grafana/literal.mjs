// Writes the dashboard down as a literal of TypeScript, so that the compiler holds every field and word of it against the types of Grafana's schema:
// what is imported from JSON has lost its words (a "list" is any text there), and fields that no type knows would be let through.
import { readFileSync, writeFileSync } from "node:fs";

const dashboard = readFileSync(new URL("../../host/dist/grafana/twill.json", import.meta.url), "utf8");
writeFileSync(new URL("src/literal.ts", import.meta.url), `import type { Board } from "./board";\n\nexport const dashboard: Board = ${dashboard.trim()};\n`);
