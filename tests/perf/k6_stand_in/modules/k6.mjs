import { emit } from './metrics.mjs';

const cell = new Int32Array(new SharedArrayBuffer(4));

export function check(value, predicates) {
  let all = true;
  for (const [name, predicate] of Object.entries(predicates)) {
    const passed = Boolean(predicate(value));
    emit('checks', 'rate', Number(passed), { check: name });
    all &&= passed;
  }
  return all;
}

export function sleep(seconds) {
  Atomics.wait(cell, 0, 0, seconds * 1_000);
}
