// Options of a panel or of its fields, with the defaults of @grafana/schema's panelcfg; what edits them is not drawn.
import { type Field, FieldType, identityOverrideProcessor } from '@grafana/data';

const nothing = () => null;
const isNumber = (field: Field) => field.type === FieldType.number;

export const panelOptions = (builder: any, defaults: Record<string, unknown>) => {
  for (const [path, defaultValue] of Object.entries(defaults)) {
    builder.addCustomEditor({ id: path, path, name: path, defaultValue, editor: nothing });
  }
};

export const fieldOptions = (builder: any, defaults: Record<string, unknown>, shouldApply = isNumber) => {
  for (const [path, defaultValue] of Object.entries(defaults)) {
    builder.addCustomEditor({
      id: path, path, name: path, defaultValue, editor: nothing, override: nothing, process: identityOverrideProcessor, shouldApply,
    });
  }
};
