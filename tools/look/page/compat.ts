// In place of @grafana/plugin-compat, which finds out at run time what a bundler must know before.
import { getDataSourceSrv } from '@grafana/runtime';

export const getDataSourceInstance = (ref: any, variables?: any) => getDataSourceSrv().get(ref, variables);
export const getDataSourceInstanceList = async (filters?: any) => getDataSourceSrv().getList(filters);
export const getDataSourceInstanceSettings = async (ref: any, variables?: any) =>
  getDataSourceSrv().getInstanceSettings(ref, variables);
export const getDefaultDataSourceInstanceListItem = () => getDataSourceInstanceSettings('Prometheus');
export const registerRuntimeDataSourceInstance = () => {};
export const useDataSourceInstance = () => ({});
export const useDefaultDataSourceInstanceListItem = () => ({});
