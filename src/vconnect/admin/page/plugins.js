// The view "Plugins": is anything wrong, what, and why.

import {
	NONE, badge, button, bytes, choices, clean, clock, h, joined, known, latency, many, none, note, number, panel, percent,
	put, quoted, rate, say, search, shape, spark, table, time, tone, when,
} from "./dom.js";
import { enc, find, inTrouble, store } from "./live.js";
import { askOrder, startOrStop } from "./plugin.js";

const address = (name) => `#/plugins/${enc(name)}`;
const refused = (p) => p.passed_over?.refused ?? 0;
const passedOver = (p) => refused(p) + (p.passed_over?.skipped ?? 0) + (p.passed_over?.default ?? 0);
const dropped = (p) => p.dropped_last_minute ?? 0;
const fullness = (p) => (p.queue?.limit ? p.queue.events / p.queue.limit : 0);
const pressed = (p) => fullness(p) >= 0.8 || dropped(p) > 0;

// Headline and answers

function headline() {
	const { plugins } = store;
	const down = plugins.filter(inTrouble).length;
	const [slow] = plugins.filter((p) => p.is_slow);
	const also = plugins.some(refused) ? ", and messages are refused" : slow ? `; ${slow.name} is slow` : "";
	if (!plugins.length) return "No plugins yet";
	if (down) return `${down} of ${many(plugins.length, "plugin")} ${down === 1 ? "does" : "do"} not serve${also}`;
	return (plugins.every((p) => p.serving) ? "All plugins serve" : "All plugins serve that should") + also;
}

function whoWasPassedOver() {
	const question = "Who was passed over?";
	const [p] = store.plugins.filter(passedOver).sort((a, b) => refused(b) - refused(a) || passedOver(b) - passedOver(a));
	if (!p) return { question, answer: "Nobody", evidence: "In the last minute, every event reached all who want it.", command: "vconnect list --wide" };
	const answer = refused(p) ? `${number(refused(p))} refused` : `${number(passedOver(p))} not asked`;
	return { question, p, mark: "barred", tone: refused(p) ? "bad" : "warn", answer, evidence: p.why, command: `vconnect why ${quoted(p.name)}` };
}

function whyIsItSlow() {
	const base = { question: "Why is it slow?", command: "vconnect list --wide --sort p99" };
	const timed = store.plugins.filter((p) => known(p.latency?.p99_s)).sort((a, b) => b.latency.p99_s - a.latency.p99_s);
	const [p] = timed.filter((one) => one.is_slow).sort((a, b) => b.share - a.share);
	if (!p) return { ...base, answer: "Nothing is", evidence: timed[0] ? `The slowest p99 is ${timed[0].name}'s: ${time(timed[0].latency.p99_s)}.` : "No event in the last minute." };
	const { p50_s: p50, p99_s: p99, count } = p.latency;
	const event = store.chains.find((c) => c.steps.some((s) => s.plugin === p.name && s.share > 0))?.event;
	const share = event && known(p.share) && [`${percent(p.share * 100)} of the time of `, h("span.mono", event), "; "];
	return { ...base, p, tone: "warn", before: "p99 ", answer: time(p99), evidence: [share, `its median is ${time(p50)}, of ${many(count, "answer")}`] };
}

function whatDoesNotRun(other) {
	const question = "What does not run?";
	const down = store.plugins.filter(inTrouble);
	const p = down.find((one) => one !== other) ?? down[0];
	if (p) return { question, p, tone: "bad", mark: p.shape, answer: p.state, evidence: p.why, command: `vconnect why ${quoted(p.name)}` };
	return { question, answer: "Nothing fails", evidence: "Every plugin serves, or is stopped as asked for.", command: "vconnect list" };
}

function whatIsUnderPressure() {
	const base = { question: "What is under pressure?", command: "vconnect top" };
	const [p] = store.plugins.filter(pressed).sort((a, b) => dropped(b) - dropped(a) || fullness(b) - fullness(a));
	if (!p) return { ...base, answer: "Nothing is", evidence: `No queue is near its limit; loop lag p99 is ${time(store.loopLag)}.` };
	const full = fullness(p) >= 1 ? "queue full" : fullness(p) >= 0.8 ? `queue ${percent(fullness(p) * 100)} full` : "drops notifications";
	return { ...base, p, tone: "warn", answer: full, evidence: joined("; ", `${number(p.queue?.events)} waiting`, dropped(p) && `${many(dropped(p), "notification")} dropped in the last minute`) };
}

