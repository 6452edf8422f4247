// The dashboard's type: Grafana's schema, narrowed to the panels, the source and the variables that twill's dashboard has.

import type { Dashboard as Schema, FieldConfigSource, Panel, VariableModel } from "@grafana/schema";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { FieldConfig as SeriesFields, Options as SeriesOptions } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** A type as it is in JSON: an enum's member is its text or number. */
type Json<T> = T extends string ? `${T}` : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T) : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

/** A query of Prometheus, as its data source's code reads it. */
export interface Query {
  datasource: { type: "prometheus"; uid: string };
  refId: string;
  expr: string;
  legendFormat: string;
  range?: boolean;
  instant?: boolean;
  format?: "time_series" | "table" | "heatmap";
}

type Drawn<Kind, Options, Fields> = Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> & {
  type: Kind;
  title: string;
  options: Options;
  fieldConfig: Omit<FieldConfigSource, "defaults"> & { defaults: Omit<FieldConfigSource["defaults"], "custom"> & { custom: Fields } };
  targets: Query[];
};

/** A panel; what a stat does not say has the plugin's default. */
export type BoardPanel = Json<Drawn<"stat", Partial<StatOptions>, Record<string, never>> | Drawn<"timeseries", SeriesOptions, SeriesFields>>;

export type Board = Json<Omit<Schema, "panels" | "templating">> & { panels: BoardPanel[]; templating: { list: Json<VariableModel>[] } };
