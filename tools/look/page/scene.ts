// A dashboard's JSON as a scene of @grafana/scenes, as Grafana's core turns one into the other.
import { type DashboardCursorSync } from '@grafana/data';
import {
  CustomVariable, DataSourceVariable, EmbeddedScene, QueryVariable, SceneControlsSpacer, SceneDataLayerControls,
  SceneDataLayerSet, SceneDataTransformer, SceneGridItem, SceneGridLayout, SceneGridRow, SceneQueryRunner,
  SceneRefreshPicker, SceneTimePicker, SceneTimeRange, SceneVariableSet, VariableValueSelectors, VizPanel, behaviors,
  dataLayers,
} from '@grafana/scenes';

const IN_CONTROLS_MENU = 3; // a variable's `hide`; the menu itself belongs to the core and is not drawn
const HIDDEN = 2;

function variable(model: any) {
  const common = {
    name: model.name, label: model.label, description: model.description, skipUrlSync: model.skipUrlSync,
    hide: model.hide === IN_CONTROLS_MENU ? HIDDEN : model.hide,
  };
  const chosen = {
    value: model.current?.value ?? '', text: model.current?.text ?? '', regex: model.regex ?? '', isMulti: model.multi,
    includeAll: model.includeAll, defaultToAll: Boolean(model.includeAll), allValue: model.allValue || undefined,
    allowCustomValue: model.allowCustomValue,
  };
  switch (model.type) {
    case 'query':
      return new QueryVariable({
        ...common, ...chosen, query: model.query, definition: model.definition, datasource: model.datasource, sort: model.sort,
        refresh: model.refresh,
      } as any);
    case 'datasource':
      return new DataSourceVariable({ ...common, ...chosen, pluginId: model.query } as any);
    case 'custom':
      return new CustomVariable({ ...common, query: model.query, value: model.current?.value, text: model.current?.text } as any);
    default:
      throw new Error(`a variable of type ${model.type} cannot be drawn`);
  }
}

function panel(model: any) {
  const asked = new SceneQueryRunner({
    datasource: model.datasource, queries: model.targets ?? [], maxDataPoints: model.maxDataPoints, minInterval: model.interval,
    dataLayerFilter: { panelId: model.id },
  } as any);
  const body = new VizPanel({
    key: `panel-${model.id}`, pluginId: model.type, pluginVersion: model.pluginVersion, title: model.title,
    description: model.description, hoverHeader: !model.title, displayMode: model.transparent ? 'transparent' : undefined,
    options: model.options ?? {}, fieldConfig: model.fieldConfig,
    $data: new SceneDataTransformer({ $data: asked, transformations: model.transformations ?? [] }),
  });
  const { x, y, w, h } = model.gridPos;
  return new SceneGridItem({ key: `grid-item-${model.id}`, x, y, width: w, height: h, body });
}

/** Panels after a row's head belong to the row. */
function rows(models: any[]) {
  const children: any[] = [];
  for (const model of models) {
    const last = children[children.length - 1];
    if (model.type === 'row') {
      children.push(new SceneGridRow({
        key: `panel-${model.id}`, title: model.title, isCollapsed: model.collapsed, y: model.gridPos.y,
        children: (model.panels ?? []).map(panel),
      }));
    } else if (last instanceof SceneGridRow) {
      last.setState({ children: [...last.state.children, panel(model)] });
    } else {
      children.push(panel(model));
    }
  }
  return children;
}

export function toScene(model: any, from: string, to: string) {
  const layers = (model.annotations?.list ?? [])
    .filter((query: any) => !query.builtIn)
    .map((query: any) => new dataLayers.AnnotationsDataLayer({
      key: `annotations-${query.name}`, name: query.name, query, isEnabled: Boolean(query.enable), isHidden: Boolean(query.hide),
    } as any));
  return new EmbeddedScene({
    $timeRange: new SceneTimeRange({ from, to, timeZone: 'utc' }),
    $variables: new SceneVariableSet({ variables: model.templating.list.map(variable) }),
    $data: new SceneDataLayerSet({ layers }),
    $behaviors: [new behaviors.CursorSync({ sync: model.graphTooltip as DashboardCursorSync })],
    controls: [
      new VariableValueSelectors({}), new SceneDataLayerControls(), new SceneControlsSpacer(), new SceneTimePicker({}),
      new SceneRefreshPicker({ intervals: ['5s', '30s', '1m'], refresh: '' }),
    ],
    body: new SceneGridLayout({ isLazy: false, children: rows(model.panels) } as any),
  });
}
