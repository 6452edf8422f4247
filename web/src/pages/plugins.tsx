// All plugin files that were found.

import type { PluginStatus } from "../api";
import { count, memory, short, spent } from "../format";
import { plugins } from "../live";
import { type Column, Table } from "../parts/table";
import { Tag } from "../parts/tag";
import { pluginAddress } from "../route";
import { pluginRank, pluginState } from "../words";

const COLUMNS: Column<PluginStatus>[] = [
  { key: "name", title: "Plugin", rank: (plugin) => plugin.name, cell: name },
  { key: "state", title: "State", rank: (plugin) => pluginRank(plugin.state), cell: state },
  { key: "world", title: "World", look: "wide", rank: (plugin) => plugin.world ?? "~", cell: world },
  { key: "calls", title: "Calls", look: "n", rank: (plugin) => plugin.calls, cell: (plugin) => count(plugin.calls) },
  { key: "failures", title: "Failures", look: "n", rank: (plugin) => plugin.failures, cell: (plugin) => count(plugin.failures) },
  { key: "time", title: "A call takes", look: "n wide", rank: perCall, cell: (plugin) => (plugin.calls ? spent(perCall(plugin)) : "") },
  { key: "memory", title: "Memory", look: "n wide", rank: (plugin) => plugin.memory, cell: (plugin) => (plugin.memory ? memory(plugin.memory) : "") },
  { key: "digest", title: "Digest", look: "m wide", cell: (plugin) => <span title={plugin.digest}>{short(plugin.digest, 12)}</span> },
];

function name(plugin: PluginStatus) {
  return <><a href={pluginAddress(plugin.name)}><b>{plugin.name}</b></a> <span class="faint">{plugin.version}</span></>;
}

function state(plugin: PluginStatus) {
  return <><Tag {...pluginState(plugin.state)} />{plugin.error && <span class="line reason">{plugin.error}</span>}</>;
}

function world(plugin: PluginStatus) {
  return plugin.world ? `${plugin.world} ${plugin.contract ?? ""}` : <span class="faint">none</span>;
}

/** Mean time in the guest, in microseconds. */
function perCall(plugin: PluginStatus): number {
  return plugin.calls ? plugin.guest_us / plugin.calls : 0;
}

export function PluginsPage() {
  return (
    <section class="card">
      <h1>Plugins <small>what decides here, each in a sandbox of its own</small></h1>
      <Table
        caption="Plugins, failing ones first"
        noun="plugin"
        columns={COLUMNS}
        rows={plugins.value}
        rowKey={(plugin) => plugin.file}
        rank={(plugin) => `${pluginRank(plugin.state)} ${plugin.name}`}
        texts={(plugin) => [plugin.name, plugin.version, plugin.summary, plugin.world, plugin.digest, plugin.error, pluginState(plugin.state).word]}
        empty={<p>No plugin was found. Name the folder that holds them with <code>twill run --plugin-dir FOLDER</code>.</p>}
      />
    </section>
  );
}