function answerCard({ question, p, tone: kind = "ok", mark, before, answer, evidence, command }) {
	const sign = mark ?? { bad: "error", warn: "starting", ok: "running" }[kind];
	return h(`div.panel.answer.${kind}`, h("p.q", question, h(`span.s-${kind}`, shape(sign, 15))),
		h("p.a", p ? [h("a", { href: address(p.name) }, p.name), ": ", before, h("em", answer)] : answer), h("p.d", evidence), h("p.cmd", h("code", command)));
}

// The chain bar

function segment(step) {
	const kind = !step.serving ? ".over" : find(step.plugin)?.is_slow ? ".slow" : "";
	const share = (step.share ?? 0) * 100;
	const words = !step.serving ? joined(", ", known(step.share) && percent(share), step.state) : step.observer ? "no wait" : known(step.p99_s) ? `p99 ${time(step.p99_s)}` : NONE;
	const bar = h("i");
	const node = h(`div.seg${kind}`, { role: "listitem", title: clean(`${step.plugin}: ${words}`) }, h("b", step.plugin), h("span.track", bar), h("span", words));
	node.style.flexGrow = Math.max(0.5, share);
	bar.style.width = `${Math.max(2, step.serving ? share : 100)}%`;
	return node;
}

function chainBar() {
	const select = h("select", { label: "Event", change: () => draw() });
	const flow = h("div.flow", { role: "list", label: "Plugins of the chain, in order" });
	const legend = h("div.legend");
	const node = panel("Where the time of an event goes", [select, h("span.right.small.muted", "width: share of the chain's time, last minute")], h("div.chain", flow, legend));
	let drawn = "";

	function draw() {
		const { chains } = store;
		node.hidden = !chains.length;
		if (node.hidden) return;
		choices(select, chains.map((c) => c.event), chains.map((c) => `${c.event} · ${rate(c.per_s)}/s`));
		const chain = chains.find((c) => c.event === select.value);
		const off = chain.steps.filter((s) => !s.serving);
		const slow = chain.steps.some((s) => find(s.plugin)?.is_slow);
		const now = JSON.stringify([chain, slow]);
		if (now === drawn) return;
		drawn = now;
		put(flow, chain.steps.map(segment));
		put(legend, h("span", "Whole chain p50 ", h("b", time(chain.p50_s)), ", p99 ", h("b", time(chain.p99_s)), chain.count < 100 && ` of ${number(chain.count)}`),
			off.length > 0 && h("span.state.s-bad", shape("barred", 12), `not asked now: ${[...new Set(off.map((s) => s.state))].join(", ")}`),
			slow && h("span.state.s-warn", shape("starting", 12), "slow: near its deadline, or most of the chain's time"));
	}
	return { node, draw };
}

// The table

function whyTone(p) {
	if (tone(p.shape) === "bad" || refused(p)) return "bad";
	return p.is_slow || pressed(p) ? "warn" : "";
}

