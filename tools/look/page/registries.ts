// The field options and transformations that Grafana's core registers when it starts. Its lists are not on npm.
import {
  FieldType, ThresholdsMode, booleanOverrideProcessor, dataLinksOverrideProcessor, displayNameOverrideProcessor,
  identityOverrideProcessor, numberOverrideProcessor, standardEditorsRegistry, standardFieldConfigEditorRegistry,
  standardTransformers, standardTransformersRegistry, stringOverrideProcessor, thresholdsOverrideProcessor,
  unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';

const numbers = { shouldApply: (field: any) => field.type === FieldType.number };
const templated = { settings: { expandTemplateVars: true } };

const FIELD_OPTIONS: [string, unknown, object?][] = [
  ['displayName', displayNameOverrideProcessor, templated],
  ['description', stringOverrideProcessor, templated],
  ['unit', unitOverrideProcessor],
  ['decimals', numberOverrideProcessor, { ...numbers, settings: { min: 0, max: 15, integer: true } }],
  ['min', numberOverrideProcessor, numbers],
  ['max', numberOverrideProcessor, numbers],
  ['fieldMinMax', booleanOverrideProcessor, numbers],
  ['noValue', stringOverrideProcessor, templated],
  ['color', identityOverrideProcessor, { settings: { byValueSupport: true, preferThresholdsMode: true } }],
  ['mappings', valueMappingsOverrideProcessor, { defaultValue: [] }],
  ['thresholds', thresholdsOverrideProcessor, {
    defaultValue: { mode: ThresholdsMode.Absolute, steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] },
  }],
  ['links', dataLinksOverrideProcessor],
  ['actions', identityOverrideProcessor],
  ['filterable', booleanOverrideProcessor],
];
const EDITORS = [
  'text', 'number', 'slider', 'boolean', 'select', 'radio', 'multi-select', 'unit', 'color', 'fieldColor', 'links', 'actions',
  'stats-picker', 'timezone', 'field-name', 'dashboard-uid', 'mappings', 'thresholds', 'strings', 'series',
];

export function fillRegistries() {
  const nothing = () => null;
  standardEditorsRegistry.setInit(() => EDITORS.map((id) => ({ id, name: id, editor: nothing })) as any);
  standardFieldConfigEditorRegistry.setInit(() =>
    FIELD_OPTIONS.map(([id, process, more]) => ({
      id, path: id, name: id, description: '', category: ['Standard options'], editor: nothing, override: nothing, process,
      shouldApply: () => true, settings: {}, getItemsCount: (items: any) => items?.length ?? 0, ...more,
    })) as any);
  const known = new Map(Object.values<any>(standardTransformers).map((each) => [each.id, each]));
  standardTransformersRegistry.setInit(() =>
    [...known.values()].map((each) => ({
      id: each.id, name: each.name, description: '', imageDark: '', imageLight: '', editor: nothing, transformation: async () => each,
    })) as any);
}
