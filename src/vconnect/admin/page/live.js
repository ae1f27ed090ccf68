// The API, the stream, and what is known of the host. Views read `store` and listen.

import { SLOTS, button, changed, every, known, problemBox, put } from "./dom.js";

const BASE = new URL("api/", import.meta.url);
const RETRY = [1, 2, 4, 8, 15];
const SILENCE = 20; // metrics come each second: a stream that says nothing for so long is dead
const HIDDEN = 60; // browsers give one site six connections: a hidden tab lets go of its own

export const store = {
	host: null, role: null, boot: null, at: null, loopLag: null, hostSeen: 0,
	plugins: [], chains: [], happenings: [], history: new Map(), loaded: false,
	link: "connecting", // connecting, live, lost, ended (no session), asleep (hidden tab)
	retryAt: null, problem: null,
	worker: null, // another worker of the application; null is the one that served this page
};

const seconds = () => Date.now() / 1000;
export const enc = encodeURIComponent;
export const find = (name) => store.plugins.find((p) => p.name === name);

/** Out of order without anybody's wish: what the headline and the title count. */
export const inTrouble = (p) => !p.serving && !["stopped", "installed", "starting"].includes(p.shape);

/** Why nothing can be changed now, or "". */
export function mayOrder() {
	if (store.role !== "operate") return "Your role is view: it changes nothing.";
	return store.link === "live" ? "" : "The connection is lost: nothing can be changed now.";
}

const listeners = {};
export const on = (kind, act) => (listeners[kind] ??= []).push(act);
const tell = (kind, data) => listeners[kind]?.forEach((act) => act(data));

function setLink(link) {
	store.link = link;
	tell("link");
}

// Requests

const address = (path) => new URL((store.worker ? `hosts/${enc(store.worker)}/` : "") + path, BASE);

async function request(url, { method = "GET", body, headers, timeout = 20 } = {}) {
	const change = method === "GET" ? {} : { headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body ?? {}) };
	let response;
	let answer;
	try {
		response = await fetch(url, { method, ...change, signal: AbortSignal.timeout(timeout * 1000) });
		answer = await response.text();
	} catch (error) {
		const late = error.name === "TimeoutError" && `The host did not answer within ${timeout} s.`;
		throw { status: 0, errors: [], title: "No answer", detail: late || "The host does not answer." };
	}
	try {
		answer = answer && JSON.parse(answer);
	} catch {
		answer = {};
	}
	if (response.ok) return answer;
	throw { errors: [], ...answer, status: response.status, detail: answer.detail || answer.error?.message || `This host answers ${response.status}.` };
}

export async function api(path, options) {
	try {
		return await request(address(path), options);
	} catch (problem) {
		if (problem.status === 401) endSession();
		throw problem;
	}
}

/** An answer, drawn at its place; or the problem, with a way out. */
export const into = (place, path, draw, options, failed) => api(path, options).then((answer) => {
	put(place, draw(answer));
	changed(place);
}, (problem) => {
	put(place, problemBox(problem, button("Try again", () => into(place, path, draw, options, failed))));
	failed?.(problem);
});

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
	Object.assign(store, { worker, plugins: [], chains: [], happenings: [] });
	store.history.clear();
	connect();
}

export const whileShown = (seconds, act) => every(seconds, () => document.visibilityState === "visible" && store.link === "live" && act());

// What the page knows

function takePlugins(plugins) {
	// The rate of the last second comes with the metrics only.
	for (const p of plugins) p.now_per_s ??= find(p.name)?.now_per_s;
	Object.assign(store, { plugins, loaded: true });
	tell("plugins");
}

function takePlugin(summary) {
	const before = find(summary.name);
	const again = before?.state === summary.state;
	if (before && !again) tell("changed", summary);
	takePlugins(before ? store.plugins.map((p) => (p === before ? { ...p, ...summary } : p)) : [...store.plugins, summary]);
	if (!again) refreshSoon(); // the order of the rows is the host's
}

function takeMetrics(data) {
	store.at = data.at;
	store.loopLag = data.loop_lag_p99_s ?? store.loopLag;
	store.chains = data.chains ?? store.chains;
	data.names.forEach((name, i) => {
		const p = find(name);
		if (!p) return;
		const get = (key) => data[key]?.[i] ?? null;
		Object.assign(p, { now_per_s: get("events_per_s"), in_flight: get("in_flight"), cpu_percent: get("cpu_percent"), rss_bytes: get("rss_bytes") });
		p.latency = known(get("p99_s")) ? { p50_s: get("p50_s"), p99_s: get("p99_s"), count: get("count") ?? 0 } : null;
		if (known(get("queue"))) p.queue = { ...p.queue, events: get("queue") };
		const kept = store.history.get(name) ?? { events: [], cpu: [] };
		store.history.set(name, { events: [...kept.events, p.now_per_s].slice(-SLOTS), cpu: [...kept.cpu, p.cpu_percent].slice(-SLOTS) });
	});
	tell("metrics");
}