function makeRow({ name }) {
	const [state, reason, queue, restarts] = ["td.c-state", "td.c-why", "td.num.c-queue", "td.num.c-rest"].map((kind) => h(kind));
	const [version, meta, why, events, cpu, memory] = ["meta", "meta.line", "why", "x", "x", "small.muted.line"].map((kind) => h(`span.${kind}`));
	const [eventSpark, cpuSpark, lat] = [spark(56, 20), spark(44, 20), latency()];
	const link = h("a.name", { href: address(name) }, name);
	// A click anywhere in the row follows its link, unless text is being selected.
	const click = (event) => event.target === link || String(getSelection()) || link.click();
	const node = h("tr", { "data-name": name, click }, state, h("th.c-name", { scope: "row" }, link, " ", version, meta), put(reason, why),
		h("td.num.c-ev", h("span.pair", eventSpark.node, events)), h("td.num.c-lat", lat.node), queue,
		h("td.num.c-cpu", h("span.pair", cpuSpark.node, h("span", cpu, memory))), restarts);
	let shown = "";

	function draw(p) {
		if (shown !== p.shape + p.state) put(state, badge(p.shape, p.state));
		shown = p.shape + p.state;
		say(version, p.version ?? "");
		say(meta, joined(" · ", p.language, p.role, known(p.priority) && String(p.priority)));
		say(why, p.code === "healthy" ? "" : p.why);
		why.className = `why ${whyTone(p)}`;
		reason.classList.toggle("bare", !why.textContent);
		numbers(p);
	}

	function numbers(p) {
		const kept = store.history.get(name);
		const perSecond = p.now_per_s ?? p.events_per_s;
		const full = fullness(p) >= 0.8;
		const [used, limit] = full || p.role === "observer" ? [p.queue?.events, p.queue?.limit] : [p.in_flight, p.window];
		say(events, known(p.pid) && known(perSecond) ? `${rate(perSecond)}\u00a0/s` : NONE);
		eventSpark.draw(kept?.events);
		lat.draw(p.latency, p.outcomes?.late && tone(p.shape) === "bad" ? "bad" : p.is_slow ? "warn" : "");
		say(queue, known(p.pid) ? `${number(used)} / ${number(limit)}` : NONE);
		queue.classList.toggle("s-warn", full);
		say(cpu, percent(p.cpu_percent));
		say(memory, known(p.rss_bytes) ? bytes(p.rss_bytes) : "");
		cpuSpark.draw(kept?.cpu);
		say(restarts, number(p.restarts));
	}
	return { node, link, draw, numbers };
}

function pluginTable(filter) {
	const rows = new Map();
	const body = h("tbody", {
		// Rows do not change places under the pointer: a click must hit what it meant.
		pointerenter: (event) => { pointed = event.pointerType === "mouse"; },
		pointerleave: () => { pointed = false; },
		focusin: (event) => select(event.target.closest("tr").dataset.name),
	});
	const nothing = none("No plugin has that in its name, state or reason.");
	const count = note();
	const grid = table("plugins", ["State", "Plugin", "Why", "#Events", "#p50 · p99", "#Queue", "#CPU, memory", "#Restarts"], body);
	["c-ev", "c-lat", "c-queue", "c-cpu", "c-rest"].forEach((kind, i) => grid.querySelectorAll("th")[i + 3].classList.add(kind));
	let selected = null;
	let pointed = false;

	function draw() {
		for (const p of store.plugins) {
			if (!rows.has(p.name)) rows.set(p.name, makeRow(p));
			rows.get(p.name).draw(p);
		}
		for (const [name, row] of rows) {
			if (find(name)) continue;
			row.node.remove();
			rows.delete(name);
		}
		const wanted = store.plugins.map((p) => rows.get(p.name).node);
		const same = pointed ? body.children.length === wanted.length : wanted.every((one, i) => body.children[i] === one);
		if (!same) {
			const focused = body.contains(document.activeElement) && document.activeElement;
			body.append(...wanted);
			if (focused) focused.focus({ preventScroll: true });
		}
		applyFilter();
	}

	function applyFilter() {
		const text = filter.value.trim().toLowerCase();
		const fits = (p) => [p.name, p.state, p.why, p.language, p.role].join("\n").toLowerCase().includes(text);
		for (const p of store.plugins) rows.get(p.name).node.hidden = !fits(p);
		const seen = store.plugins.filter(fits).length;
		nothing.hidden = seen > 0;
		say(count, `${text ? `${seen} of ` : ""}${store.plugins.length} · trouble first, then chain order`);
	}

	function select(name) {
		rows.get(selected)?.node.classList.remove("sel");
		selected = name;
		rows.get(name).node.classList.add("sel");
	}

	function move(by) {
		const seen = store.plugins.map((p) => p.name).filter((name) => !rows.get(name).node.hidden);
		rows.get(seen[Math.max(0, Math.min(seen.length - 1, seen.indexOf(selected) + by))])?.link.focus();
	}

	filter.addEventListener("input", applyFilter);
	return {
		node: panel("Plugins", [count, h("span.right", filter)], grid, nothing), draw, move,
		selected: () => selected ?? store.plugins[0]?.name,
		numbers: () => store.plugins.forEach((p) => rows.get(p.name)?.numbers(p)),
	};
}

// What happened

function happening({ time: at, plugin, shape: mark, text }) {
	// The host's text may begin with the name, or with "it"; that is not said twice.
	const rest = plugin ? (text.startsWith(plugin) ? text.slice(plugin.length).replace(/^[:\s]+/, "") : text.replace(/^it /, "")) : text;
	return h("li", when(at), h("span", h(`span.mark.s-${tone(mark)}`, shape(mark, 11)), plugin && [h("b", plugin), " "], rest));
}

