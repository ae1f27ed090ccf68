// The views Console, Trace and Host.

import {
	acting, badge, button, bytes, changed, choices, clock, every, h, known, latency, joined, many, none, note,
	number, panel, press, problemBox, put, quoted, region, say, search, shape, spaced, span, table, time, when,
} from "./dom.js";
import { api, enc, find, into, look, mayOrder, order, store, whileShown, workers } from "./live.js";

const headline = (title, words) => h("div.headline", h("h1", { tabindex: -1 }, title), h("span.muted", words));
const NOT_ASKED = ["passed_over", "not_asked"];
const FAILED = ["error", "late", "lost", "bad_answer"];

// Console

const STRING = '"(?:[^"\\\\\\x00-\\x1f]|\\\\(?:["\\\\/bfnrt]|u[\\da-fA-F]{4}))*"';
const SCALAR = `${STRING}|-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?|true|false|null`;

/** Where JSON goes wrong: browsers say it each in its way, and some not at all. */
function faultAt(text) {
	let at = 0;
	function eat(source) {
		const here = new RegExp(`(?:${source})\\s*`, "y");
		here.lastIndex = at;
		const found = here.test(text);
		if (found) at = here.lastIndex;
		return found;
	}
	function value() {
		if (eat(SCALAR)) return true;
		const end = eat("\\[") ? "]" : eat("\\{") && "}";
		if (!end || eat(end)) return Boolean(end);
		do {
			if (end === "}" && !(eat(STRING) && eat(":"))) return false;
			if (!value()) return false;
		} while (eat(","));
		return eat(end);
	}
	eat("");
	value();
	return at;
}

function readJson(text) {
	try {
		return { value: JSON.parse(text) };
	} catch {
		const at = faultAt(text);
		const lines = text.slice(0, at).split("\n");
		return { at, wrong: `This is no JSON: line ${lines.length}, column ${lines.at(-1).length + 1}` };
	}
}

const EXAMPLE = { message_id: "m-1042", from_uid: "ada", room_id: "lobby", content: "hola a todos, buy gold", message_type: 1 };
const kept = { event: "message.incoming", payload: JSON.stringify(EXAMPLE, null, 2), mode: "chain", timeout: "", outcome: null };

function emitCommand({ event, payload, mode, timeout }) {
	const { value, wrong } = readJson(payload);
	return joined(" ", "vconnect emit", quoted(event), quoted(wrong ? payload : JSON.stringify(value)), mode === "broadcast" && "--mode broadcast",
		timeout && `--timeout ${timeout}`);
}

function diffOf({ diff = [] }) {
	const line = (kind, sign, word, field, value) => h(`div.${kind}`, h("span.sr", word), `${sign} ${field}: ${JSON.stringify(value)}`);
	return diff.length > 0 && h("div.diff", diff.map(({ field, before, after }) => [known(before) && line("m", "-", "before: ", field, before),
		known(after) ? line("p", "+", "after: ", field, after) : h("div.p", `${field} is taken away`)]));
}

function hopRow(hop, total) {
	const { plugin, outcome, reason, began_ms: began = 0, duration_ms: ms = 0 } = hop;
	const over = NOT_ASKED.includes(outcome);
	const kind = over || FAILED.includes(outcome) ? "bad" : ms > total / 2 && ms > 10 ? "warn" : "x";
	const bar = h(`i.${kind}`);
	const left = Math.min(97, (began / total) * 100);
	bar.style.left = `${left}%`;
	bar.style.width = `${over ? 4 : Math.min(100 - left, Math.max(0.6, (ms / total) * 100))}%`;
	return h("div.wrow", { role: "listitem" }, find(plugin) ? h("a.name", { href: `#/plugins/${enc(plugin)}` }, plugin) : h("b", plugin),
		h("div.track", { "aria-hidden": "true" }, bar), h("span.num", over ? "not asked" : time(ms / 1000)),
		h("div.ans", h(kind === "bad" ? "span.s-bad" : "span", reason ? `${spaced(outcome)}: ${reason}` : outcome === "ok" ? "ok: no change" : spaced(outcome)), diffOf(hop),
			hop.refused?.length > 0 && h("span", "tried to change ", h("span.mono", hop.refused.join(", ")), ": refused, it is protected")));
}

