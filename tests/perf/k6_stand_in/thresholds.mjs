// Thresholds over samples, in k6's language as far as our scripts speak it.
const BUILT_IN = { checks: 'rate', http_req_failed: 'rate', http_req_duration: 'trend', iterations: 'counter', dropped_iterations: 'counter' };
const SELECTOR = /^([a-z_]+)(?:\{([a-z]+):([^}]*)\})?$/;
const EXPRESSION = /^(count|rate|p\((?<percent>[0-9.]+)\))(<=|>=|==|<|>)([0-9.]+)$/;
const OF_TYPE = { counter: ['count'], rate: ['rate'], trend: ['p'] };
const COMPARE = {
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
  '>': (left, right) => left > right,
  '>=': (left, right) => left >= right,
  '==': (left, right) => left === right,
};

function figure(type, values, percent) {
  const sum = values.reduce((total, value) => total + value, 0);
  if (type === 'counter') {
    return sum;
  }
  if (type === 'rate') {
    return sum / values.length;
  }
  const ordered = values.toSorted((left, right) => left - right);
  return ordered[Math.ceil((ordered.length * percent) / 100) - 1];
}

/** A line for each threshold, whether one failed, and what is wrong with them. */
export function verdict(thresholds, samples, declared) {
  const lines = [];
  let failed = false;
  for (const [selector, expressions] of Object.entries(thresholds)) {
    const [, metric, tag, tagged] = SELECTOR.exec(selector) ?? [];
    const type = BUILT_IN[metric] ?? declared[metric];
    const values = samples.filter((one) => one.metric === metric && (!tag || one.tags[tag] === tagged)).map((one) => one.value);
    for (const expression of expressions) {
      const parts = EXPRESSION.exec(expression);
      if (!type || !parts || !OF_TYPE[type].some((method) => parts[1].startsWith(method))) {
        return { lines, failed: true, unknown: `no threshold of a metric: ${selector}: ${expression}` };
      }
      // As in k6, a metric without samples breaks no threshold, but for a counter, which is 0 then.
      const value = values.length || type === 'counter' ? figure(type, values, Number(parts.groups.percent)) : undefined;
      const kept = value === undefined || COMPARE[parts[3]](value, Number(parts[4]));
      failed ||= !kept;
      lines.push(`${kept ? '✓' : '✗'} ${selector} ${expression}: ${value}`);
    }
  }
  return { lines, failed };
}
