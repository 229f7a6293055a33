// k6's requests block. So a VU hands its request to the thread that may wait, and sleeps until the reply is there.
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { emit } from './metrics.mjs';

const { signal, replies } = workerData;

/** Headers are named as Go names them, so `Retry-After`. */
function canonical(name) {
  return name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
}

function request(method, url, body, { headers = {}, tags = {}, timeout = '60s', responseCallback = (status) => status >= 200 && status < 400, ...odd } = {}) {
  if (Object.keys(odd).length) {
    throw new Error(`parameters that the stand-in does not know: ${Object.keys(odd)}`);
  }
  parentPort.postMessage({ request: { method, url, body, headers, timeoutMs: Number.parseInt(timeout, 10) * 1_000 } });
  Atomics.wait(signal, 0, 0);
  Atomics.store(signal, 0, 0);
  const { status, body: text, headers: pairs, error, ms } = receiveMessageOnPort(replies).message;
  emit('http_req_duration', 'trend', ms, tags);
  emit('http_req_failed', 'rate', Number(!responseCallback(status)), tags);
  return {
    status,
    body: text,
    error,
    headers: Object.fromEntries(pairs.map(([name, value]) => [canonical(name), value])),
    json: () => JSON.parse(text),
  };
}

export default {
  get: (url, params) => request('GET', url, undefined, params),
  post: (url, body, params) => request('POST', url, body, params),
  expectedStatuses:
    (...statuses) =>
    (status) =>
      statuses.includes(status),
};
