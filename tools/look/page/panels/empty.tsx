// What stands where there is nothing to draw: the panel's own words, or Grafana's.
import { useTheme2 } from '@grafana/ui';

export function Empty({ fieldConfig }: { fieldConfig: any }) {
  const theme = useTheme2();
  const style = { display: 'grid', placeItems: 'center', height: '100%', color: theme.colors.text.secondary, fontSize: theme.typography.size.lg };
  return <div style={style}>{fieldConfig?.defaults?.noValue ?? 'No data'}</div>;
}