function verdict({ refusal, stopped_by: stopped, reason, results = [] }) {
	if (refusal) return [badge("barred", `refused${refusal.plugin ? ` by ${refusal.plugin}` : ""}`, 12), refusal.message || refusal.code];
	if (stopped) return [badge("stopped", `stopped by ${stopped}`, 12), reason];
	return [results.some((r) => r.error_code) ? badge("starting", "passed, with errors", 12) : badge("running", "passed", 12)];
}

function outcome({ answer, at }) {
	const { hops = [], total_ms: whole = 0, payload, results, refusal } = answer;
	const over = hops.filter((hop) => NOT_ASKED.includes(hop.outcome)).length;
	const changes = hops.filter((hop) => hop.changed?.length).length;
	const [head, reason] = verdict(answer);
	const facts = joined(" · ", time(whole / 1000), joined(", ", `${hops.length - over} asked`, over && `${over} passed over`), changes && `payload changed by ${changes}`, clock(at));
	const total = Math.max(whole, ...hops.map((hop) => (hop.began_ms ?? 0) + (hop.duration_ms ?? 0)), 0.001);
	return [h("div.head", h("h2", "Outcome"), head, note(facts)), reason && h("p.pad.s-bad", reason),
		hops.length ? h("div.wf", { role: "list", label: "Plugins, in the order they were asked" }, hops.map((hop) => hopRow(hop, total))) : none("No plugin wants this event."),
		h("details.pad", h("summary", "Show the payload and the results"), region("pre", "Payload and results", JSON.stringify({ payload, refusal, results }, null, 2)))];
}

export function consoleView() {
	const field = (label, node, ...more) => h("div.field", h("label", { for: node.id }, label), node, more);
	const names = h("datalist", { id: "event-names" });
	const event = h("input", { id: "c-event", list: "event-names", spellcheck: "false", value: kept.event });
	const payload = h("textarea.code", { id: "c-payload", spellcheck: "false", rows: 9, "aria-describedby": "c-error", value: kept.payload });
	const mode = h("select", { id: "c-mode" });
	choices(mode, ["chain", "broadcast"], ["chain: one after the other", "broadcast: all at the same time"]);
	const timeout = h("input", { id: "c-timeout", type: "number", min: 0.001, step: "any", placeholder: "as configured", value: kept.timeout });
	const error = h("span.err.small", { id: "c-error" });
	const command = h("code");
	const copied = h("span.small.muted", { role: "status" });
	const send = acting(["Send ", h("kbd.plain", "Ctrl Enter")], go, ".primary");
	const bare = (...parts) => put(result, h("div.head", h("h2", "Outcome")), parts);
	const result = h("section.panel", { label: "Outcome" });
	mode.value = kept.mode;
	const form = h("form.form", { novalidate: true, submit: (e) => { e.preventDefault(); go(); }, input: read, keydown: (e) => e.key === "Enter" && (e.ctrlKey || e.metaKey) && go() },
		field("Event", event), names, field("Payload", payload, error),
		h("div.three", field("Mode", mode), field("Timeout, s", timeout)), h("div.acts", send, button("Copy as command", copy), copied),
		h("p.refused-word.small.muted"), region("div.scroll.commandline", "The same as a command", command));
	const node = h("div", headline("Console", "sends a real event to the real plugins"), h("div.two.cons", h("section.panel", { label: "Event to send" }, form), result));
	let stop = null;

	function read() {
		Object.assign(kept, { event: event.value.trim(), payload: payload.value, mode: mode.value, timeout: timeout.value });
		say(command, emitCommand(kept));
		complain("");
		say(copied, "");
	}

	function complain(text) {
		say(error, text);
		payload.ariaInvalid = text !== "";
	}

	async function copy() {
		read();
		const done = await navigator.clipboard?.writeText(emitCommand(kept)).then(() => true, () => false);
		if (!done) getSelection().selectAllChildren(command);
		say(copied, done ? "Copied." : "Press Ctrl C to copy it.");
	}

	function wait() {
		const [bar, words, began] = [h("i"), h("p.muted"), Date.now()];
		bare(h("div.wf", words, h("div.track", bar)));
		const step = () => {
			const seconds = (Date.now() - began) / 1000;
			say(words, `waiting for the plugins, ${seconds.toFixed(1)} s`);
			bar.style.width = `${100 - 100 * Math.exp(-seconds / 4)}%`;
		};
		step();
		return every(0.1, step);
	}

	async function go() {
		read();
		const { value, wrong, at } = readJson(kept.payload);
		if (stop || mayOrder()) return;
		if (wrong) {
			complain(wrong);
			payload.focus();
			return payload.setSelectionRange(at, at + 1);
		}
		const seconds = Number(kept.timeout) || undefined;
		stop = wait();
		try {
			const body = { event: kept.event, payload: value, mode: kept.mode, timeout: seconds, trace: true };
			kept.outcome = { answer: await order("events", body, (seconds ?? 30) + 60), at: Date.now() / 1000 };
			put(result, outcome(kept.outcome));
		} catch (problem) {
			bare(problemBox(problem));
		}
		stop();
		stop = null;
	}

	read();
	if (kept.outcome) put(result, outcome(kept.outcome));
	else bare(none("Nothing is sent yet. Each plugin's answer, its time, and what it changed will stand here."));
	const begin = () => api("events/names").then(({ items }) => put(names, items.map((value) => h("option", { value }))), () => {});
	return { node, title: "Console", on: {}, begin, close: () => stop?.() };
}

