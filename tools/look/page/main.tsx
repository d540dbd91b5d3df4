// Draws the dashboard that the address names: ?uid=…&from=…&to=…&scrape=…&var-NAME=…
import './boot';
import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router-dom';
import { ThemeContext } from '@grafana/data';
import { LocationServiceProvider, config, locationService } from '@grafana/runtime';
import { sceneUtils } from '@grafana/scenes';
import { GlobalStyles, PortalContainer } from '@grafana/ui';
import { plugin } from './panels/plugins';
import { fillRegistries } from './registries';
import { look } from './report';
import { toScene } from './scene';
import { startServices } from './services';

async function draw() {
  fillRegistries();
  startServices(plugin);
  const asked = new URLSearchParams(location.search);
  const model = await (await fetch(`/dashboard/${asked.get('uid')}`)).json();
  const scene = toScene(model, asked.get('from') ?? model.time.from, asked.get('to') ?? model.time.to);
  (window as any).__grafanaSceneContext = scene;
  sceneUtils.syncStateFromSearchParams(scene as any, asked);
  const Scene = scene.Component as any;
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={config.theme2}>
      <LocationServiceProvider service={locationService}>
        <BrowserRouter>
          <GlobalStyles isExtensionSidebarOpen={false} />
          <div style={{ padding: 16, color: config.theme2.colors.text.primary }}>
            <div style={{ fontSize: 18, marginBottom: 12 }}>{model.title}</div>
            <Scene model={scene} />
          </div>
          <PortalContainer />
        </BrowserRouter>
      </LocationServiceProvider>
    </ThemeContext.Provider>
  );
}

draw().catch((error) => look.problems.push(String(error?.stack ?? error)));
