// What Grafana's server writes into the page. Imported before everything else: @grafana/runtime reads it once.
const user = {
  theme: 'dark', isSignedIn: true, orgId: 1, orgRole: 'Viewer', permissions: {},
  timezone: 'utc', language: 'en-US', locale: 'en-US',
};
const settings = {
  appUrl: `${location.origin}/`, appSubUrl: '', namespace: 'default', featureToggles: {}, apps: {}, panels: {},
  buildInfo: { version: '13.2.3', commit: '', env: 'production', edition: 'Open Source' },
  datasources: {}, defaultDatasource: 'Prometheus',
};
Object.assign(window, {
  grafanaBootData: { user, settings, navTree: [], assets: { dark: '', light: '' } },
  __grafana_public_path__: '/public/',
});
export {};
