// The two panels that the dashboard has. Grafana's own are a part of its program; these put the same components of its library to the same use, with every option that the dashboard sets.

import { type FieldConfigPropertyItem, getFieldDisplayValues, identityOverrideProcessor, PanelPlugin, type PanelProps, PluginType } from "@grafana/data";
import { config } from "@grafana/runtime";
import { BigValue, type BigValueColorMode, type BigValueGraphMode, type BigValueTextMode, TimeSeries } from "@grafana/ui";

import type { BoardPanel } from "./board";

type Options<Kind> = Extract<BoardPanel, { type: Kind }>["options"];

function Stat({ data, options, fieldConfig, width, height, replaceVariables, timeZone }: PanelProps<Options<"stat">>) {
  const reduceOptions = options.reduceOptions!;
  const values = getFieldDisplayValues({ fieldConfig, reduceOptions, replaceVariables, theme: config.theme2, data: data.series, sparkline: false, timeZone });
  return (
    <div className="values">
      {values.map(({ display }, place) => (
        <BigValue
          key={place}
          value={display}
          width={width / values.length}
          height={height}
          theme={config.theme2}
          count={values.length}
          colorMode={options.colorMode as BigValueColorMode}
          graphMode={options.graphMode as BigValueGraphMode}
          textMode={options.textMode as BigValueTextMode}
        />
      ))}
    </div>
  );
}

function Series({ data, options, width, height, timeRange, timeZone }: PanelProps<Options<"timeseries">>) {
  // A graph needs times to stand along.
  if (data.series.length === 0) return <p>No data</p>;
  return <TimeSeries frames={data.series} structureRev={data.structureRev!} legend={options.legend as never} options={options} width={width} height={height} timeRange={timeRange} timeZone={timeZone} />;
}

/** The options that every field has, which a panel's plugin takes from here and the dashboard sets. */
export function standardOptions(): FieldConfigPropertyItem[] {
  const ids = ["unit", "min", "max", "decimals", "displayName", "noValue", "color", "thresholds", "mappings", "links", "filterable"];
  return ids.map((id) => ({ id, path: id, name: id, editor: () => null, override: () => null, process: identityOverrideProcessor, shouldApply: () => true }) as FieldConfigPropertyItem);
}

function plugin(id: string, drawn: PanelPlugin, custom: Record<string, unknown>): PanelPlugin {
  drawn.meta = { id, name: id, type: PluginType.panel, module: "", baseUrl: "", sort: 0, info: {} } as unknown as PanelPlugin["meta"];
  drawn.useFieldConfig({
    standardOptions: { color: { defaultValue: { mode: id === "stat" ? "thresholds" : "palette-classic" } } },
    useCustomConfig: (builder) => {
      for (const [path, defaultValue] of Object.entries(custom)) {
        builder.addCustomEditor({ id: path, path, name: path, defaultValue, editor: () => null, override: () => null, process: identityOverrideProcessor, shouldApply: () => true } as never);
      }
    },
  });
  return drawn;
}

const graph = { drawStyle: "line", lineInterpolation: "linear", lineWidth: 1, fillOpacity: 0, showPoints: "auto", spanNulls: false, axisPlacement: "auto", stacking: { mode: "none", group: "A" } };

export const panels: Record<string, PanelPlugin> = {
  stat: plugin("stat", new PanelPlugin(Stat), {}),
  timeseries: plugin("timeseries", new PanelPlugin(Series), graph),
};
