// What smoke.js and stress.js have in common: the options, and a buyer who talks to the ticket role.
import http from 'k6/http';
import { check, sleep } from 'k6';

const HOST_PORT = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
// How long a buyer goes on asking, and how long they wait where the server names no time.
const PATIENCE_S = 60;
const PAUSE_S = 0.1;
// 503 to a long poll means: not decided yet. That is an answer, not a failure.
const ANSWERED_OR_UNDECIDED = http.expectedStatuses(200, 503);

/** The server's URL, from -e HOST_PORT=host:port. */
export function serverUrl() {
  const value = __ENV.HOST_PORT || '';
  const parts = HOST_PORT.exec(value);
  if (!parts || Number(parts[2]) < 1 || Number(parts[2]) > 65535) {
    throw new Error(`HOST_PORT is "${value}", and must be host:port: -e HOST_PORT=localhost:8080`);
  }
  return `http://${value}`;
}

/** A whole number from -e NAME=…, from 1 to max. */
export function wholeNumber(name, fallback, max) {
  const value = __ENV[name] === undefined ? String(fallback) : __ENV[name];
  if (!/^[1-9][0-9]{0,8}$/.test(value) || Number(value) > max) {
    throw new Error(`${name} is "${value}", and must be a whole number from 1 to ${max}: -e ${name}=${fallback}`);
  }
  return Number(value);
}

/** Creates an event of equal areas "0", "1", … under a new name, and returns the name. Throws where that can't be done. */
export function createEvent(url, prefix, areas, rows, cols) {
  const name = `${prefix}-${Date.now()}-${Math.floor(Math.random() * 1e9)}`;
  const body = { eventName: name, artist: 'k6', areas: [] };
  for (let number = 0; number < areas; number += 1) {
    body.areas.push({ areaId: String(number), price: 100, rowCount: rows, colCount: cols });
  }
  const reply = http.post(`${url}/v1/event`, JSON.stringify(body), params('POST /v1/event'));
  if (reply.status !== 200) {
    throw new Error(`${url} does not create an event: HTTP ${reply.status} ${reply.error || reply.body}`);
  }
  check(reply.json(), {
    'the event comes back as it was sent': (event) => event.eventName === name && event.areas.length === areas,
  });
  console.log(`event ${name}: ${areas} areas of ${rows} x ${cols} seats`);
  return name;
}

/** Asks for seats of an area and waits for the decision: the reservation, or null if none came in time. */
export function reserve(url, event, order) {
  const body = JSON.stringify({ userId: 'k6', eventId: event, seats: [], ...order });
  const path = `${url}/v1/event/${event}/reservation`;
  const until = Date.now() + PATIENCE_S * 1000;
  const accepted = ask(() => http.post(path, body, params('POST /v1/event/{event}/reservation')), until);
  if (!check(accepted, { 'the answer to POST is a reservation id': (reply) => reply.status === 200 && UUID.test(reply.body) })) {
    return null;
  }
  const id = accepted.body;
  const decided = ask(() => http.get(`${url}/v1/reservation/${id}`, params('GET /v1/reservation/{id}', ANSWERED_OR_UNDECIDED)), until);
  if (!check(decided, { 'the reservation is decided': (reply) => reply.status === 200 })) {
    return null;
  }
  const reservation = decided.json();
  check(reservation, {
    'it is the reservation that was asked for': (one) =>
      one.reservationId === id && one.eventId === event && one.areaId === order.areaId && one.type === order.type && one.numOfSeats === order.numOfSeats,
    'it has the seats that were asked for, or a reason why not': (one) =>
      one.state === 'RESERVED' ? rightSeats(one.seats, order) : one.state === 'FAILED' && one.failedReason !== '',
  });
  return reservation;
}

/** The seat map of an area, null if it does not agree with itself: {availableSeats, rows: ["..##", …]}. */
export function seatMap(url, event, area) {
  const reply = http.get(`${url}/v1/event/${event}/area/${area}`, params('GET /v1/event/{event}/area/{area}'));
  const right = check(reply, {
    'the map shows as many free seats as it says': (one) => {
      const map = one.status === 200 ? one.json() : null;
      return map !== null && map.rows.join('').split('.').length - 1 === map.availableSeats;
    },
  });
  return right ? reply.json() : null;
}

/** Requests count under their route, not under each id's own URL. */
function params(route, responseCallback) {
  const given = { headers: { 'Content-Type': 'application/json' }, tags: { name: route }, timeout: `${PATIENCE_S}s` };
  return responseCallback ? { ...given, responseCallback } : given;
}

/** Repeats a request that is answered 429 or 503, when the answer says so, until the time (ms) is over. */
function ask(send, until) {
  for (;;) {
    const reply = send();
    const pause = Number(reply.headers['Retry-After']) || PAUSE_S;
    if ((reply.status !== 429 && reply.status !== 503) || Date.now() + pause * 1000 > until) {
      return reply;
    }
    sleep(pause);
  }
}

/** SELF_PICK gets the very seats; RANDOM as many as it asked for, side by side. */
function rightSeats(seats, order) {
  if (order.type === 'SELF_PICK') {
    return JSON.stringify(seats) === JSON.stringify(order.seats);
  }
  return seats.length === order.numOfSeats && seats.every((seat, index) => seat.row === seats[0].row && seat.col === seats[0].col + index);
}
