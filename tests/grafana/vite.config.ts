// Builds a page that draws host/dist/grafana/twill.json with Grafana's own libraries into target/grafana.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "../../target/grafana",
    emptyOutDir: true,
    target: "es2022",
    // Nobody downloads it: what takes time and only makes it smaller is left out.
    minify: false,
    reportCompressedSize: false,
    // The scenes look for exports that other versions of the runtime have.
    rolldownOptions: { shimMissingExports: true },
  },
});
