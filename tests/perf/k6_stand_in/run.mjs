// Stands in for k6 in tests: `node run.mjs run SCRIPT [-e NAME=VALUE …]`. Knows what our scripts use of k6, refuses everything else, and takes
// k6's exit codes. Each VU is a thread of its own; this one keeps the schedule and sends the VUs' requests.
import { parseArgs } from 'node:util';
import { resolve } from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import { verdict } from './thresholds.mjs';

const [THRESHOLDS_FAILED, BAD_CONFIG, SCRIPT_EXCEPTION] = [99, 104, 107];
const TICK_MS = 5;
const samples = [];

class Vu {
  constructor(script, env, number) {
    this.busy = false;
    const { port1, port2 } = new MessageChannel();
    this.signal = new Int32Array(new SharedArrayBuffer(4));
    this.replies = port1;
    const workerData = { script, env, number, signal: this.signal, replies: port2 };
    this.worker = new Worker(new URL('./vu.mjs', import.meta.url), { workerData, transferList: [port2] });
    this.worker.on('message', (message) => this.onMessage(message));
    this.worker.on('error', (error) => this.settle({ error: String(error) }));
    this.options = new Promise((done) => {
      this.settle = done;
    });
  }

  /** Runs a function of the script: {value} or {error}. */
  call(name, ...rest) {
    this.busy = true;
    return new Promise((done) => {
      this.settle = (outcome) => {
        this.busy = false;
        done(outcome);
      };
      this.worker.postMessage([name, ...rest]);
    });
  }

  onMessage({ request, sample, outcome }) {
    if (request) {
      send(request).then((reply) => {
        this.replies.postMessage(reply);
        Atomics.store(this.signal, 0, 1);
        Atomics.notify(this.signal, 0);
      });
    } else if (sample) {
      samples.push(sample);
    } else {
      this.settle(outcome);
    }
  }
}

async function send({ method, url, body, headers, timeoutMs }) {
  const start = performance.now();
  try {
    const reply = await fetch(url, { method, body, headers, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) });
    const text = await reply.text();
    return { status: reply.status, body: text, headers: [...reply.headers], error: '', ms: performance.now() - start };
  } catch (error) {
    return { status: 0, body: null, headers: [], error: String(error.cause ?? error), ms: performance.now() - start };
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function milliseconds(text) {
  const [, number, unit] = /^([0-9]+)(s|m)$/.exec(text);
  return Number(number) * (unit === 'm' ? 60_000 : 1_000);
}

function only(what, given, known) {
  const odd = Object.keys(given).filter((name) => !known.includes(name));
  if (odd.length) {
    end(BAD_CONFIG, `${what} that the stand-in does not know: ${odd.join(', ')}`);
  }
}

/** How many iterations a ramping arrival rate has started after so many milliseconds. */
function due(scenario, elapsedMs) {
  let [from, count, left] = [scenario.startRate, 0, elapsedMs];
  for (const stage of scenario.stages) {
    const length = milliseconds(stage.duration);
    const part = Math.min(left, length);
    const to = length ? from + ((stage.target - from) * part) / length : stage.target;
    count += ((from + to) / 2) * (part / 1_000);
    left -= part;
    from = stage.target;
  }
  return Math.floor(count);
}

async function arrivals(scenario, vus, iterate) {
  const length = scenario.stages.reduce((sum, stage) => sum + milliseconds(stage.duration), 0);
  const start = performance.now();
  const running = [];
  for (let started = 0, elapsed = 0; elapsed < length; ) {
    elapsed = Math.min(performance.now() - start, length);
    for (const goal = due(scenario, elapsed); started < goal; started += 1) {
      const idle = vus.find((vu) => !vu.busy);
      if (idle) {
        running.push(iterate(idle, started));
      } else {
        samples.push({ metric: 'dropped_iterations', type: 'counter', value: 1, tags: {} });
      }
    }
    await sleep(TICK_MS);
  }
  await Promise.all(running);
}

async function shared(scenario, vus, iterate) {
  let next = 0;
  const work = async (vu) => {
    while (next < scenario.iterations) {
      await iterate(vu, next++);
    }
  };
  await Promise.all(vus.map(work));
}

const EXECUTORS = {
  'shared-iterations': { run: shared, vus: (one) => one.vus, options: ['vus', 'iterations', 'maxDuration'] },
  'ramping-arrival-rate': {
    run: arrivals,
    vus: (one) => one.maxVUs,
    options: ['startRate', 'timeUnit', 'stages', 'preAllocatedVUs', 'maxVUs'],
  },
};

function end(code, text) {
  if (text) {
    process.stderr.write(`${text}\n`);
  }
  process.exit(code);
}

async function checked(vu, ...what) {
  const outcome = await vu.call(...what);
  return outcome.error ? end(SCRIPT_EXCEPTION, outcome.error) : outcome.value;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { env: { type: 'string', short: 'e', multiple: true, default: [] }, 'no-usage-report': { type: 'boolean' } },
  });
  const env = Object.fromEntries(values.env.map((pair) => pair.split(/=(.*)/s, 2)));
  const open = (number) => new Vu(resolve(positionals[1]), env, number);
  const first = open(0);
  const loaded = await first.options;
  if (loaded.error) {
    end(SCRIPT_EXCEPTION, loaded.error);
  }
  const { scenarios, thresholds, ...rest } = loaded.value;
  only('options', rest, []);
  const data = await checked(first, 'setup');
  for (const { executor, ...scenario } of Object.values(scenarios)) {
    only('executors', { [executor]: true }, Object.keys(EXECUTORS));
    only('scenario options', scenario, EXECUTORS[executor].options);
    const vus = Array.from({ length: EXECUTORS[executor].vus(scenario) }, (_, index) => open(index + 1));
    await Promise.all(vus.map((vu) => vu.options));
    await EXECUTORS[executor].run(scenario, vus, async (vu, iteration) => {
      const outcome = await vu.call('default', data, iteration);
      samples.push({ metric: 'iterations', type: 'counter', value: 1, tags: {} });
      if (outcome.error) {
        process.stderr.write(`${outcome.error}\n`);
      }
    });
  }
  await checked(first, 'teardown', data);
  const { lines, failed, unknown } = verdict(thresholds, samples, loaded.metrics);
  process.stdout.write(`${lines.join('\n')}\n`);
  end(unknown ? BAD_CONFIG : failed ? THRESHOLDS_FAILED : 0, unknown);
}

await main();
