// The API, the stream, and what is known of the host. Views read `store` and listen.

import { SLOTS, known } from "./dom.js";

const BASE = new URL("api/", import.meta.url);
const RETRY = [1, 2, 4, 8, 15];
const SILENCE = 20; // metrics come each second: a stream that says nothing for so long is dead
const HIDDEN = 60; // browsers give one site six connections: a hidden tab lets go of its own
const HAPPENINGS = 200;

export const store = {
  host: null, role: null, version: null, boot: null, at: null, loopLag: null,
  plugins: [], chains: [], happenings: [], history: new Map(),
  loaded: false,
  link: "connecting", // connecting, live, lost, ended (no session), asleep (hidden tab)
  hostSeen: 0, retryAt: null, problem: null,
  worker: null, // another worker of the same application; null is the one that served this page
};

// --- Listening -----------------------------------------------------------------------------

const listeners = new Map();

export function on(kind, act) {
  const acts = listeners.get(kind) ?? new Set();
  listeners.set(kind, acts.add(act));
  return () => acts.delete(act);
}

function tell(kind, data) {
  for (const act of [...(listeners.get(kind) ?? [])]) act(data);
}

function setLink(link) {
  store.link = link;
  tell("link", link);
}

// --- Requests ------------------------------------------------------------------------------

export class Problem extends Error {
  constructor(status, body, fallback) {
    super(body.detail || body.error?.message || body.title || fallback);
    this.status = status;
    this.code = body.code ?? body.error?.code ?? "";
    this.title = body.title ?? "";
    this.detail = this.message;
    this.next = body.next ?? "";
    this.errors = body.errors ?? [];
    this.meant = body.did_you_mean ?? null;
  }
}

const address = (path) =>
  new URL((store.worker ? `hosts/${encodeURIComponent(store.worker)}/` : "") + path, BASE);

async function request(url, { method = "GET", body, headers = {}, timeout = 20 } = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers }, signal: AbortSignal.timeout(timeout * 1000) };
  if (method !== "GET") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body ?? {});
  }
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    const slow = error.name === "TimeoutError";
    throw new Problem(0, {
      title: "No answer",
      code: slow ? "deadline" : "no_answer",
      detail: slow ? `The host did not answer within ${timeout} s.` : "The host does not answer.",
    });
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = { detail: text.slice(0, 300) };
  }
  if (!response.ok) throw new Problem(response.status, answer ?? {}, `This host answers ${response.status}.`);
  return answer;
}

export async function api(path, options) {
  try {
    return await request(address(path), options);
  } catch (problem) {
    if (problem.status === 401) endSession();
    throw problem;
  }
}

export const enc = encodeURIComponent;
export const order = (path, body, timeout = 150) => api(path, { method: "POST", body, timeout });

/** Workers are asked by the host that served this page, whichever one the page shows. */
export const workers = () => request(new URL("hosts", BASE));

export async function logIn(secret) {
  await request(new URL("session", BASE), { method: "POST", body: secret });
  connect();
}

function endSession() {
  if (store.link === "ended") return;
  hangUp();
  setLink("ended");
}

export function look(worker) {
  store.worker = worker;
  Object.assign(store, { host: null, plugins: [], chains: [], happenings: [], loaded: false });
  store.history.clear();
  tell("plugins");
  connect();
}

// --- What the page knows -------------------------------------------------------------------

export const plugin = (name) => store.plugins.find((p) => p.name === name);

/** Out of order without anybody's wish: what the headline and the title count. */
export const inTrouble = (p) => !p.serving && !["stopped", "installed", "starting"].includes(p.shape);

export function mayOrder() {
  if (store.role !== "operate") return "Your role is view: it cannot change anything.";
  if (store.link !== "live") return "The connection is lost: nothing can be changed now.";
  return "";
}

function takePlugins(summaries) {
  store.plugins = summaries;
  store.loaded = true;
  tell("plugins");
}

function takePlugin(summary) {
  const at = store.plugins.findIndex((p) => p.name === summary.name);
  const before = store.plugins[at];
  if (at < 0) store.plugins.push(summary);
  else store.plugins[at] = { ...before, ...summary };
  if (before && before.state !== summary.state) tell("changed", summary);
  tell("plugins");
  if (!before || before.state !== summary.state) refreshSoon(); // the order of rows is the host's
}

function column(data, key, i) {
  const list = data[key];
  return list ? list[i] ?? null : undefined;
}

function takeMetrics(data) {
  store.at = data.at;
  if ("loop_lag_p99_s" in data) store.loopLag = data.loop_lag_p99_s;
  if (data.chains) store.chains = data.chains;
  data.names.forEach((name, i) => {
    const p = plugin(name);
    if (!p) return;
    const get = (key) => column(data, key, i);
    p.now_per_s = get("events_per_s");
    p.latency = known(get("p99_s")) ? { p50_s: get("p50_s"), p99_s: get("p99_s"), count: get("count") ?? 0 } : null;
    if (known(get("queue"))) p.queue = { ...p.queue, events: get("queue") };
    p.in_flight = get("in_flight");
    p.cpu_percent = get("cpu_percent");
    p.rss_bytes = get("rss_bytes");
    keep(name, "events", p.now_per_s);
    keep(name, "cpu", p.cpu_percent);
  });
  tell("metrics");
}

function keep(name, what, value) {
  const kept = store.history.get(name) ?? { events: [], cpu: [] };
  store.history.set(name, kept);
  kept[what].push(value ?? null);
  if (kept[what].length > SLOTS) kept[what].shift();
}