// Trace

const MOST = 300;

function traceState(t) {
	const by = t.hops.find((hop) => hop.outcome === "stopped")?.plugin;
	if (t.outcome === "stopped") return badge("stopped", by ? `stopped by ${by}` : "stopped");
	if (t.outcome === "passed") return t.duration_s >= 0.1 ? badge("starting", "slow") : badge("running", "passed");
	return badge(t.outcome === "refused" ? "barred" : "error", t.outcome);
}

function hopTag({ plugin, outcome: result, reason, duration_s: seconds, changed: fields }, total) {
	const over = NOT_ASKED.includes(result);
	const bad = over || FAILED.includes(result);
	const slow = !bad && seconds >= 0.05 && seconds > total / 2;
	const words = joined(" ", !over && known(seconds) && time(seconds), over ? reason || spaced(result) : result !== "ok" ? spaced(result) : fields?.length && "changed");
	return h(`span.hop${bad ? ".bad" : slow ? ".warn" : ""}`, (over || slow) && [shape(over ? "barred" : "starting", 9), " "], h("b", plugin), ` ${words}`);
}

/** A payload comes as text, which is cut if it is long, and then no JSON. */
function indented(text) {
	try {
		return JSON.stringify(JSON.parse(text), null, 2);
	} catch {
		return text;
	}
}

function payloadCell({ payload }, row) {
	if (!known(payload)) return h("td.muted", "not kept");
	const shown = h("tr.payload", h("td", { colspan: 6 }, region("pre", "Payload", indented(payload))));
	const toggle = button("Show", () => {
		if (shown.isConnected) shown.remove();
		else row.after(shown);
		say(toggle, shown.isConnected ? "Hide" : "Show");
		toggle.ariaExpanded = shown.isConnected;
	}, ".link");
	return h("td", toggle);
}

function traceRow(t) {
	if (known(t.dropped)) return h("tr", h("td.s-warn", { colspan: 6 }, `${number(t.dropped)} dropped: this browser is too slow`));
	const row = h("tr", h("td.mono", when(t.time, true)), h("td.mono", t.event), h("td", traceState(t)), h("td.num", time(t.duration_s)),
		h("td", h("span.hops", t.hops.map((hop) => hopTag(hop, t.duration_s)))));
	row.append(payloadCell(t, row));
	return row;
}

