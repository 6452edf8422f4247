// The frame around all pages: name, navigation, the state of the connection, and which page an address means.

import { useSignalEffect } from "@preact/signals";
import { clock } from "./format";
import { link, node } from "./live";
import { EventsPage } from "./pages/events";
import { LeasePage } from "./pages/lease";
import { LeasesPage } from "./pages/leases";
import { OverviewPage } from "./pages/overview";
import { PathPage } from "./pages/path";
import { PathsPage } from "./pages/paths";
import { PluginPage } from "./pages/plugin";
import { PluginsPage } from "./pages/plugins";
import { StatePage } from "./pages/state";
import { path } from "./route";

const PAGES = [
  ["", "Overview"],
  ["leases", "Leases"],
  ["paths", "Paths"],
  ["state", "State"],
  ["plugins", "Plugins"],
  ["events", "Events"],
] as const;

export function App() {
  const [page = "", detail] = path.value;
  useSignalEffect(() => {
    const title = PAGES.find(([name]) => name === (path.value[0] ?? ""))?.[1];
    document.title = [path.value[1] ?? title, node.value?.hostname, "twill"].filter(Boolean).join(" · ");
  });
  return (
    <>
      <a class="skip" href="#main">Skip to the content</a>
      <header>
        <a class="logo" href="/"><Weave />twill</a>
        <nav aria-label="Main">
          {PAGES.map(([name, title]) => (
            <a key={name} href={`/${name}`} aria-current={page === name ? "page" : undefined}>{title}</a>
          ))}
        </nav>
        <Connection />
      </header>
      <div class="selvedge" />
      <main id="main" tabIndex={-1}>
        <Lost />
        {node.value === null ? <Waiting /> : <Page name={page} detail={detail} />}
      </main>
    </>
  );
}

function Page({ name, detail }: { name: string; detail: string | undefined }) {
  switch (name) {
    case "":
      return <OverviewPage />;
    case "leases":
      return detail ? <LeasePage name={detail} /> : <LeasesPage />;
    case "paths":
      return detail ? <PathPage name={detail} /> : <PathsPage />;
    case "state":
      return <StatePage />;
    case "plugins":
      return detail ? <PluginPage name={detail} /> : <PluginsPage />;
    case "events":
      return <EventsPage />;
    default:
      return (
        <section class="card">
          <h1>There is no page here</h1>
          <p class="soft">Perhaps the address was cut short. The <a href="/">overview</a> leads to all pages.</p>
        </section>
      );
  }
}

function Weave() {
  return (
    <svg width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">
      <clipPath id="weave"><rect width="22" height="22" rx="5" /></clipPath>
      <g clip-path="url(#weave)">
        <rect class="cloth" width="22" height="22" />
        <path class="thread" d="M-2 16 16-2M2 20 20 2M6 24 24 6" />
      </g>
    </svg>
  );
}

function Connection() {
  const live = link.value.live;
  return (
    <div class="live">
      <span class={live ? "dot on" : "dot"} />
      {live ? "live" : node.value ? "not connected" : "connecting"}
      {node.value?.hostname && <> · <span class="m">{node.value.hostname}</span></>}
    </div>
  );
}

/** Says since when the page is blind; screen readers hear it once. */
function Lost() {
  const current = link.value;
  return (
    <div role="status">
      {!current.live && current.sinceMs !== null && (
        <p class="lost-note">
          <b>Not connected since {clock(current.sinceMs)}.</b> What you see is how things were then.
          Trying again; if this lasts, look at the daemon on its node.
        </p>
      )}
    </div>
  );
}

function Waiting() {
  return (
    <section class="card">
      <h1>Connecting to the node…</h1>
      <p class="soft">If this lasts, the daemon may be stopping or restarting. The page connects by itself as soon as it can.</p>
    </section>
  );
}
