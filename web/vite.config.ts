// Builds the dashboard into dist/, which the daemon embeds. `npm run dev` serves the sources and passes the API on to a daemon on port 8080.
import { defineConfig } from "vitest/config";

export default defineConfig({
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  test: { css: true },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8080", changeOrigin: true } } },
});
