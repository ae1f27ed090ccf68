// Panels of a plugin's page: its log, its latency, its configuration.

import {
	acting, button, choices, clean, clock, h, joined, known, many, none, note, number, panel, percent, press,
	problemBox, put, region, say, search, spaced, svg, table, time, when,
} from "./dom.js";
import { api, enc, into, store } from "./live.js";

// Log

const MOST = 2000;
const LEVELS = ["trace", "debug", "info", "warn", "error"];

const matcher = (text) => text && new RegExp(`(${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")})`, "i");
const marked = (text, match) => text.split(match).map((part) => part && (match.test(part) ? h("mark", part) : part));
const gap = (text) => h("div.line.gap", `-- ${text} --`);
const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function logLine({ stream, level, time: at, text, fields }) {
	const host = stream === "host";
	const more = Object.entries(fields ?? {}).map(([key, value]) => ` ${key}=${plain(value)}`).join("");
	const node = h(`div.line.l-${LEVELS.includes(level) ? level : "x"}${host ? ".host" : ""}`,
		h("span.t", when(at, true)), h("span.lv", host ? "HOST" : String(level).toUpperCase()), h("span.m"));
	node.text = clean(text + more);
	return node;
}

/** The log stays where the reader is: only following moves it, and only the reader follows. */
export function logPanel(name, onLevel) {
	const box = h("div.log.mono", { role: "log", tabindex: 0, label: `Log of ${name}`, scroll: scrolled });
	const level = h("select", { label: "Level", change: () => { onLevel(); load(); } });
	choices(level, LEVELS, ["all", "debug and above", "info and above", "warn and above", "errors"]);
	level.value = "info";
	const filter = search({ label: "Filter the log", placeholder: "Filter", input: filterAll });
	const toggle = button("", () => (paused ? follow() : pause("button")), ".follow");
	const more = button("", follow, ".more");
	const nothing = none();

	let last = -1; // number of the newest record taken
	let early = null; // what the stream brings before the history is there
	let pending = []; // what came while the reader reads
	let missed = 0;
	let paused = null; // "scroll" or "button"
	let match = "";
	let lastTop = 0;
	let turn = 0; // a slow answer for another level is not taken

	function filterLine(one) {
		if (one.text === undefined) return;
		one.hidden = match && !match.test(one.text);
		put(one.lastChild, match ? marked(one.text, match) : one.text);
	}

	function filterAll() {
		match = matcher(filter.value.trim());
		for (const one of box.children) filterLine(one);
		if (!paused) box.scrollTop = box.scrollHeight;
		sayNothing();
	}

	function append(...nodes) {
		nodes.forEach(filterLine);
		box.append(...nodes);
		while (box.children.length > MOST) box.firstChild.remove();
		box.scrollTop = lastTop = box.scrollHeight;
		sayNothing();
	}

	function sayNothing() {
		nothing.hidden = early || box.querySelector(".line:not([hidden])");
		say(nothing, box.firstChild ? "No line fits the filter." : "It has printed nothing yet.");
	}

	function take(records) {
		const fresh = records.filter((r) => r.seq > last);
		if (!fresh.length) return;
		last = fresh.at(-1).seq;
		if (!paused) return append(...fresh.map(logLine));
		missed += fresh.length;
		pending = [...pending, ...fresh].slice(-MOST);
		pause(paused);
	}

	function pause(how) {
		paused = how;
		more.hidden = !paused || !missed;
		say(more, `↓ ${many(missed, "new line")} · follow`);
		press(toggle, paused, paused ? "Paused · follow" : "Pause");
		box.ariaLive = paused ? "off" : "polite";
	}

	function follow() {
		const skipped = missed - pending.length;
		append(...(skipped ? [gap(`${many(skipped, "line")} not kept by this page`)] : []), ...pending.map(logLine));
		pending = [];
		missed = 0;
		pause(null);
	}

	function scrolled() {
		const up = box.scrollTop < lastTop;
		const bottom = box.scrollHeight - box.scrollTop - box.clientHeight < 4;
		lastTop = box.scrollTop;
		if (!paused && up && !bottom) pause("scroll");
		else if (paused === "scroll" && bottom && !up) follow();
	}

	/** History first, then what the stream brought meanwhile: one sequence, no gap, nothing twice. */
	async function load(after) {
		const mine = (turn += 1);
		early = [];
		if (after === undefined) {
			pending = [];
			follow();
			put(box);
			last = -1;
		}
		const path = `plugins/${enc(name)}/logs?host=true&lines=1000&level=${level.value}${after === undefined ? "" : `&after=${after}`}`;
		const { records, dropped, detail } = await api(path).catch((problem) => ({ ...problem, records: [] }));
		if (mine !== turn) return;
		if (!paused && dropped) append(gap(`${many(dropped, "line")} lost: the host keeps no more`));
		if (!paused && detail && store.link === "live") append(gap(detail));
		const waiting = early;
		early = null;
		take(records);
		take(waiting);
		sayNothing();
	}

	pause(null);
	return {
		node: panel("Log", [level, h("span.right", filter, toggle)], h("div.logframe", box, nothing, more)),
		filter, load, follow, level, box, toggle: () => toggle.click(),
		stream: (data) => data.plugin === name && (early ? early.push(...data.records) : take(data.records)),
		tell: (text) => paused || append(gap(text)),
		catchUp: () => turn > 0 && !early && load(last),
		reborn: () => { last = -1; },
		end(top) {
			if (paused && !top) follow();
			else box.scrollTop = top ? 0 : box.scrollHeight;
		},
	};
}

