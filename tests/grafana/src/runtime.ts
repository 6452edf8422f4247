// What Grafana's libraries expect of the program around them, as far as drawing a dashboard needs it: one data source, two panels, no server.

import { createTheme, type DataQueryRequest, type DataQueryResponse, type DataSourceApi, type DataSourceInstanceSettings, type DataSourceRef, EventBusSrv, LoadingState, type PanelData, PluginType, type ScopedVars, standardEditorsRegistry, standardFieldConfigEditorRegistry } from "@grafana/data";
import { initPluginTranslations } from "@grafana/i18n";
import { config, setAppEvents, setDataSourceSrv, setPluginImportUtils, setRunRequest, setTemplateSrv, type TemplateSrv } from "@grafana/runtime";
import { type SceneObject, sceneGraph } from "@grafana/scenes";
import { catchError, from, map, type Observable, of, startWith } from "rxjs";

import { panels, standardOptions } from "./panels";
import { Prometheus } from "./source";

const info = { author: { name: "" }, description: "", links: [], logos: { small: "", large: "" }, screenshots: [], updated: "", version: "" };

const settings = {
  id: 1,
  uid: "prometheus",
  name: "Prometheus",
  type: "prometheus",
  access: "proxy",
  readOnly: true,
  jsonData: {},
  meta: { id: "prometheus", name: "Prometheus", type: PluginType.datasource, info, module: "", baseUrl: "", metrics: true },
} as DataSourceInstanceSettings;

/** Variables are those of the scene that asks. */
const replace: TemplateSrv["replace"] = (text, scopedVars, format) => sceneGraph.interpolate(scopedVars?.["__sceneObject"]?.value.valueOf() as SceneObject, text, scopedVars, format as string);

/** There is one source, and what the dashboard's variable says has to name it. */
function settingsOf(asked: DataSourceRef | string | null | undefined, scopedVars?: ScopedVars): DataSourceInstanceSettings {
  const uid = replace(typeof asked === "string" ? asked : (asked?.uid ?? ""), scopedVars);
  if (uid !== settings.uid) throw new Error(`there is no data source ${JSON.stringify(asked)}: ${uid}`);
  return settings;
}

function run(source: DataSourceApi, request: DataQueryRequest): Observable<PanelData> {
  const nothing: PanelData = { state: LoadingState.Loading, series: [], timeRange: request.range, request };
  const answer = from(source.query(request) as Promise<DataQueryResponse>);
  const told = answer.pipe(
    map(({ data }): PanelData => ({ ...nothing, state: LoadingState.Done, series: data })),
    catchError((error) => of<PanelData>({ ...nothing, state: LoadingState.Error, errors: [{ message: String(error) }] })),
  );
  return told.pipe(startWith(nothing));
}

export async function begin(): Promise<void> {
  await initPluginTranslations("grafana-scenes");
  config.theme2 = createTheme();
  config.bootData = { ...config.bootData, user: { ...config.bootData?.user, timezone: "utc" } } as typeof config.bootData;
  standardEditorsRegistry.setInit(() => []);
  standardFieldConfigEditorRegistry.setInit(standardOptions);
  const source = new Prometheus(settings);
  setDataSourceSrv({
    get: async (asked, scopedVars) => settingsOf(asked, scopedVars) && (source as unknown as DataSourceApi),
    getInstanceSettings: settingsOf,
    getList: (filters) => (filters?.pluginId === settings.type ? [settings] : []),
    reload: async () => {},
    registerRuntimeDataSource: () => {},
  });
  setTemplateSrv({ replace, getVariables: () => [], containsTemplate: (text) => text?.includes("$") ?? false, updateTimeRange: () => {} });
  setAppEvents(new EventBusSrv());
  setRunRequest(run);
  setPluginImportUtils({
    importPanelPlugin: async (id) => {
      const plugin = panels[id];
      if (!plugin) throw new Error(`there is no panel ${id}`);
      return plugin;
    },
    getPanelPluginFromCache: (id) => panels[id],
  });
}