function takePassed({ items }) {
	// The next refresh tells the minute's exact count; until then, what came is added.
	for (const { plugin, effect, count } of items) {
		const passed = find(plugin)?.passed_over;
		if (passed) passed[effect] = (passed[effect] ?? 0) + count;
	}
	tell("passed", items);
}

// What does not come is no news: the stream notices a lost host, and says so.
const quietly = (promise, act) => promise.then(act, () => {});

export function refresh() {
	quietly(api("plugins"), (answer) => takePlugins(answer.plugins));
}

let refreshing = 0;
function refreshSoon() {
	clearTimeout(refreshing);
	refreshing = setTimeout(refresh, 300);
}

// The stream

let source = null;
let wanted = {};
let tries = 0;
let heard = 0;
let retrying = 0;
let rewatching = 0;
let sleeping = 0;

function streamAddress() {
	const { logs, level, trace, event, slow_ms: slow } = wanted;
	const topics = ["plugins", "metrics", "passed", "host", logs && `logs:${logs}`, trace && "trace"];
	const query = { topics: topics.filter(Boolean).join(","), level, event, slow_ms: slow };
	const url = address("stream");
	url.search = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
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
	hello({ boot, role }) {
		if (store.boot && store.boot !== boot) tell("reborn");
		Object.assign(store, { boot, role: role ?? store.role });
	},
	snapshot({ host, plugins, chains }) {
		Object.assign(store, { host, role: host.role ?? store.role, loopLag: host.loop_lag?.p99_s ?? null, chains: chains ?? [], at: seconds(), hostSeen: seconds(), problem: null });
		setLink("live");
		takePlugins(plugins);
		tell("snapshot");
		quietly(api("happenings"), ({ items }) => {
			store.happenings = items.sort((a, b) => b.time - a.time).slice(0, 200);
			tell("happenings");
		});
	},
	plugin: takePlugin,
	gone: ({ name }) => takePlugins(store.plugins.filter((p) => p.name !== name)),
	metrics: takeMetrics,
	passed: takePassed,
	happening(item) {
		store.happenings = [item, ...store.happenings].slice(0, 200);
		tell("happening", item);
	},
	host(data) {
		store.host = { ...store.host, ...data };
		store.hostSeen = seconds();
	},
	log: (data) => tell("log", data),
	trace: (data) => tell("trace", data),
	audit: (data) => tell("audit", data),
	dropped: (data) => tell("dropped", data),
	again: () => open(), // mounted in another application, a stream ends now and then
};

function open() {
	source?.close();
	const mine = new EventSource(streamAddress());
	const began = seconds();
	source = mine;
	heard = began;
	for (const [kind, take] of Object.entries(HANDLERS)) {
		mine.addEventListener(kind, (event) => {
			if (source !== mine) return;
			heard = seconds();
			if (heard - began > 5) tries = 0;
			take(JSON.parse(event.data));
		});
	}
	mine.onerror = () => source === mine && fail();
}

function hangUp() {
	source?.close();
	source = null;
	clearTimeout(retrying);
	store.retryAt = null;
}

/** An EventSource tells no status: a request learns why, and we keep our own time for retries. */
async function fail() {
	hangUp();
	const delay = RETRY[Math.min(tries, RETRY.length - 1)] * (0.8 + Math.random() * 0.4);
	tries += 1;
	store.retryAt = seconds() + delay;
	retrying = setTimeout(connect, delay * 1000);
	if (store.loaded) setLink("lost");
	try {
		store.role = (await request(address("host"), { timeout: 5 })).role;
		store.problem = null;
	} catch (problem) {
		if (problem.status === 401) return endSession();
		store.problem = problem;
	}
	if (!["live", "ended", "asleep"].includes(store.link)) setLink("lost");
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

function onVisibility() {
	clearTimeout(sleeping);
	if (document.visibilityState === "visible") return ["asleep", "lost"].includes(store.link) && tryNow();
	sleeping = setTimeout(() => {
		if (store.link === "ended") return;
		hangUp();
		setLink("asleep");
	}, HIDDEN * 1000);
}

export function begin() {
	document.addEventListener("visibilitychange", onVisibility);
	setInterval(() => source && seconds() - heard > SILENCE && fail(), 5000);
	whileShown(10, refresh);
}
