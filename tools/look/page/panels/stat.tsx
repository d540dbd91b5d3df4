import {
  FieldColorModeId, FieldConfigProperty, PanelPlugin, type PanelProps, VizOrientation, getDisplayValueAlignmentFactors, getFieldDisplayValues,
} from '@grafana/data';
import { BigValue, BigValueGraphMode, VizRepeater, useTheme2 } from '@grafana/ui';
import { report } from '../report';
import { panelOptions } from './options';

function StatPanel(props: PanelProps<any>) {
  const { data, width, height, options, fieldConfig, timeZone, replaceVariables, renderCounter } = props;
  const theme = useTheme2();
  const values = () => getFieldDisplayValues({
    fieldConfig, replaceVariables, theme, timeZone, data: data.series, reduceOptions: options.reduceOptions,
    sparkline: options.graphMode !== BigValueGraphMode.None, percentChange: options.showPercentChange,
  } as any);
  report(props, data.series);
  return (
    <VizRepeater getValues={values} source={data} renderCounter={renderCounter} width={width} height={height}
      orientation={options.orientation} itemSpacing={3} autoGrid
      getAlignmentFactors={(shown: any) => getDisplayValueAlignmentFactors(shown) as any}
      renderValue={({ value, alignmentFactors, width, height, count }: any) => (
        <BigValue value={value.display} sparkline={value.sparkline} count={count} width={width} height={height} theme={theme}
          alignmentFactors={alignmentFactors} text={options.text} textMode={options.textMode} justifyMode={options.justifyMode}
          colorMode={options.colorMode} graphMode={options.graphMode} wideLayout={options.wideLayout}
          disableWideLayout={!options.wideLayout} percentChangeColorMode={options.percentChangeColorMode} />
      )} />
  );
}

export const stat = new PanelPlugin<any>(StatPanel)
  .useFieldConfig({
    standardOptions: {
      [FieldConfigProperty.Color]: {
        settings: { byValueSupport: true, bySeriesSupport: true, preferThresholdsMode: true },
        defaultValue: { mode: FieldColorModeId.Thresholds },
      },
    } as any,
  })
  .setPanelOptions((builder) => panelOptions(builder, {
    'reduceOptions.values': false, 'reduceOptions.calcs': ['lastNotNull'], 'reduceOptions.fields': '',
    orientation: VizOrientation.Auto, textMode: 'auto', colorMode: 'value', graphMode: 'area', justifyMode: 'auto',
    wideLayout: true, showPercentChange: false, percentChangeColorMode: 'standard',
  }));
