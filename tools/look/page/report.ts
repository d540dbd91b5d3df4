// What the checks read when everything is drawn: window.look.
import { type DataFrame, type Field, type PanelProps, FieldType, formattedValueToString, getFieldDisplayName } from '@grafana/data';

type Panel = Record<string, unknown>;

export const look = {
  panels: {} as Record<string, Panel>,
  problems: [] as string[], // queries that were refused, exceptions
};
(window as any).look = look;

window.addEventListener('error', (event) => look.problems.push(String(event.message)));
window.addEventListener('unhandledrejection', (event) => look.problems.push(String(event.reason?.stack ?? event.reason)));

const text = (field: Field, value: unknown) => (field.display ? formattedValueToString(field.display(value)) : String(value));

/** The links of each row of a field, resolved by Grafana. */
const links = (field: Field, rows: number) =>
  Array.from({ length: Math.min(rows, 50) }, (_, row) => (field.getLinks?.({ valueRowIndex: row }) ?? []).map((link) => link.href));

function line(frame: DataFrame, field: Field, frames: DataFrame[]) {
  const known = field.values.filter((value) => value != null);
  return {
    name: getFieldDisplayName(field, frame, frames), type: field.type, points: known.length,
    greatest: field.type === FieldType.number && known.length ? Math.max(...known) : null,
    links: links(field, field.type === FieldType.number && frame.fields[0]?.type === FieldType.time ? 1 : frame.length),
    ...(frame.fields[0]?.type === FieldType.time ? {} : { cells: field.values.map((value) => text(field, value)) }),
  };
}

/** Called by a panel whenever it draws: with what it draws. */
export function report(props: PanelProps<any>, frames: DataFrame[]) {
  const shown = frames.flatMap((frame) =>
    frame.fields.filter((field) => field.type !== FieldType.time).map((field) => line(frame, field, frames)));
  look.panels[props.id] = {
    title: props.title, state: props.data.state,
    errors: props.data.errors?.map((error) => error.message) ?? [], lines: shown,
  };
}