// Latency

/** The lower bound of a cell: there are four to each octave. */
function lower(upper) {
	const octave = 2 ** (Math.ceil(Math.log2(upper * 1e6) - 1e-9) - 1) / 1e6;
	return upper - octave / 4;
}

function summary(row) {
	if (!row?.count) return "No answer in the last minute.";
	const late = row.outcomes?.late;
	const end = known(row.timeout_s) ? `${late ? number(late) : "None"} came after the deadline of ${time(row.timeout_s)}.` : "There is no deadline.";
	return `${many(row.count, "answer")} in the last minute: half within ${time(row.p50_s)}, 99 of 100 within ${time(row.p99_s)}. ${end}`;
}

function picture({ cells, timeout_s: deadline }) {
	const low = Math.min(lower(cells[0][0]), deadline ?? Infinity) * 0.8;
	const high = Math.max(cells.at(-1)[0], deadline ?? 0) * 1.25;
	const at = (seconds) => (Math.log(seconds / low) / Math.log(high / low)) * 100;
	const top = Math.max(...cells.map(([, count]) => count));
	const bars = cells.map(([upper, count]) => {
		const [x, height] = [at(lower(upper)), Math.max(1.5, (count / top) * 100)];
		return svg("rect", { x: x + 0.1, y: 100 - height, width: at(upper) - x - 0.2, height, class: known(deadline) && upper > deadline * 1.001 ? "late" : "" });
	});
	const placed = (kind, seconds, ...words) => {
		const node = h(kind + (at(seconds) < 40 ? ".first" : at(seconds) > 90 ? ".last" : ""), words);
		node.style.left = `${at(seconds)}%`;
		return node;
	};
	const decades = [-6, -5, -4, -3, -2, -1, 0, 1, 2].map((e) => 10 ** e).filter((s) => s >= low && s <= high);
	return h("div.histogram", { "aria-hidden": "true" },
		h("div.plot", svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none" }, bars), known(deadline) && placed("div.deadline", deadline, h("span", `deadline ${time(deadline)}`))),
		h("div.ticks", (decades.length > 1 ? decades : [low, high]).map((s) => placed("span", s, time(s)))));
}

export function latencyPanel() {
	const select = h("select", { label: "Event", change: () => show() });
	const [drawing, text, numbers] = [h("div"), h("p.small"), region("div.scroll", "Numbers of the latency")];
	const details = h("details", h("summary", "Show numbers"), numbers);
	let rows = [];
	function show() {
		const row = rows.find((r) => r.event === select.value);
		const cells = row?.cells ?? [];
		select.hidden = rows.length < 2;
		details.hidden = !cells.length;
		say(text, summary(row));
		put(drawing, cells.length > 0 && picture(row));
		if (!cells.length) return;
		const outcomes = Object.entries(row.outcomes ?? {}).map(([word, n]) => n && `${number(n)} ${spaced(word)}`);
		put(numbers, h("p.small.muted", joined(", ", row.event, known(row.share) && `${percent(row.share * 100)} of its chain's time`, ...outcomes)),
			table("cells", ["Up to", "#Answers"], cells.map(([upper, count]) => h("tr", h("td", time(upper)), h("td.num", number(count))))));
	}
	function draw(next) {
		rows = next;
		choices(select, rows.map((r) => r.event));
		show();
	}
	return { node: panel("Latency, last minute", h("span.right", select), h("div.pad", drawing, text, details)), draw };
}

// Configuration

const isList = (schema) => schema.type === "array" && schema.items?.type === "string";

/** One control: [input, read]. Reading gives undefined for "leave it", and throws what is wrong. */
function control(schema, value, secret, base) {
	const { type, minimum: min, maximum: max } = schema;
	const make = (tag, attributes, ...parts) => h(tag, { spellcheck: "false", ...base, ...attributes }, parts);
	if (secret) {
		const node = make("input", { type: "password", autocomplete: "new-password", placeholder: known(value) ? "set, not shown" : "not set" });
		return [node, () => node.value || undefined];
	}
	if (schema.enum) {
		const node = make("select", {}, h("option", { value: -1, hidden: known(value) }, "not set"), schema.enum.map((one, i) => h("option", { value: i }, plain(one))));
		node.value = schema.enum.findIndex((one) => plain(one) === plain(value));
		return [node, () => schema.enum[node.value]];
	}
	if (type === "boolean") {
		const node = make("input", { type: "checkbox", checked: value === true });
		return [node, () => (known(value) || node.checked ? node.checked : undefined)];
	}
	if (type === "integer" || type === "number") {
		const node = make("input", { type: "number", min, max, step: schema.multipleOf ?? (type === "integer" ? 1 : "any"), value: value ?? "" });
		return [node, () => {
			if (node.validity.badInput) throw new Error("This is no number.");
			return node.value === "" ? undefined : Number(node.value);
		}];
	}
	const lines = isList(schema);
	const node = make(type === "string" ? "input" : "textarea", { rows: 3, value: !known(value) ? "" : lines ? value.join("\n") : type === "string" ? value : JSON.stringify(value, null, 2) });
	return [node, () => {
		if (!known(value) && !node.value.trim()) return undefined;
		if (lines) return node.value.split("\n").filter(Boolean);
		return type === "string" ? node.value : JSON.parse(node.value);
	}];
}

let serial = 0;

/** The key of a value, as the host writes it: limits.rate. */
const keyOf = (path) => path.map((part) => (/^[\p{L}\p{N}_-]+$/u.test(part) ? part : `"${part}"`)).join(".");

function field(path, schema, { value, origin } = {}) {
	const id = `field-${(serial += 1)}`;
	const hidden = schema.writeOnly === true || schema.format === "password";
	const { minimum: low, maximum: high } = schema;
	const hints = joined("; ", schema.description, known(low) && known(high) ? `${low} to ${high}` : known(low) ? `${low} or more` : known(high) && `at most ${high}`, isList(schema) && "one per line",
		hidden && "a secret: never shown, empty keeps it", origin && `from ${origin}`);
	const [input, read] = control(schema, value, hidden, { id, "aria-describedby": `${id}-hint ${id}-error` });
	const error = h("span.err.small", { id: `${id}-error` });
	const label = [h("label.mono", { for: id }, path.at(-1)), h("span.small.muted", { id: `${id}-hint` }, hints)];
	function complain(text) {
		say(error, text);
		input.ariaInvalid = text !== "";
	}
	input.addEventListener("input", () => complain(""));
	return {
		path, complain, focus: () => input.focus(),
		node: input.type === "checkbox" ? h("div.field.check", input, label, error) : h("div.field", label, input, error),
		read() {
			const now = read();
			return !hidden && JSON.stringify(now) === JSON.stringify(value) ? undefined : now;
		},
	};
}

/** What is set, by its key; what stays as it is is left out. */
function collect(fields) {
	const set = {};
	let wrong = null;
	for (const one of fields) {
		one.complain("");
		try {
			const value = one.read();
			if (value !== undefined) set[keyOf(one.path)] = value;
		} catch (error) {
			one.complain(error.message);
			wrong = one;
		}
	}
	wrong?.focus();
	return wrong ? null : set;
}

const orNone = (value) => (value === undefined ? "not set" : plain(value));

function differences({ changes }) {
	return changes.length ? h("ul.small", changes.map(({ key, from, to }) => h("li", h("span.mono", key.replace("config.", "")), `: ${orNone(from)} → ${orNone(to)}`))) : h("p.small", "Nothing.");
}

export function configPanel(name) {
	const body = h("div");
	const result = h("div", { role: "status" });
	const node = panel("Configuration", note("from its schema"), body, h("div.pad", result));
	const path = `plugins/${enc(name)}/config`;
	const load = () => into(body, path, draw);

	function draw({ values: list, schema, etag }) {
		const values = new Map(list.map((v) => [v.key, v]));
		const properties = schema?.properties ?? {};
		const fields = [];
		const add = (...args) => fields[fields.push(field(...args)) - 1].node;
		const nodes = Object.entries(properties).map(([key, one]) => {
			const parts = one.type === "object" && one.properties;
			if (!parts) return add([key], one, values.get(keyOf([key])));
			return h("fieldset", h("legend.mono", key), Object.entries(parts).map(([part, its]) => add([key, part], its, values.get(keyOf([key, part])))));
		});
		// What no schema speaks of has a field, too.
		const told = fields.map((one) => keyOf(one.path));
		nodes.push(...list.filter(({ key }) => !told.includes(key)).map((entry) => add(entry.key.split("."), {}, entry)));
		const save = h("input", { type: "checkbox", id: "save" });

		async function send(dry) {
			const set = collect(fields);
			if (!set) return;
			try {
				const answer = await api(path, { method: "PUT", headers: etag ? { "If-Match": etag } : {}, body: { set, unset: [], save: save.checked, dry_run: dry } });
				put(result, h("p.small", dry ? "It would change:" : `Changed at ${clock(Date.now() / 1000)}:`), differences(answer));
				if (!dry) load();
			} catch (problem) {
				refuse(problem);
			}
		}

		function refuse(problem) {
			const rest = problem.errors.filter(({ field: place, detail }) => {
				const parts = String(place).split(/[/.]/).filter(Boolean);
				const one = fields.find((f) => f.path.join() === parts.slice(-f.path.length).join()) ?? fields.find((f) => f.path[0] === parts[0]);
				one?.complain(detail);
				one?.focus();
				return !one;
			});
			put(result, problemBox(problem, rest.map((one) => h("p.small", joined(": ", one.field, one.detail))), problem.status === 412 && button("Load it again", load)));
		}

		if (!fields.length) return none("It takes no settings.");
		return h("form.form", { novalidate: true, submit: (event) => { event.preventDefault(); send(false); } }, nodes,
			h("div.field.check", save, h("label", { for: "save" }, "Keep it"), h("span.small.muted", "writes it to the configuration file; else it lasts until the host ends")),
			h("div.acts", acting("Apply", () => send(false), ".primary"), acting("Show the change", () => send(true))));
	}
	return { node, load };
}
