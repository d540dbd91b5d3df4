import { FieldColorModeId, FieldConfigProperty, PanelPlugin, type PanelProps } from '@grafana/data';
import { TableCellDisplayMode, TableCellHeight } from '@grafana/schema';
import { TableNG } from '@grafana/ui/unstable';
import { report } from '../report';
import { Empty } from './empty';
import { fieldOptions, panelOptions } from './options';

function TablePanel(props: PanelProps<any>) {
  const { data, width, height, options, fieldConfig, timeRange } = props;
  const frame = data.series[options.frameIndex] ?? data.series[0];
  report(props, frame ? [frame] : []);
  if (!frame?.fields.length) { return <Empty fieldConfig={fieldConfig} />; }
  return (
    <TableNG data={frame} width={width} height={height} timeRange={timeRange} structureRev={data.structureRev} resizable
      noHeader={!options.showHeader} showTypeIcons={options.showTypeIcons} sortBy={options.sortBy} cellHeight={options.cellHeight}
      maxRowHeight={options.maxRowHeight} enablePagination={options.enablePagination}
      frozenColumns={options.frozenColumns?.left} fieldConfig={fieldConfig} noValue={fieldConfig.defaults.noValue} />
  );
}

export const table = new PanelPlugin<any, any>(TablePanel)
  .useFieldConfig({
    standardOptions: {
      [FieldConfigProperty.Actions]: { hideFromDefaults: false },
      [FieldConfigProperty.Color]: {
        settings: { byValueSupport: true, bySeriesSupport: true, preferThresholdsMode: true },
        defaultValue: { mode: FieldColorModeId.Thresholds },
      },
    } as any,
    useCustomConfig: (builder) => fieldOptions(builder, {
      width: undefined, minWidth: undefined, align: 'auto', cellOptions: { type: TableCellDisplayMode.Auto }, inspect: false,
      filterable: false, wrapText: undefined, wrapHeaderText: undefined, 'footer.reducers': [], 'hideFrom.viz': undefined,
      tooltip: undefined, styleField: undefined,
    }, () => true),
  })
  .setPanelOptions((builder) => panelOptions(builder, {
    frameIndex: 0, showHeader: true, showTypeIcons: false, cellHeight: TableCellHeight.Sm,
  }));
