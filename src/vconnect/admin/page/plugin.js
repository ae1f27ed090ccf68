// Orders to a plugin, each behind a dialog that names its effect; and the view of one plugin.

import {
	NONE, acting, badge, button, bytes, capital, changed, clock, day, dialog, h, joined, known, list, many, none, note, number,
	panel, percent, problemBox, put, quoted, rate, region, say, shape, span, table, time, tone, when,
} from "./dom.js";
import { api, enc, find, into, mayOrder, order, refresh, store, whileShown } from "./live.js";
import { configPanel, latencyPanel, logPanel } from "./panels.js";

// Orders

const flying = (p, words) => (p.in_flight ? ` Its ${many(p.in_flight, "event")} in flight ${words}.` : "");
const missed = (p) => (p.required ? " It is required: messages are refused as long as it does not serve." : "");

// What the dialog says of each; those with `danger` take something away.
const ORDERS = {
	start: { effect: () => "A process starts, and serves as soon as it is ready." },
	stop: { danger: true, effect: (p) => `Its process ends. From then on, events pass it over.${flying(p, "may end first")}${missed(p)}` },
	restart: { effect: (p) => `A new process takes over when it is ready; the old one serves until then.${flying(p, "may end first")} No event is lost.` },
	kill: { danger: true, effect: (p) => `SIGKILL ends its processes at once.${flying(p, "are lost")} Then its restart policy acts. No event is blamed.${missed(p)}` },
	enable: { effect: () => "It may run again, and starts with the host." },
	disable: { danger: true, effect: (p) => `It stops, and stays off when the host starts again.${flying(p, "may end first")}${missed(p)}` },
	release: { effect: (p) => `${many(p.quarantine?.length, "event")} in quarantine may be sent to it again.` },
	"close-circuit": { effect: () => "It is asked again at once, without waiting for a probe. If it fails again, the circuit opens again." },
	upgrade: { path: "upgrade", body: ({ name }) => ({ names: [name] }), effect: () => "The newest version that fits is fetched and verified. The old one serves until the new one is ready." },
	rollback: { body: (p, version) => ({ version }), effect: (p, version) => `Version ${version} takes over when it is ready; ${p.version} serves until then, and is kept.` },
};
const wordOf = (what) => (what === "rollback" ? "Roll back" : capital(what.replace("-", " ")));

let tell = () => {}; // the frame shows the line that stays until it is read
export const onResult = (act) => { tell = act; };

export const startOrStop = (name) => askOrder(name, known(find(name)?.pid) ? "stop" : "start");

/** Asks before it acts. Focus starts on Cancel, and returns to where it was. */
export function askOrder(name, what, version) {
	const p = find(name);
	const no = p ? mayOrder() : `There is no plugin ${name}.`;
	if (no) return tell({ bad: true, title: no });
	const { danger, effect } = ORDERS[what];
	const typed = p.required && ["stop", "disable"].includes(what);
	const field = h("input", { id: "ask-name", autocomplete: "off", spellcheck: "false", input: () => { go.disabled = field.value !== name; } });
	const go = button(wordOf(what), () => {
		close();
		run(p, what, version);
	}, danger ? ".danger" : ".primary");
	go.disabled = typed;
	const cancel = button("Cancel", () => close());
	const command = `vconnect ${what} ${quoted(name)}${version ? ` --to ${quoted(version)}` : ""}`;
	const close = dialog([`${wordOf(what)} ${name}?`, effect(p, version)], h("p.small.muted", "The audit log keeps who did it. Same as: ", h("code", command)),
		typed && h("p.field", h("label", { for: "ask-name" }, "It is required. Type its name to go on:"), field), h("div.acts", cancel, go));
	cancel.focus();
}

