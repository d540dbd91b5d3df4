// Grafana's data, axes and layout; its cells are drawn by a plugin that is not on npm, so they are a likeness here.
import { useMemo } from 'react';
import {
  DataFrameType, FieldConfigProperty, FieldType, PanelPlugin, type PanelProps, formattedValueToString, getValueFormat,
} from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleDistribution, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, VizLayout, commonOptionsBuilder, useTheme2 } from '@grafana/ui';
import * as colours from 'd3-scale-chromatic';
import type uPlot from 'uplot';
import { report } from '../report';
import { Empty } from './empty';
import { fieldOptions } from './options';

const format = (unit: string | undefined, decimals?: number) => (value: number) =>
  formattedValueToString(getValueFormat(unit ?? 'short')(value, decimals));

/** The rows of buckets with their names, least first, and the times. */
function cells(series: any[]) {
  const frame = series.find((each) => each.meta?.type === DataFrameType.HeatmapRows) ?? series[0];
  const rows = frame?.fields.filter((field: any) => field.type === FieldType.number) ?? [];
  const time = frame?.fields.find((field: any) => field.type === FieldType.time);
  return rows.length && time ? { rows, time } : null;
}

function palette(rows: any[], options: any) {
  const least = options.filterValues?.le ?? 1e-9;
  const shown = rows.flatMap((row) => row.values.filter((value: number) => value > least));
  const low = options.color?.min ?? Math.min(...shown), high = options.color?.max ?? Math.max(...shown);
  const scheme = (colours as any)[`interpolate${options.color?.scheme ?? 'Oranges'}`] ?? colours.interpolateOranges;
  const steps = (options.color?.steps ?? 64) - 1;
  const at = (share: number) => scheme(options.color?.reverse ? share : 1 - share);
  const colour = (value: number) =>
    at(Math.round((high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 1) * steps) / steps);
  return { least, low, high, at, colour };
}

function HeatmapPanel(props: PanelProps<any>) {
  const { data, timeRange, timeZone, width, height, options, fieldConfig } = props;
  const theme = useTheme2();
  const found = useMemo(() => cells(data.series), [data.series]);
  report(props, data.series);
  const drawn = useMemo(() => {
    if (!found) { return null; }
    const { rows, time } = found;
    const shades = palette(rows, options);
    const inWords = format(options.yAxis?.unit, options.yAxis?.decimals);
    const names = rows.map((row: any) => row.config.displayNameFromDS ?? row.name);
    const labels = names.map((name: string) => (Number.isFinite(+name) ? inWords(+name) : name));
    const every = Math.max(1, Math.ceil(rows.length / Math.max(2, Math.floor((height - 60) / 22))));
    const marked = rows.map((_: any, row: number) => row + 1).filter((row: number) => (rows.length - row) % every === 0);
    const builder = new UPlotConfigBuilder(timeZone as any);
    builder.addScale({
      scaleKey: 'x', isTime: true, orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right,
      range: () => [timeRange.from.valueOf(), timeRange.to.valueOf()],
    } as any);
    builder.addScale({
      scaleKey: 'y', orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up, range: () => [0, rows.length],
    } as any);
    builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, theme, timeZone, grid: { show: false } } as any);
    builder.addAxis({
      scaleKey: 'y', placement: AxisPlacement.Left, theme, grid: { show: false }, splits: [0, ...marked],
      values: ['', ...marked.map((row: number) => labels[row - 1])],
    } as any);
    builder.addSeries({ scaleKey: 'y', theme, show: true, lineColor: 'transparent', pathBuilder: () => null } as any);
    builder.addHook('draw', (plot: uPlot) => {
      const { ctx, bbox } = plot;
      const step = time.config.interval ?? 60_000, gap = options.cellGap ?? 1;
      ctx.save();
      ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
      rows.forEach((row: any, y: number) => time.values.forEach((at: number, column: number) => {
        if (!(row.values[column] > shades.least)) { return; }
        const [left, right] = [at - step, at].map((instant) => plot.valToPos(instant, 'x', true));
        const [top, bottom] = [y + 1, y].map((edge) => plot.valToPos(edge, 'y', true));
        ctx.fillStyle = shades.colour(row.values[column]);
        ctx.fillRect(left, top, Math.max(1, right - left - gap), bottom - top - gap);
      }));
      ctx.fillStyle = options.exemplars?.color ?? 'rgba(255,0,255,0.7)';
      for (const frame of (data.annotations ?? []).filter((each) => each.meta?.custom?.resultType === 'exemplar')) {
        const values = (name: string) => frame.fields.find((field) => field.name === name)?.values ?? [];
        const bounds = values('le');
        values('Time').forEach((at: number, row: number) => {
          const y = names.indexOf(bounds[row]) + 0.5;
          if (y > 0) { ctx.fillRect(plot.valToPos(at, 'x', true) - 3, plot.valToPos(y, 'y', true) - 3, 6, 6); }
        });
      }
      ctx.restore();
    });
    return { builder, shades };
  }, [found, width, height]);
  if (!found || !drawn) { return <Empty fieldConfig={fieldConfig} />; }
  const { builder, shades } = drawn;
  const inWords = format(options.cellValues?.unit, options.cellValues?.decimals);
  const legend = options.legend?.show ? (
    <VizLayout.Legend placement="bottom" maxHeight="20%">
      <div style={{ maxWidth: 300, marginLeft: 25, padding: '10px 0', fontSize: 12 }}>
        <div style={{ height: 9, background: `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(shades.at)})` }} />
        <div style={{ display: 'flex', justifyContent: 'space-between' }}>
          <span>{inWords(shades.low)}</span><span>{inWords(shades.high)}</span>
        </div>
      </div>
    </VizLayout.Legend>
  ) : null;
  return (
    <VizLayout width={width} height={height} legend={legend as any}>
      {(inner: number, high: number) => (
        <UPlotChart config={builder} width={inner} height={high} data={[found.time.values, found.time.values.map(() => 0)] as any} />
      )}
    </VizLayout>
  );
}

export const heatmap = new PanelPlugin<any, any>(HeatmapPanel)
  .useFieldConfig({
    disableStandardOptions: Object.values(FieldConfigProperty).filter((each) => each !== FieldConfigProperty.Links) as any,
    useCustomConfig: (builder) => {
      fieldOptions(builder, { scaleDistribution: { type: ScaleDistribution.Linear } });
      commonOptionsBuilder.addHideFrom(builder as any);
    },
  })
  .setDataSupport({ annotations: true });
