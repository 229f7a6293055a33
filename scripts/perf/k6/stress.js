// How much does it bear? k6 run scripts/perf/k6/stress.js -e HOST_PORT=localhost:8080 -e NUM_OF_AREAS=40
// More by -e: RATE (reservations a second), DURATION (s), VUS (buyers at once, at most), ROWS, COLS, P95_MS (POST to decision).
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { createEvent, reserve, seatMap, serverUrl, wholeNumber } from './sale.js';

const SEATS_MAX = 4;
// One in so many buyers picks a seat.
const PICKS_ONE_IN = 4;
// Maps are read from a state that follows the decisions.
const SETTLE_S = 1;

const url = serverUrl();
const areas = wholeNumber('NUM_OF_AREAS', 40, 1000);
const rate = wholeNumber('RATE', 200, 100000);
const duration = wholeNumber('DURATION', 60, 86400);
const vus = wholeNumber('VUS', 200, 100000);
const rows = wholeNumber('ROWS', 20, 1000);
const cols = wholeNumber('COLS', 20, 1000);
const p95 = wholeNumber('P95_MS', 1000, 60000);

const sold = new Counter('reservations_sold');
const refused = new Counter('reservations_refused');
// Seats of replies that say RESERVED, and in the end the free seats of the maps: together never more than an area has.
const accounted = new Counter('seats_accounted');
const decision = new Trend('decision_duration', true);

const thresholds = {
  http_req_failed: ['rate<0.01'],
  checks: ['rate==1'],
  decision_duration: [`p(95)<${p95}`],
  dropped_iterations: ['count==0'],
  reservations_sold: ['count>0'],
};
for (let area = 0; area < areas; area += 1) {
  thresholds[`seats_accounted{area:${area}}`] = [`count<=${rows * cols}`, 'count>0'];
}

const ramp = Math.ceil(duration / 3);

export const options = {
  scenarios: {
    stress: {
      executor: 'ramping-arrival-rate',
      startRate: Math.ceil(rate / 10),
      timeUnit: '1s',
      stages: [
        { target: rate, duration: `${ramp}s` },
        { target: rate, duration: `${duration - ramp}s` },
      ],
      preAllocatedVUs: vus,
      maxVUs: vus,
    },
  },
  thresholds,
};

/** Creates the event and returns its name. */
export function setup() {
  return createEvent(url, 'stress', areas, rows, cols);
}

/** One buyer. */
export default function (event) {
  const order = drawOrder();
  const start = Date.now();
  const reservation = reserve(url, event, order);
  if (reservation === null) {
    return;
  }
  decision.add(Date.now() - start);
  if (reservation.state === 'RESERVED') {
    sold.add(1);
    accounted.add(reservation.seats.length, { area: order.areaId });
  } else {
    refused.add(1);
  }
}

/** Adds the free seats of each area to those that were sold. */
export function teardown(event) {
  sleep(SETTLE_S);
  for (let number = 0; number < areas; number += 1) {
    const map = seatMap(url, event, String(number));
    if (check(map, { 'the area has a map': (one) => one !== null })) {
      accounted.add(map.availableSeats, { area: String(number) });
    }
  }
}

function drawOrder() {
  const areaId = String(below(areas));
  if (below(PICKS_ONE_IN) === 0) {
    return { areaId, type: 'SELF_PICK', numOfSeats: 1, seats: [{ row: below(rows), col: below(cols) }] };
  }
  return { areaId, type: 'RANDOM', numOfSeats: 1 + below(Math.min(SEATS_MAX, cols)) };
}

function below(limit) {
  return Math.floor(Math.random() * limit);
}