export function traceView() {
	const event = search({ id: "t-event", placeholder: "message.*" });
	const plugin = search({ id: "t-plugin" });
	const slow = h("select", { id: "t-slow" });
	choices(slow, ["", "10", "50", "100", "1000"], ["any time", "10 ms", "50 ms", "100 ms", "1 s"]);
	const pause = button("Pause", () => setPaused(paused ? null : "button"));
	const hint = h("p.small.muted", { role: "status" }, "Payloads are hidden. To keep them is written to the audit log.");
	const body = h("tbody");
	const nothing = none();
	const more = button("", () => setPaused(null), ".more");
	const label = (text, node) => h("label", { for: node.id }, note(text), node);
	const frame = h("section.panel", { label: "Events" },
		h("div.head.filters", { input: typed }, label("Event", event), label("Plugin", plugin), label("At least", slow),
			h("div.acts", pause, acting("Keep payloads for 5 min", keepPayloads)), hint, h("p.refused-word.small.muted")),
		h("div.morebar", more), table("trace", ["Time", "Event", "Outcome", "#Total", "Who, in how long", "Payload"], body), nothing);
	const node = h("div", headline("Trace", "a sample of the events, and every one that was slow, failed or passed over"), frame);
	const since = Date.now() / 1000;
	let paused = null; // "button", or "scroll" while the reader is further down
	let waiting = [];
	let seen = new Set();
	let typing = 0;
	let stop = null;

	function take(t) {
		const fits = known(t.dropped) || (t.duration_s * 1000 >= Number(slow.value) && (!plugin.value || t.hops.some((hop) => hop.plugin.includes(plugin.value))));
		if (!fits || seen.has(t.id)) return;
		if (known(t.id)) seen.add(t.id);
		waiting = [...waiting, t].slice(-MOST);
	}

	function flush() {
		body.prepend(...waiting.reverse().map(traceRow));
		waiting = [];
		while (body.children.length > MOST) body.lastChild.remove();
		if (seen.size > 5000) seen = new Set();
		nothing.hidden = body.children.length > 0;
		const wants = [...new Set(store.plugins.flatMap((p) => p.capabilities ?? []))].slice(0, 8).join(", ");
		say(nothing, `No event since ${clock(since)}; plugins want: ${wants || "nothing"}`);
	}

	function tick() {
		// Rows come at the top: whoever scrolled down or opened a payload keeps the place.
		const reading = body.getBoundingClientRect().top < 0 || body.querySelector(".payload");
		if (paused !== "button") paused = reading ? "scroll" : null;
		if (!paused && waiting.length) flush();
		more.hidden = !paused || !waiting.length;
		say(more, `↑ ${many(waiting.length, "new event")} · show`);
		press(pause, paused === "button", paused === "button" ? "Paused · go on" : "Pause");
	}

	function setPaused(how) {
		paused = how;
		if (!how) {
			for (const one of body.querySelectorAll("[aria-expanded=true]")) one.click();
			flush();
			if (body.getBoundingClientRect().top < 0) frame.scrollIntoView();
		}
		tick();
	}

	async function load() {
		const filters = Object.entries({ event: event.value, plugin: plugin.value, slow_ms: slow.value }).filter(([, value]) => value);
		self.watch = { trace: true, event: event.value, slow_ms: slow.value };
		changed(node, "rewatch");
		seen = new Set();
		waiting = [];
		put(body);
		const { items, detail } = await api(`trace?${new URLSearchParams([["limit", 100], ...filters])}`).catch((problem) => ({ ...problem, items: [] }));
		items.sort((a, b) => a.time - b.time).forEach(take);
		flush();
		if (detail && store.link === "live") say(nothing, detail);
	}

	function keepPayloads() {
		order("trace/payloads", { seconds: 300 }).then(({ until }) => say(hint, `Payloads of new events are kept until ${clock(until)}, and hidden until you ask for one.`), ({ detail }) => say(hint, detail));
	}

	function typed() {
		clearTimeout(typing);
		typing = setTimeout(load, 300);
	}

	const self = {
		node, filter: event, watch: { trace: true }, title: "Trace", keys: { ".": () => pause.click() },
		on: { trace: take, dropped: (data) => data.topic === "trace" && take({ dropped: data.count }) },
		begin() {
			load();
			stop = every(0.25, tick);
		},
		close() {
			stop?.();
			clearTimeout(typing);
		},
	};
	tick();
	return self;
}

// Host

