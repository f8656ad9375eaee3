/** Values of a text in the format of Prometheus, by the series as it is written: `name{label="value"}`. */
export function metricsOf(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(" ");
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

/** The value of a metric's first series, whatever its labels; undefined if it has none. */
export function firstOf(metrics: Map<string, number>, name: string): number | undefined {
  for (const [series, value] of metrics) if (series === name || series.startsWith(`${name}{`)) return value;
  return undefined;
}
