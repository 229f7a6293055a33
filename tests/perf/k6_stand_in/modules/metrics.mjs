import { parentPort } from 'node:worker_threads';

/** The script's own metrics: name to type. */
export const declared = {};

export function emit(metric, type, value, tags = {}) {
  parentPort.postMessage({ sample: { metric, type, value, tags } });
}

class Metric {
  constructor(name, type) {
    [this.name, this.type] = [name, type];
    declared[name] = type;
  }

  add(value, tags) {
    emit(this.name, this.type, value, tags);
  }
}

export class Counter extends Metric {
  constructor(name) {
    super(name, 'counter');
  }
}

export class Trend extends Metric {
  constructor(name) {
    super(name, 'trend');
  }
}
