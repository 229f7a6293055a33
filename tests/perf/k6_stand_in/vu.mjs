// One VU: loads the script with our modules for k6's, and runs its functions when it is told to.
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { scenario } from './modules/execution.mjs';
import { declared } from './modules/metrics.mjs';

// k6 reads `.js` as a module and knows its own names; whatever is neither one of those nor a file beside the script is refused.
const RESOLVE = `
const OURS = '${new URL('./modules/', import.meta.url)}';
const KNOWN = { k6: 'k6', 'k6/http': 'http', 'k6/metrics': 'metrics', 'k6/execution': 'execution' };
export async function resolve(name, context, next) {
  if (Object.hasOwn(KNOWN, name)) {
    return { url: new URL(KNOWN[name] + '.mjs', OURS).href, shortCircuit: true };
  }
  if (context.parentURL?.startsWith(OURS)) {
    return next(name, context);
  }
  if (!/^(file:|[.][/])/.test(name)) {
    throw new Error('no module of k6 that the stand-in knows, and no file of ours: ' + name);
  }
  return { ...(await next(name, context)), format: 'module' };
}`;

const text = (error) => `${error.name}: ${error.message}`;

globalThis.__ENV = workerData.env;
globalThis.__VU = workerData.number;
console.log = (line) => process.stderr.write(`${line}\n`);

try {
  register(`data:text/javascript,${encodeURIComponent(RESOLVE)}`);
  const script = await import(pathToFileURL(workerData.script).href);
  parentPort.on('message', ([name, data, iteration]) => {
    scenario.iterationInTest = iteration;
    try {
      // As in k6, data travels as JSON.
      parentPort.postMessage({ outcome: { value: script[name](data) } });
    } catch (error) {
      parentPort.postMessage({ outcome: { error: text(error) } });
    }
  });
  parentPort.postMessage({ outcome: { value: script.options, metrics: declared } });
} catch (error) {
  parentPort.postMessage({ outcome: { error: text(error) } });
}