async function run(p, what, version) {
	const { path = `plugins/${enc(p.name)}/${what}`, body } = ORDERS[what];
	const title = `${wordOf(what)} ${p.name}`;
	tell({ busy: true, title: `${title}: under way` });
	try {
		const after = await order(path, body?.(p, version));
		const facts = joined(", ", after?.state, known(after?.pid) && `generation ${after.generation}, pid ${after.pid}`);
		tell({ title: `${title}: done at ${clock(Date.now() / 1000)}`, detail: facts && `Now ${facts}.` });
	} catch (problem) {
		tell({ ...problem, bad: true, title: `${title}: ${problem.title || "it did not work"}` });
	}
	refresh();
}

function ordersFor(p) {
	const off = p.state === "disabled";
	const up = known(p.pid) || p.serving || p.shape === "starting";
	return [...(off ? ["enable"] : up ? ["restart", "stop", "kill"] : p.shape === "error" ? ["start", "stop"] : ["start"]),
		...(p.breaker && p.breaker !== "closed" ? ["close-circuit"] : []), ...(p.quarantine?.length ? ["release"] : []), ...(off ? [] : ["disable"])];
}

const orderButton = (name, what, version) => acting(wordOf(what), () => askOrder(name, what, version));

// Head and tiles

function stateLine(p) {
	const running = known(p.pid);
	const facts = joined(" · ", running && `generation ${p.generation} · pid ${p.pid} · up ${span(p.uptime_s)}`, p.language, p.role, known(p.priority) && `priority ${p.priority}`,
		p.dev && "runs from its source", p.external && "started from outside", p.required && "required");
	const wants = p.capabilities?.join(", ");
	return [badge(p.shape, p.state), " ", h("span.muted", `· ${facts}`, wants && [" · ", h("span.mono", wants)])];
}

function whyBox(p) {
	if (p.code === "healthy" && !p.also?.length) return null;
	const kind = p.passed_over?.refused ? "bad" : tone(p.shape) === "ok" ? "warn" : tone(p.shape);
	const part = (word, text, more) => text && h("p", h("b", word), text, more);
	return h(`section.panel.whybox.${kind}`, { label: "Why" }, part("Why: ", p.why, known(p.since) && h("span.small", " Since ", when(p.since), ".")),
		part("Next: ", p.next), (p.also ?? []).map((one) => part("Also: ", one.cause)), h("p.small", h("code", `vconnect why ${quoted(p.name)}`)));
}

const OUTCOMES = [["ok", "ok"], ["late", "late", "bad"], ["error", "errors", "bad"], ["lost", "lost", "bad"],
	["bad_answer", "bad answers", "bad"], ["stopped", "stopped"], ["changed", "changed"], ["cancelled", "cancelled"]];
const EFFECTS = [["refused", "refused", "bad", "the event went no further"],
	["skipped", "skipped", "warn", "the event went on without it"], ["default", "by default", "warn", "the default answer was used"]];

/** 143 ok · 17 late: what is not zero, at most three of them. */
function counts(table, from) {
	const there = table.filter(([key]) => from?.[key]).slice(0, 3);
	return there.map(([key, word, kind = "x"], i) => [i > 0 && h("small", " · "), h(`span.s-${kind}`, number(from[key])), h("small", ` ${word}`)]);
}

function tiles(p) {
	const lat = p.latency;
	const dot = h("small", " · ");
	const answers = counts(OUTCOMES, p.outcomes);
	const passed = counts(EFFECTS, p.passed_over);
	const full = p.queue?.limit && p.queue.events >= p.queue.limit * 0.8;
	const p99 = h(`span.s-${p.outcomes?.late ? "bad" : p.is_slow ? "warn" : "x"}`, time(lat?.p99_s));
	return [
		["Events, last minute", rate(p.events_per_s), known(p.events_per_s) && h("small", ` /s, now ${rate(p.now_per_s)}`)],
		[lat?.count < 100 ? `p50 · p99, of ${number(lat.count)}` : "p50 · p99", lat ? [time(lat.p50_s), dot, p99] : NONE],
		["Answers, last minute", answers.length ? answers : NONE],
		["Passed over", passed.length ? passed : "0"],
		["In flight · queue", known(p.pid) ? [number(p.in_flight),
			h("small", ` of ${number(p.window)} · `), h(`span.s-${full ? "warn" : "x"}`, number(p.queue?.events)), h("small", ` of ${number(p.queue?.limit)}`)] : NONE],
		["CPU · memory", known(p.rss_bytes) ? [percent(p.cpu_percent), h("small", " · "), bytes(p.rss_bytes)] : NONE],
	].map(([key, ...value]) => h("div.panel.tile", h("p.k", key), h("p.v", value)));
}