function feed() {
	const entries = h("ol.feed", { tabindex: 0, label: "What happened, newest first" });
	const pause = button("Pause", toggle, ".quiet");
	let paused = false;
	let missed = 0;
	function drawAll() {
		if (!paused) put(entries, store.happenings.length ? store.happenings.map(happening) : h("li.muted", "Nothing yet."));
	}
	function add(item) {
		missed += 1;
		if (paused) return say(pause, `${number(missed)} new · go on`);
		if (store.happenings.length === 1) return drawAll();
		const before = entries.scrollTop;
		entries.prepend(happening(item));
		if (entries.children.length > 200) entries.lastChild.remove();
		if (before) entries.scrollTop = before + entries.firstChild.offsetHeight; // the reader keeps the place
	}
	function toggle() {
		paused = !paused;
		missed = 0;
		say(pause, paused ? "Paused · go on" : "Pause");
		drawAll();
	}
	return { node: panel("What happened", h("span.right", pause), entries), drawAll, add, toggle };
}

// The view

function empty() {
	return h("section.panel.empty", { label: "No plugins yet" }, h("p.muted", "Make one, and run it from its source directory:"),
		h("pre", "vconnect new hello\nvconnect dev ./hello"), h("p.muted", "or install a package: ", h("code", "vconnect install ./hello-0.1.0.vp")));
}

// Style makes it wait for 150 ms: a fast host shows no gray rows at all.
function loading() {
	const cells = () => [1, 2, 3, 4].map(() => h("td", h("div")));
	return h("section.panel.late-rows", { label: "Loading" }, h("div.head", h("h2", "Plugins"), note("loading")),
		h("table.skel", { "aria-hidden": "true" }, [1, 2, 3, 4, 5, 6].map(() => h("tr", cells()))));
}

export function pluginsView() {
	const title = h("h1", { tabindex: -1 }, "Plugins");
	const until = h("span.muted");
	const cards = h("section.answers", { label: "Answers" });
	const filter = search({ placeholder: "Filter ( / )", label: "Filter plugins" });
	const [chain, plugins, happened] = [chainBar(), pluginTable(filter), feed()];
	const keys = h("p.keys", ["/ filter", "j k move", "Enter open", "l log", "r restart", ". pause", "? all keys"].map((words) =>
		h("span", words.split(" ").map((word) => (/^(.|Enter)$/.test(word) ? h("kbd", word) : `${word} `)))));
	const content = h("div");
	const full = [cards, chain.node, h("div.grid", plugins.node, happened.node), keys];
	let said = "";
	let showing = null;

	function show(what, ...parts) {
		if (showing !== what) put(content, parts);
		showing = what;
	}

	function draw() {
		if (!store.loaded) return show("loading", loading());
		say(title, headline());
		say(until, "");
		if (!store.plugins.length) return show("empty", empty());
		show("full", full);
		plugins.draw();
		metrics();
	}

	function metrics() {
		if (showing !== "full") return;
		plugins.numbers();
		say(title, headline());
		say(until, `last minute, until ${clock(store.at)}`);
		const passed = whoWasPassedOver();
		const now = [passed, whyIsItSlow(), whatDoesNotRun(passed.p), whatIsUnderPressure()].map(answerCard);
		const words = now.map((card) => card.textContent + card.className).join();
		// Cards are made anew only if they say something else, so that a focused link stays.
		if (words !== said && !cards.contains(document.activeElement)) {
			said = words;
			put(cards, now);
		}
		chain.draw();
	}

	draw();
	happened.drawAll();
	const onSelected = (act) => () => plugins.selected() && act(plugins.selected());
	return {
		node: h("div", h("div.headline", title, until), content), filter, title: "",
		on: { plugins: draw, passed: draw, metrics, happenings: happened.drawAll, happening: happened.add },
		keys: {
			j: () => plugins.move(1), k: () => plugins.move(-1), ".": happened.toggle,
			Enter: onSelected((name) => { location.hash = address(name); }),
			l: onSelected((name) => { location.hash = `${address(name)}?log`; }),
			r: onSelected((name) => askOrder(name, "restart")), s: onSelected(startOrStop),
		},
	};
}
