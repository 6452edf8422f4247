// Prometheus as a data source of Grafana's. Grafana's own is a part of its server; this one asks Prometheus' API the same questions: ranges for panels, label values for variables.

import { type DataFrame, DataSourceApi, type DataQueryRequest, type DataQueryResponse, FieldType, type MetricFindValue, type TestDataSourceResponse, toDataFrame } from "@grafana/data";
import { sceneGraph, type SceneObject } from "@grafana/scenes";

import type { Query } from "./board";

interface Series {
  metric: Record<string, string>;
  values: [number, string][];
}

async function ask<T>(path: string, words: Record<string, string>): Promise<T> {
  const answer = await fetch(`/prometheus/api/v1/${path}?${new URLSearchParams(words)}`);
  const told = await answer.json();
  if (told.status !== "success") throw new Error(`${path} ${JSON.stringify(words)}: ${told.error}`);
  return told.data;
}

/** What a series is called: the legend with the labels' values in it. */
const named = (legend: string, labels: Record<string, string>) => legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");

export class Prometheus extends DataSourceApi<Query> {
  async query(request: DataQueryRequest<Query>): Promise<DataQueryResponse> {
    const frames = await Promise.all(request.targets.map((target) => this.ranges(target, request)));
    return { data: frames.flat() };
  }

  private async ranges({ expr, legendFormat, refId }: Query, { range, intervalMs, scopedVars }: DataQueryRequest<Query>): Promise<DataFrame[]> {
    const step = Math.max(1, Math.round(intervalMs / 1000));
    // The server fills this one in: four scrapes at least.
    const filled = { ...scopedVars, __rate_interval: { text: "10s", value: "10s" } };
    const scene: SceneObject = scopedVars["__sceneObject"]!.value.valueOf();
    const query = sceneGraph.interpolate(scene, expr, filled, (value: unknown) => [value].flat().join("|"));
    const words = { query, start: String(range.from.unix()), end: String(range.to.unix()), step: String(step) };
    const { result } = await ask<{ result: Series[] }>("query_range", words);
    return result.map(({ metric, values }) =>
      toDataFrame({
        refId,
        meta: { executedQueryString: query },
        fields: [
          { name: "Time", type: FieldType.time, config: {}, values: values.map(([at]) => at * 1000) },
          { name: "Value", type: FieldType.number, config: { displayNameFromDS: named(legendFormat, metric) }, labels: metric, values: values.map(([, value]) => Number(value)) },
        ],
      }),
    );
  }

  override async metricFindQuery({ query }: { query: string }): Promise<MetricFindValue[]> {
    const asked = /^label_values\((.+), *(\w+)\)$/.exec(query);
    if (!asked) throw new Error(`not a question for label values: ${query}`);
    const values = await ask<string[]>(`label/${asked[2]}/values`, { "match[]": asked[1]! });
    return values.map((text) => ({ text }));
  }

  async testDatasource(): Promise<TestDataSourceResponse> {
    return { status: "success", message: "" };
  }
}
