// Draws host/dist/grafana/twill.json, panel by panel, as a scene of Grafana's.

import { createTheme, getValueFormats, ThemeContext } from "@grafana/data";
import { DataSourceVariable, EmbeddedScene, QueryVariable, SceneGridItem, SceneGridLayout, SceneQueryRunner, SceneTimeRange, type SceneVariable, SceneVariableSet, VariableValueSelectors, VizPanel } from "@grafana/scenes";
import { GlobalStyles } from "@grafana/ui";
import { createRoot } from "react-dom/client";
import { MemoryRouter } from "react-router-dom";

import { dashboard } from "./literal";
import type { Board, BoardPanel } from "./board";
import { begin } from "./runtime";

function variable(model: Board["templating"]["list"][number]): SceneVariable {
  const { name, label, type, query, current } = model;
  const common = { name, label: label!, value: current!.value, text: current!.text };
  switch (type) {
    case "datasource":
      return new DataSourceVariable({ ...common, pluginId: query as string });
    case "query":
      return new QueryVariable({ ...common, query: query as never, datasource: model.datasource!, includeAll: model.includeAll!, isMulti: model.multi!, allValue: model.allValue!, refresh: model.refresh as never, sort: model.sort as never });
    default:
      throw new Error(`a variable of the type ${type}`);
  }
}

const units = new Set(getValueFormats().flatMap((group) => group.submenu.map((format) => format.value)));

function panel({ id, title, type, datasource, targets, options, fieldConfig, gridPos }: BoardPanel): SceneGridItem {
  const { unit } = fieldConfig.defaults;
  // Grafana would put the word behind the figure.
  if (unit && !units.has(unit)) throw new Error(`${title}: there is no unit ${unit}`);
  const { x, y, w, h } = gridPos!;
  const $data = new SceneQueryRunner({ datasource: datasource!, queries: targets as never, maxDataPoints: 300 });
  const body = new VizPanel({ key: `panel-${id}`, title, pluginId: type, options: options as never, fieldConfig: fieldConfig as never, $data });
  return new SceneGridItem({ x: x!, y: y!, width: w, height: h, body });
}

await begin();
const scene = new EmbeddedScene({
  // The dashboard's own span is of hours, of which a test has a minute.
  $timeRange: new SceneTimeRange({ from: "now-1m", to: "now" }),
  $variables: new SceneVariableSet({ variables: dashboard.templating.list.map(variable) }),
  controls: [new VariableValueSelectors({})],
  body: new SceneGridLayout({ children: dashboard.panels.map(panel), isLazy: false }),
});

createRoot(document.getElementById("root")!).render(
  <MemoryRouter>
    <ThemeContext.Provider value={createTheme()}>
      <main>
        <GlobalStyles />
        <h1>{dashboard.title}</h1>
        <scene.Component model={scene} />
      </main>
    </ThemeContext.Provider>
  </MemoryRouter>,
);
