// What Grafana's core gives to @grafana/runtime: data sources, requests, variables. The smallest that works.
import { type Observable, catchError, from, map, of, startWith } from 'rxjs';
import { DataTopic, EventBusSrv, LoadingState, isDataFrame, toDataFrame } from '@grafana/data';
import {
  config, setAppEvents, setBackendSrv, setCurrentUser, setDataSourceSrv, setEchoSrv, setLocationSrv,
  setPluginComponentHook, setPluginComponentsHook, setPluginFunctionsHook, setPluginImportUtils, setPluginLinksHook,
  setRunRequest, setTemplateSrv, toDataQueryError,
} from '@grafana/runtime';
import { sceneGraph } from '@grafana/scenes';
import { PrometheusDatasource } from '@grafana/prometheus';
import { look } from './report';

const scrapeInterval = new URLSearchParams(location.search).get('scrape') ?? '15s';

function source(id: number, name: string, isDefault: boolean, jsonData: object) {
  const type = name.toLowerCase();
  const info = { author: { name: '' }, description: '', links: [], logos: { small: '', large: '' }, screenshots: [], updated: '', version: '' };
  const meta = { id: type, name, type: 'datasource', metrics: true, annotations: true, module: '', baseUrl: '', info };
  return { id, uid: type, name, type, url: `/api/datasources/proxy/uid/${type}`, access: 'proxy', readOnly: true, isDefault, meta, jsonData };
}

const sources: Record<string, any> = {
  prometheus: source(1, 'Prometheus', true, {
    httpMethod: 'POST', timeInterval: scrapeInterval,
    exemplarTraceIdDestinations: [{ name: 'trace_id', datasourceUid: 'tempo' }],
  }),
  tempo: source(2, 'Tempo', false, {}),
};

/** Fills in variables, as seen from the object that asks. */
function filledIn(target = '', scoped?: any, format?: any): string {
  const from = scoped?.__sceneObject?.value?.valueOf?.() ?? (window as any).__grafanaSceneContext;
  return target && from ? sceneGraph.interpolate(from, target, scoped, format) : target;
}

function settingsOf(asked: any, scoped?: any) {
  const known = Object.values(sources);
  const uid = typeof asked === 'string' ? asked : asked?.uid;
  if (!uid) { return known.find((each) => each.type === asked?.type) ?? sources.prometheus; }
  const name = uid.includes('$') ? filledIn(uid, scoped, (value: any) => (Array.isArray(value) ? value[0] : value)) : uid;
  const found = sources[name] ?? known.find((each) => each.name === name);
  // A data source behind a variable keeps the variable's name, and says what it stands for.
  return found && name !== uid
    ? { ...found, isDefault: false, name: uid, uid, rawRef: { type: found.type, uid: found.uid } }
    : found;
}

let prometheus: any;
const dataSources: any = {
  async get(asked: any, scoped?: any) {
    const settings = settingsOf(asked, scoped);
    if (settings?.type !== 'prometheus') { throw new Error(`no data source for ${JSON.stringify(asked)}`); }
    prometheus ??= Object.assign(new PrometheusDatasource(sources.prometheus), { meta: sources.prometheus.meta });
    return prometheus;
  },
  getInstanceSettings: settingsOf,
  getList: (wanted: any = {}) =>
    Object.values(sources).filter((each) =>
      [wanted.pluginId, wanted.type].every((type) => !type || type === each.type) && (wanted.filter?.(each) ?? true)),
  reload() {},
};

const pairs = (values: object) =>
  Object.entries(values).flatMap(([key, value]) => [value].flat().map((each) => [key, String(each)]));

async function fetched(request: any) {
  const query = request.params ? `${request.url.includes('?') ? '&' : '?'}${new URLSearchParams(pairs(request.params))}` : '';
  const headers: Record<string, string> = { ...request.headers };
  let body: any;
  if (request.data !== undefined && request.method !== 'GET') {
    const form = headers['Content-Type']?.includes('urlencoded');
    body = form ? new URLSearchParams(pairs(request.data)) : JSON.stringify(request.data);
    headers['Content-Type'] = form ? 'application/x-www-form-urlencoded' : 'application/json';
  }
  const url = (/^(\/|http)/.test(request.url) ? request.url : `/${request.url}`) + query;
  const answer = await fetch(url, { method: request.method ?? 'GET', headers, body });
  const data = await answer.json().catch(() => ({}));
  const common = { status: answer.status, statusText: answer.statusText, data, config: request };
  if (!answer.ok) { throw common; }
  return { ...common, ok: true, headers: answer.headers, url, type: 'basic', redirected: false };
}

const backend: any = {
  fetch: (request: any) => from(fetched(request)),
  datasourceRequest: fetched,
  request: async (request: any) => (await fetched(request)).data,
  get: async (url: string, params?: any) => (await fetched({ url, params })).data,
  post: async (url: string, data?: any, options?: any) => (await fetched({ url, method: 'POST', data, ...options })).data,
  put: async () => ({}), patch: async () => ({}), delete: async () => ({}),
  search: async () => [], chunked: () => of(), resolveCancelerIfExists() {},
};

function runRequest(from_: any, request: any, ask?: any): Observable<any> {
  const base = { state: LoadingState.Loading, series: [], request, timeRange: request.range };
  const refused = (error: any) => {
    look.problems.push(`panel ${request.panelId}: ${error?.data?.message ?? error?.message ?? JSON.stringify(error)}`);
    return error;
  };
  return from((ask ? ask(request) : from_.query(request)) as Observable<any>).pipe(
    map((answer) => {
      const frames = (answer.data ?? []).map((each: any) => (isDataFrame(each) || !(each.fields ?? each.columns) ? each : toDataFrame(each)));
      const errors = answer.errors ?? (answer.error ? [answer.error] : undefined);
      errors?.forEach(refused);
      const beside = (frame: any) => frame?.meta?.dataTopic === DataTopic.Annotations;
      return {
        ...base, state: errors?.length ? LoadingState.Error : LoadingState.Done, errors, error: errors?.[0],
        series: frames.filter((frame: any) => !beside(frame)), annotations: frames.filter(beside),
      };
    }),
    catchError((error) => of({ ...base, state: LoadingState.Error, errors: [toDataQueryError(refused(error))] })),
    startWith(base)
  );
}

export function startServices(pluginOf: (id: string) => any) {
  Object.assign(config, { datasources: sources, defaultDatasource: 'Prometheus' });
  setBackendSrv(backend);
  setDataSourceSrv(dataSources);
  setRunRequest(runRequest as any);
  setTemplateSrv({
    getVariables: () => [], replace: filledIn, updateTimeRange() {}, containsTemplate: (text?: string) => /\$\{?\w|\[\[/.test(text ?? ''),
  } as any);
  setAppEvents(new EventBusSrv());
  setEchoSrv({ flush() {}, addBackend() {}, addEvent() {} } as any);
  setLocationSrv({ update() {} });
  setCurrentUser({ login: 'viewer', orgId: 1, orgRole: 'Viewer', timezone: 'utc' } as any);
  setPluginImportUtils({ importPanelPlugin: async (id: string) => pluginOf(id), getPanelPluginFromCache: pluginOf } as any);
  // Extensions of other plugins: none.
  setPluginLinksHook((() => ({ links: [], isLoading: false })) as any);
  setPluginComponentHook((() => ({ component: null, isLoading: false })) as any);
  setPluginComponentsHook((() => ({ components: [], isLoading: false })) as any);
  setPluginFunctionsHook((() => ({ functions: [], isLoading: false })) as any);
}
