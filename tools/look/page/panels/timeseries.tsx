import { useMemo } from 'react';
import {
  type DataFrame, FieldColorModeId, FieldConfigProperty, FieldType, PanelPlugin, type PanelProps,
  applyNullInsertThreshold, cacheFieldDisplayNames, nullToValue,
} from '@grafana/data';
import {
  AxisPlacement, GraphDrawStyle, GraphGradientMode, GraphThresholdsStyleMode, LineInterpolation, StackingMode, VisibilityMode,
} from '@grafana/schema';
import { TimeSeries, commonOptionsBuilder } from '@grafana/ui';
import { report } from '../report';
import { Empty } from './empty';
import { Marks } from './marks';
import { fieldOptions } from './options';

/** Frames with a time and numbers, gaps as nulls; the palette counts over all frames. */
function prepared(series: DataFrame[], { from, to }: any): DataFrame[] {
  let position = 0;
  const of = (type: FieldType) => (frame: DataFrame) => frame.fields.some((field) => field.type === type);
  const frames = series.filter(of(FieldType.time)).filter(of(FieldType.number)).map((frame) => {
    const range = { refFieldPseudoMin: from.valueOf(), refFieldPseudoMax: to.valueOf() };
    const filled = nullToValue(applyNullInsertThreshold({ frame, ...range } as any));
    const fields = filled.fields.map((field) => field.type !== FieldType.number ? field : {
      ...field, state: { ...field.state, seriesIndex: position++ },
      values: field.values.map((value: any) => (Number.isFinite(value) ? value : null)),
    });
    return { ...frame, fields, length: filled.length };
  });
  cacheFieldDisplayNames(frames);
  return frames;
}

function TimeSeriesPanel(props: PanelProps<any>) {
  const { data, timeRange, timeZone, width, height, options, fieldConfig } = props;
  const frames = useMemo(() => prepared(data.series, timeRange), [data.series]);
  report(props, frames);
  if (!frames.length) { return <Empty fieldConfig={fieldConfig} />; }
  return (
    <TimeSeries frames={frames} structureRev={data.structureRev} timeRange={timeRange} timeZone={timeZone as any}
      width={width} height={height} legend={options.legend} options={options}>
      {(builder: any) => <Marks builder={builder} frames={data.annotations ?? []} />}
    </TimeSeries>
  );
}

export const timeseries = new PanelPlugin<any, any>(TimeSeriesPanel)
  .useFieldConfig({
    standardOptions: {
      [FieldConfigProperty.Color]: {
        settings: { byValueSupport: true, bySeriesSupport: true, preferThresholdsMode: false },
        defaultValue: { mode: FieldColorModeId.PaletteClassic },
      },
      [FieldConfigProperty.Links]: { settings: { showOneClick: true } },
    } as any,
    useCustomConfig: (builder: any) => {
      fieldOptions(builder, {
        drawStyle: GraphDrawStyle.Line, lineInterpolation: LineInterpolation.Linear, lineWidth: 1, lineStyle: undefined,
        lineColor: undefined, fillOpacity: 0, fillBelowTo: undefined, gradientMode: GraphGradientMode.None, barAlignment: 0,
        barWidthFactor: 0.6, showPoints: VisibilityMode.Auto, showValues: false, pointSize: 5, pointColor: undefined,
        spanNulls: false, insertNulls: false, transform: undefined, stacking: { mode: StackingMode.None, group: 'A' },
        thresholdsStyle: { mode: GraphThresholdsStyleMode.Off },
      });
      commonOptionsBuilder.addAxisConfig(builder, { axisPlacement: AxisPlacement.Auto } as any);
      commonOptionsBuilder.addHideFrom(builder);
    },
  })
  .setPanelOptions((builder: any) => {
    commonOptionsBuilder.addTooltipOptions(builder, false, true);
    commonOptionsBuilder.addLegendOptions(builder);
  })
  .setDataSupport({ annotations: true, alertStates: true });