// Passed over, crashes, versions

function passedRow(item) {
	const [, , kind = "bad", words = item.effect] = EFFECTS.find(([effect]) => effect === item.effect) ?? [];
	return h("tr", h("td.nowrap", when(item.first)), h("td.mono", item.event), h("td.num", h("b", number(item.count))), h("td", item.words || item.reason), h(`td.s-${kind}`, words));
}

function crashItem({ at, reason, ran_for_s: ran, generation, in_flight: flight, last_stderr: words }) {
	const events = flight.join(", ");
	return h("li", h("span.s-bad", shape("error", 12)), h("div.grow",
		h("p", h("b", when(at)), ` ${joined(", ", reason, ran > 0 && `after ${span(ran)}`, known(generation) && `generation ${generation}`)}`),
		h("p.small.muted", events ? `In flight: ${events}` : "No event was in flight."),
		h("details", h("summary", "Show its last words"), region("pre", "Last words", words.join("\n") || "It printed nothing to stderr."))));
}

function versionItem(name, v) {
	const current = v.states.includes("current");
	const words = joined(" · ", v.states.join(", ") || "kept", v.installed_at > 0 && `installed ${day(v.installed_at)}`, v.digest && `${v.digest.slice(0, 15)}…`);
	return h("li", h(`span.s-${current ? "ok" : "idle"}`, shape(current ? "running" : "stopped", 12)), h(current ? "b" : "span", v.version),
		note(words), !current && h("span.right", orderButton(name, "rollback", v.version)));
}

function offer(name, { plugins: [{ state, available, reason } = {}] }) {
	if (state === "outdated") return h("ul.list.first", h("li", shape("installed", 12), h("b", available), note("available"), h("span.right", orderButton(name, "upgrade"))));
	return none(state === "current" ? "It is the newest." : reason || "Nobody knows of a newer one.");
}

// The view

