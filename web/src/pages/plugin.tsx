// One plugin: what it is, what it may use, how it fares.

import { count, memory, spent } from "../format";
import { plugins } from "../live";
import { Row } from "../parts/list";
import { Fact, Tag } from "../parts/tag";
import { pluginState } from "../words";

export function PluginPage({ name }: { name: string }) {
  const found = plugins.value.filter((plugin) => plugin.name === name);
  if (found.length === 0) {
    return (
      <section class="card">
        <h1>There is no plugin {name}</h1>
        <p class="soft">Its file may have been taken away. These are <a href="/plugins">all plugins</a>.</p>
      </section>
    );
  }
  return (
    <>
      {found.map((plugin) => (
        <section class="card" key={plugin.file}>
          <h1>{plugin.name} <small>{plugin.version}</small> <Tag {...pluginState(plugin.state)} /> <a href="/plugins">All plugins</a></h1>
          <p class="soft">{plugin.summary}</p>
          {plugin.error && <p><span class="word bad">{plugin.state === "refused" ? "refused" : "last failure"}</span> {plugin.error}</p>}
          <dl class="facts">
            <Fact name="World">{plugin.world ? `${plugin.world}, contract ${plugin.contract ?? "unknown"}` : "none that twill knows"}</Fact>
            <Fact name="Calls">{count(plugin.calls)}</Fact>
            <Fact name="Failures">{count(plugin.failures)}</Fact>
            <Fact name="Restarts">{count(plugin.restarts)}</Fact>
            <Fact name="Time in all">{spent(plugin.guest_us)}</Fact>
            <Fact name="Most memory">{memory(plugin.memory)}</Fact>
          </dl>
          <h2>Imports <small>all that it can use of this machine</small></h2>
          {plugin.imports.length === 0 && <p class="soft">None: it computes and nothing else.</p>}
          <ul class="rows">{plugin.imports.map((name) => <Row key={name}><code>{name}</code></Row>)}</ul>
          <h2>File</h2>
          <p class="break"><code>{plugin.file}</code></p>
          <p class="break soft">SHA-256 <code>{plugin.digest}</code></p>
        </section>
      ))}
    </>
  );
}