function takePassed(items) {
  // The next refresh tells the minute's exact count; until then, what came is added.
  for (const item of items) {
    const p = plugin(item.plugin);
    if (p?.passed_over) p.passed_over[item.effect] = (p.passed_over[item.effect] ?? 0) + item.count;
  }
  tell("passed", items);
}

function takeHappening(item) {
  store.happenings.unshift(item);
  store.happenings.length = Math.min(store.happenings.length, HAPPENINGS);
  tell("happening", item);
}

export async function refresh() {
  if (store.link !== "live") return;
  try {
    takePlugins((await api("plugins")).plugins);
  } catch {
    // The stream notices a lost host, and says so.
  }
}

let refreshing = 0;
function refreshSoon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(refresh, 300);
}

async function loadHappenings() {
  try {
    store.happenings = (await api("happenings")).items.sort((a, b) => b.time - a.time).slice(0, HAPPENINGS);
    tell("happenings");
  } catch {
    // The feed fills by what comes.
  }
}

// --- The stream ----------------------------------------------------------------------------

let source = null;
let wanted = {};
let tries = 0;
let retrying = 0;
let heard = 0;
let rewatching = 0;

function streamAddress() {
  const topics = ["plugins", "metrics", "passed", "host"];
  const query = new URLSearchParams();
  if (wanted.logs) topics.push(`logs:${wanted.logs}`);
  if (wanted.logs && wanted.level) query.set("level", wanted.level);
  if (wanted.trace) topics.push("trace");
  if (wanted.trace && wanted.event && wanted.event !== "*") query.set("event", wanted.event);
  if (wanted.trace && wanted.slow_ms) query.set("slow_ms", wanted.slow_ms);
  query.set("topics", topics.join(","));
  const url = address("stream");
  url.search = query;
  return url;
}

/** What the view needs beside the common topics. The stream opens anew only if that changes. */
export function watch(next) {
  if (JSON.stringify(next) === JSON.stringify(wanted)) return;
  wanted = next;
  clearTimeout(rewatching);
  rewatching = setTimeout(() => source && open(), 60);
}

const HANDLERS = {
  hello(data) {
    const anew = store.boot !== null && store.boot !== data.boot;
    Object.assign(store, { boot: data.boot, version: data.version, role: data.role ?? store.role });
    if (anew) tell("reborn");
  },
  snapshot(data) {
    store.host = data.host;
    store.role = store.role ?? data.host.role;
    store.loopLag = data.host.loop_lag?.p99_s ?? store.loopLag;
    store.chains = data.chains ?? [];
    store.at = Date.now() / 1000;
    store.problem = null;
    store.hostSeen = Date.now() / 1000;
    setLink("live");
    takePlugins(data.plugins);
    tell("snapshot");
    loadHappenings();
  },
  plugin: takePlugin,
  gone(data) {
    takePlugins(store.plugins.filter((p) => p.name !== data.name));
  },
  metrics: takeMetrics,
  passed: (data) => takePassed(data.items),
  log: (data) => tell("log", data),
  trace: (data) => tell("trace", data),
  happening: takeHappening,
  audit: (data) => tell("audit", data),
  dropped: (data) => tell("dropped", data),
  host(data) {
    store.host = { ...store.host, ...data };
    store.hostSeen = Date.now() / 1000;
    tell("metrics");
  },
};

function open() {
  source?.close();
  const mine = new EventSource(streamAddress());
  source = mine;
  heard = Date.now();
  const began = Date.now();
  for (const [kind, take] of Object.entries(HANDLERS)) {
    mine.addEventListener(kind, (event) => {
      heard = Date.now();
      if (heard - began > 5000) tries = 0;
      if (source === mine) take(JSON.parse(event.data));
    });
  }
  // An EventSource tells no status: a request learns why, and we keep our own time for retries.
  mine.onerror = () => source === mine && fail();
}

function hangUp() {
  source?.close();
  source = null;
  clearTimeout(retrying);
  store.retryAt = null;
}

async function fail() {
  hangUp();
  const base = RETRY[Math.min(tries, RETRY.length - 1)];
  tries += 1;
  const delay = base * (0.8 + Math.random() * 0.4);
  store.retryAt = Date.now() / 1000 + delay;
  retrying = setTimeout(connect, delay * 1000);
  if (store.loaded) setLink("lost");
  try {
    store.role = (await request(address("host"), { timeout: 5 })).role;
    store.problem = null;
  } catch (problem) {
    if (problem.status === 401) return endSession();
    store.problem = problem;
  }
  if (!["live", "ended"].includes(store.link)) setLink("lost");
}

export function connect() {
  hangUp();
  setLink(["live", "lost"].includes(store.link) ? store.link : "connecting");
  open();
}

export function tryNow() {
  tries = 0;
  connect();
}

let sleeping = 0;
function onVisibility() {
  clearTimeout(sleeping);
  if (document.visibilityState === "hidden") {
    sleeping = setTimeout(() => {
      if (source === null) return;
      hangUp();
      setLink("asleep");
    }, HIDDEN * 1000);
  } else if (store.link === "asleep" || store.link === "lost") {
    tryNow();
  }
}

export function begin({ later = false } = {}) {
  document.addEventListener("visibilitychange", onVisibility);
  setInterval(() => source && Date.now() - heard > SILENCE * 1000 && fail(), 5000);
  setInterval(() => document.visibilityState === "visible" && refresh(), 10000);
  if (!later) connect();
}
