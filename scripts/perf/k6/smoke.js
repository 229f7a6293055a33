// Does it sell at all? k6 run scripts/perf/k6/smoke.js -e HOST_PORT=localhost:8080 [-e NUM_OF_AREAS=2]
import http from 'k6/http';
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { createEvent, reserve, seatMap, serverUrl, wholeNumber } from './sale.js';

const ROWS = 10;
const COLS = 10;
// Each picks its own seat of the last row.
const ITERATIONS = COLS;
const SEATS_PER_ITERATION = 3;
// Maps are read from a state that follows the decisions.
const SETTLE_S = 0.5;

const url = serverUrl();
const areas = wholeNumber('NUM_OF_AREAS', 2, 1000);

export const options = {
  scenarios: {
    smoke: { executor: 'shared-iterations', vus: 2, iterations: ITERATIONS, maxDuration: '2m' },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    http_req_duration: ['p(95)<2000'],
    iterations: [`count==${ITERATIONS}`],
  },
};

/** Creates the event and returns its name. */
export function setup() {
  check(http.get(`${url}/v1/health_check`), { 'the server is ready': (reply) => reply.status === 200 });
  return createEvent(url, 'smoke', areas, ROWS, COLS);
}

/** Two seats side by side, one that is picked, the same one again, and what the map says then. */
export default function (event) {
  const number = exec.scenario.iterationInTest;
  const areaId = String(number % areas);
  const picked = { areaId, type: 'SELF_PICK', numOfSeats: 1, seats: [{ row: ROWS - 1, col: number }] };

  const adjacent = reserve(url, event, { areaId, type: 'RANDOM', numOfSeats: 2 });
  check(adjacent, { 'two seats of a free area are sold': (one) => one !== null && one.state === 'RESERVED' });
  check(reserve(url, event, picked), { 'a free seat is sold to who picks it': (one) => one !== null && one.state === 'RESERVED' });
  check(reserve(url, event, picked), { 'a taken seat is refused': (one) => one !== null && one.state === 'FAILED' });

  sleep(SETTLE_S);
  check(seatMap(url, event, areaId), {
    'the map shows the seats as taken': (map) =>
      map !== null && adjacent !== null && [...adjacent.seats, ...picked.seats].every((seat) => map.rows[seat.row][seat.col] === '#'),
  });
}

/** The event lacks exactly the seats that were sold. */
export function teardown(event) {
  const reply = http.get(`${url}/v1/event/${event}`);
  check(reply, {
    'the event lacks the seats that were sold': (one) =>
      one.status === 200 && one.json().availableSeats === areas * ROWS * COLS - ITERATIONS * SEATS_PER_ITERATION,
  });
}