export function pluginView(name, focusLog) {
	const path = (rest) => `plugins/${enc(name)}/${rest}`;
	const version = h("span.version.muted");
	const title = h("h1", { tabindex: -1 }, name, " ", version);
	const about = h("p.muted");
	const [state, acts, why, tileRow, trouble, crashes, versions, offered] = ["stateline", "acts", "x", "tiles", "x", "x", "x", "x"].map((kind) => h(`div.${kind}`));
	const passed = region("div.scroll", "Table of what passed it over");
	const log = logPanel(name, () => {
		self.watch = { logs: name, level: log.level.value };
		changed(node, "rewatch");
	});
	const [latency, config] = [latencyPanel(), configPanel(name)];
	const look = acting("Look for a newer one", () => into(offered, "outdated", (answer) => offer(name, answer), { method: "POST", body: { names: [name] }, timeout: 60 }));
	const content = h("div", why, tileRow, h("div.two",
		h("div.stack", log.node, panel("Passed over", note("last hour · also ", h("code", "vconnect tail --passed-over")), passed), panel("Crashes", null, crashes)),
		h("div.stack", latency.node, config.node, panel("Versions", h("span.right", look), versions, offered))));
	const crumb = h("p.small.crumb", h("a", { href: "#/" }, "Plugins"), h("span.muted", " / ", name));
	const node = h("div", h("div.phead", h("div.grow", crumb, title, about, state), acts), trouble, content);
	let drawn = "";
	let seen = "";

	function drawHead() {
		const p = find(name);
		if (!p) return;
		say(version, p.version ?? "");
		say(about, p.description ?? "");
		put(state, stateLine(p));
		put(why, whyBox(p));
		put(tileRow, tiles(p));
		drawOrders(ordersFor(p));
		const now = [p.restarts, p.generation, p.version].join();
		if (seen && seen !== now) loadRest();
		seen = now;
	}

	function drawOrders(wanted) {
		if (drawn === wanted.join()) return;
		drawn = wanted.join();
		// A dialog gives focus back to its button: a button that stays is not made anew.
		const kept = new Map([...acts.children].map((one) => [one.dataset.what, one]));
		put(acts, wanted.map((what, i) => {
			const one = kept.get(what) ?? orderButton(name, what);
			one.dataset.what = what;
			one.className = i === 0 ? "primary" : ORDERS[what].danger ? "danger" : "";
			return one;
		}), h("p.refused-word.small.muted"));
		changed(node);
	}

	const loadPassed = () => into(passed, path(`passed-over?since=${Math.floor(Date.now() / 1000 - 3600)}`), ({ items }) =>
		(items.length ? table("passed", ["Since", "Event", "#Count", "Why", "What became of it"], items.map(passedRow)) : none("Nothing passed it over.")));

	function loadRest() {
		into(crashes, path("crashes"), ({ items }) => list(items, crashItem, "It has not crashed."));
		into(versions, path("versions"), (answer) => list(answer.versions, (v) => versionItem(name, v), "It runs from a directory: no versions are kept."));
	}

	/** Of a plugin that is not there, no log can be followed: the whole stream would be refused. */
	function follow(isThere) {
		if (isThere === Boolean(self.watch.logs)) return;
		self.watch = isThere ? { logs: name, level: log.level.value } : {};
		changed(node, "rewatch");
	}

	async function loadStatus() {
		try {
			const { latency_by_event: rows, ...summary } = await api(path("status"));
			Object.assign(find(name) ?? {}, summary);
			latency.draw(rows ?? []);
			put(trouble);
			content.hidden = false;
			follow(true);
			drawHead();
		} catch (problem) {
			const [meant] = [problem.did_you_mean].flat();
			if (problem.status) put(trouble, problemBox(problem, meant && h("p", "Did you mean ", h("a", { href: `#/plugins/${enc(meant)}` }, meant), "?")));
			content.hidden = problem.status === 404;
			if (content.hidden) follow(false);
		}
	}

	async function begin() {
		self.close = whileShown(5, () => {
			loadStatus();
			loadPassed();
		});
		await loadStatus();
		if (content.hidden) return;
		loadPassed();
		loadRest();
		config.load();
		log.load();
		if (focusLog) log.box.focus();
	}

	const neighbor = (by) => {
		const names = store.plugins.map((p) => p.name);
		location.hash = `#/plugins/${enc(names.at((names.indexOf(name) + by) % names.length))}`;
	};
	const self = {
		node, begin, filter: log.filter, watch: find(name) ? { logs: name, level: "info" } : {}, title: name,
		on: {
			plugins: drawHead, metrics: drawHead, log: log.stream, snapshot: log.catchUp,
			passed: (items) => items.some((i) => i.plugin === name) && loadPassed(),
			dropped: (data) => data.topic?.startsWith("log") && log.tell(`${many(data.count, "line")} not shown: this browser is too slow`),
			reborn: log.reborn,
		},
		keys: {
			f: log.follow, ".": log.toggle, l: () => log.box.focus(), Home: () => log.end(true), End: () => log.end(false),
			"[": () => neighbor(-1), "]": () => neighbor(1), u: () => { location.hash = "#/"; },
			r: () => askOrder(name, "restart"), s: () => startOrStop(name),
		},
	};
	drawHead();
	return self;
}
