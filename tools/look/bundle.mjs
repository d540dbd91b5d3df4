// Packs page/ and the packages it uses into build/, which is never committed: node bundle.mjs
import path from 'node:path';
import { build } from 'esbuild';

const here = import.meta.dirname;

// What only the query editor needs: a code editor (most of the bundle) and an assistant. Anything may be asked of it.
const NAMES = [
  'AssistantButton', 'DiffEditor', 'Editor', 'KeyCode', 'KeyMod', 'OpenAssistantButton', 'QueryWithAssistantButton',
  'createAssistantContextItem', 'createTool', 'editor', 'isAssistantAvailable', 'language', 'languageConfiguration',
  'languages', 'loader', 'monacoTypes', 'openAssistant', 'promLanguageDefinition', 'useAssistant', 'useInlineAssistant',
  'useMonaco', 'useProvidePageContext',
];
const nothing = `
  const nothing = new Proxy(function () {}, {
    get: (_, key) => (key === Symbol.toPrimitive ? () => '' : nothing), apply: () => nothing, construct: () => nothing,
  });
  export default nothing;
  export const ${NAMES.map((name) => `${name} = nothing`).join(', ')};`;

const replaced = {
  name: 'replaced',
  setup(bundler) {
    bundler.onResolve({ filter: /^(monaco-editor|monaco-promql|@monaco-editor|@grafana\/assistant)/ }, (asked) => ({
      path: asked.path, namespace: 'nothing',
    }));
    bundler.onLoad({ filter: /.*/, namespace: 'nothing' }, () => ({ contents: nothing }));
    bundler.onResolve({ filter: /^@grafana\/plugin-compat/ }, () => ({ path: path.join(here, 'page/compat.ts') }));
    bundler.onResolve({ filter: /^react-router-dom-v5-compat$/ }, (asked) =>
      bundler.resolve('react-router-dom', { kind: asked.kind, resolveDir: here })
    );
  },
};

await build({
  absWorkingDir: here, entryPoints: ['page/main.tsx'], outfile: 'build/bundle.js',
  bundle: true, format: 'esm', target: 'es2022', jsx: 'automatic', logLevel: 'error',
  conditions: ['import', 'browser', 'module', 'default'], mainFields: ['browser', 'module', 'main'],
  define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
  banner: { js: 'globalThis.process ??= { env: { NODE_ENV: "production" } };' },
  loader: {
    '.svg': 'dataurl', '.png': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl', '.wasm': 'dataurl',
    '.css': 'css', '.scss': 'empty',
  },
  plugins: [replaced],
});
