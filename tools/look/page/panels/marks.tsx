// Annotations and exemplars on a graph. Grafana's own plugins for these are not on npm, so this is a likeness.
import { useEffect, useMemo } from 'react';
import { type DataFrame } from '@grafana/data';
import { config } from '@grafana/runtime';
import type uPlot from 'uplot';

const column = (frame: DataFrame, name: string): any[] => frame.fields.find((field) => field.name === name)?.values ?? [];

function annotation(plot: uPlot, from: number, to: number, colour: string) {
  const { ctx, bbox } = plot;
  const bottom = bbox.top + bbox.height;
  const [left, right] = [from, to].map((instant) => Math.round(plot.valToPos(instant, 'x', true)));
  Object.assign(ctx, { strokeStyle: colour, fillStyle: colour, lineWidth: 1.5 });
  ctx.setLineDash([5, 5]);
  for (const x of new Set([left, right])) {
    ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bottom); ctx.stroke();
  }
  ctx.setLineDash([]);
  if (right > left) { ctx.fillRect(left, bottom, right - left, 5); } else {
    ctx.beginPath(); ctx.moveTo(left - 5, bottom + 6); ctx.lineTo(left + 5, bottom + 6); ctx.lineTo(left, bottom); ctx.fill();
  }
}

function diamond(plot: uPlot, x: number, y: number) {
  const { ctx } = plot;
  Object.assign(ctx, { fillStyle: '#3274d9', strokeStyle: '#8ab8ff', lineWidth: 0.5 });
  ctx.beginPath(); ctx.moveTo(x, y - 4.5); ctx.lineTo(x + 4.5, y); ctx.lineTo(x, y + 4.5); ctx.lineTo(x - 4.5, y);
  ctx.closePath(); ctx.fill(); ctx.stroke();
}

function drawn(plot: uPlot, frames: DataFrame[]) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath(); ctx.rect(bbox.left, bbox.top - 6, bbox.width, bbox.height + 12); ctx.clip();
  for (const frame of frames) {
    if (frame.meta?.custom?.resultType !== 'exemplar') {
      const ends = column(frame, 'timeEnd'), colours = column(frame, 'color');
      column(frame, 'time').forEach((from, row) =>
        annotation(plot, from, ends[row] ?? from, config.theme2.visualization.getColorByName(colours[row] ?? 'red')));
      continue;
    }
    const key = Object.keys(plot.scales).find((name) => name !== 'x');
    const { min = 0, max = 0 } = key ? (plot.scales[key] as any) : {};
    const values = column(frame, 'Value');
    column(frame, 'Time').forEach((at, row) =>
      key && diamond(plot, plot.valToPos(at, 'x', true), plot.valToPos(Math.min(Math.max(values[row], min), max), key, true)));
  }
  ctx.restore();
}

export function Marks({ builder, frames }: { builder: any; frames: DataFrame[] }) {
  builder.marks = frames; // the newest, for a hook that is added once
  useMemo(() => {
    builder.addHook('init', (plot: uPlot) => { builder.marked = plot; });
    builder.addHook('draw', (plot: uPlot) => drawn(plot, builder.marks));
  }, [builder]);
  useEffect(() => builder.marked?.redraw(false));
  return null;
}