function workerRow(w) {
	const lag = latency();
	lag.draw(w.loop_lag);
	const here = store.worker ? w.id === store.worker : w.is_this;
	const name = w.problem ? h("b", w.name ?? w.id) : button(w.name ?? w.id, () => look(w.is_this ? null : w.id), ".link.name");
	const cell = (text) => h("td.num.c-opt", text);
	return h("tr", h("th", { scope: "row" }, name, here && note(" shown here")), w.problem ? h("td", { colspan: 7 }, badge("error", joined(" since ", w.problem, known(w.since) && clock(w.since))))
		: [h("td", badge("running", "serving")), cell(String(w.pid)), cell(span(w.uptime_s)), h("td.num", lag.node), cell(number(w.plugins)),
			cell(w.stalls ? `${number(w.stalls)}, longest ${time(w.longest_stall_s)}` : number(w.stalls)), cell(bytes(w.rss_bytes))]);
}

const LEVELS = { ok: "running", warn: "starting", fail: "error" };

function check({ id, level, detail, next }) {
	return h("li", badge(LEVELS[level] ?? "stopped", id), h("span.small.muted.grow", h("span.sr", `${level}: `), detail, next && [" ", h("b", "Next: "), next]));
}

function deed({ time: at, who, via, order: what, plugin, result, ms }) {
	return h("li", when(at), h("span", h("span.muted", `${who || "somebody"}${via ? ` via ${via}` : ""}: `), what, plugin && [" ", h("b", plugin)],
		result === "ok" ? h("span.muted", known(ms) ? `, ${time(ms / 1000)}` : "") : h("span.s-bad", `, ${spaced(result)}`)));
}

export function hostView() {
	const [workerBody, doctorBody, count, doctorNote] = [h("tbody"), h("div"), note(), note()];
	const audit = h("ol.feed", { tabindex: 0, label: "Audit, newest first" });
	const grid = table("workers", ["Worker", "State", "#Pid", "#Up", "#Lag p50 · p99", "#Plugins", "#Stalls", "#Memory"], workerBody);
	[2, 3, 5, 6, 7].forEach((i) => grid.querySelectorAll("th")[i].classList.add("c-opt"));
	const facts = h("span");
	const checkup = panel("Doctor", [doctorNote, h("span.right", button("Check again", doctor))], doctorBody);
	const node = h("div", headline("Host", facts),
		panel("Workers", count, region("div.scroll", "Table of workers", grid)),
		h("div.two.even", checkup, panel("Who did what", note("audit"), audit)));
	let entries = [];
	let stop = null;

	function loadWorkers() {
		// A row that has focus is not made anew.
		if (workerBody.contains(document.activeElement)) return;
		workers().then(({ items }) => put(workerBody, items.map(workerRow)), (problem) => say(count, problem.detail));
	}

	function doctor() {
		say(doctorNote, "checking …");
		const draw = ({ checks }) => {
			const [bad, poor] = ["fail", "warn"].map((level) => checks.filter((c) => c.level === level).length);
			put(doctorNote, joined(", ", bad && many(bad, "problem"), poor && many(poor, "warning")) || "all is well", " · same as ", h("code", "vconnect doctor"));
			return h("ul.list", checks.map(check));
		};
		// A host that has no doctor has no panel for it.
		into(doctorBody, "doctor", draw, { timeout: 60 }, (problem) => { checkup.hidden = problem.code === "unknown_route"; });
	}

	function deeds(items) {
		entries = items.sort((a, b) => b.time - a.time).slice(0, 200);
		return entries.length ? entries.map(deed) : h("li.muted", "Nobody has changed anything yet.");
	}

	function load() {
		const { version, loop, plugin_dir: from, cgroup_problem: limits } = store.host;
		say(facts, joined(" · ", `vconnect ${version}`, loop, from && `plugins from ${from}`, limits && `cgroup: ${limits}`));
		loadWorkers();
		into(audit, "audit", ({ items }) => deeds(items));
	}

	function begin() {
		load();
		doctor();
		stop = whileShown(5, loadWorkers);
	}
	return { node, title: "Host", keys: { d: doctor }, on: { snapshot: load, audit: (item) => put(audit, deeds([item, ...entries])) }, begin, close: () => stop?.() };
}
