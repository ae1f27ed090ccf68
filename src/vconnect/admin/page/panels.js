// Panels of a plugin's page: its log, its latency, its configuration.

import {
	acting, button, changed, choices, clean, clock, h, joined, known, many, none, note, number, panel, percent, problemBox, put,
	region, say, spaced, svg, table, time, when,
} from "./dom.js";
import { api, enc, store } from "./live.js";

// Log

const MOST = 2000;
const LEVELS = ["trace", "debug", "info", "warn", "error"];

/** A filter is text, or /an expression/: it runs here, so it can hurt only who wrote it. */
function matcher(text) {
	const source = /^\/(.+)\/$/.exec(text)?.[1] ?? text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
	try {
		return text && new RegExp(source, "gi");
	} catch {
		return null; // it is being typed
	}
}

function marked(text, match) {
	let from = 0;
	const parts = [...text.matchAll(match)].filter((found) => found[0]).flatMap((found) => {
		const before = text.slice(from, found.index);
		from = found.index + found[0].length;
		return [before, h("mark", found[0])];
	});
	return [parts, text.slice(from)];
}

const gap = (text) => h("div.line.gap", `-- ${text} --`);
const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** The log stays where the reader is: only following moves it, and only the reader follows. */
export function logPanel(name, onLevel) {
	const box = h("div.log.mono", { role: "log", tabindex: 0, "aria-label": `Log of ${clean(name)}` });
	const level = h("select", { "aria-label": "Level" }, LEVELS.map((one, i) =>
		h("option", { value: one }, i === 0 ? "all" : i === 4 ? "errors" : `${one} and above`)));
	level.value = "info";
	const filter = h("input", { type: "search", "aria-label": "Filter the log", placeholder: "Filter", size: 14, title: "Text, or /expression/" });
	const toggle = button("", () => (paused ? follow() : pause("button")), ".follow");
	const more = button("", () => follow(), ".more");
	const nothing = none();
	const node = panel("Log", [level, h("span.right", filter, toggle)], h("div.logframe", box, nothing, more));

	let last = -1; // number of the newest record taken
	let early = null; // what the stream brings before the history is there
	let pending = []; // what came while the reader reads
	let missed = 0;
	let paused = null; // "scroll" or "button"
	let match = null;
	let lastTop = 0;
	let turn = 0; // a slow answer for another level is not taken

	function line(record) {
		const host = record.stream === "host";
		const fields = Object.entries(record.fields ?? {}).map(([key, value]) => ` ${key}=${plain(value)}`).join("");
		const made = h(`div.line.l-${LEVELS.includes(record.level) ? record.level : "info"}${host ? ".host" : ""}`,
			h("span.t", when(record.time, true)), h("span.lv", host ? "HOST" : String(record.level).toUpperCase()), h("span.m"));
		made.text = clean(record.text + fields);
		filterLine(made);
		return made;
	}

	function filterLine(one) {
		if (one.text === undefined) return;
		one.hidden = Boolean(match) && one.text.search(match) < 0;
		put(one.lastChild, match && !one.hidden ? marked(one.text, match) : one.text);
	}

	function append(...nodes) {
		box.append(...nodes);
		while (box.children.length > MOST) box.firstChild.remove();
		box.scrollTop = lastTop = box.scrollHeight;
		sayNothing();
	}

	function sayNothing() {
		nothing.hidden = early !== null || box.querySelector(".line:not([hidden])") !== null;
		say(nothing, box.children.length ? "No line fits the filter." : "It has printed nothing yet.");
	}

	function take(records) {
		const fresh = records.filter((r) => r.seq > last);
		if (!fresh.length) return;
		last = fresh.at(-1).seq;
		if (!paused) return append(...fresh.map(line));
		missed += fresh.length;
		pending = [...pending, ...fresh].slice(-MOST);
		buttons();
	}

	function buttons() {
		more.hidden = !paused || !missed;
		say(more, `↓ ${number(missed)} new line${missed === 1 ? "" : "s"} · follow`);
		say(toggle, paused ? "Paused · follow" : "Pause");
		toggle.setAttribute("aria-pressed", paused !== null);
		box.setAttribute("aria-live", paused ? "off" : "polite");
	}

	function follow() {
		const skipped = missed - pending.length;
		append(...(skipped ? [gap(`${many(skipped, "line")} not kept by this page`)] : []), ...pending.map(line));
		pending = [];
		pause(null);
	}

	function pause(how) {
		paused = how;
		if (!how) missed = 0;
		buttons();
	}

	box.addEventListener("scroll", () => {
		const up = box.scrollTop < lastTop;
		const bottom = box.scrollHeight - box.scrollTop - box.clientHeight < 4;
		lastTop = box.scrollTop;
		if (!paused && up && !bottom) pause("scroll");
		else if (paused === "scroll" && bottom && !up) follow();
	});
	filter.addEventListener("input", () => {
		match = matcher(filter.value.trim());
		for (const one of box.children) filterLine(one);
		if (!paused) box.scrollTop = box.scrollHeight;
		sayNothing();
	});
	level.addEventListener("change", () => {
		onLevel();
		load();
	});

	/** History first, then what the stream brought meanwhile: one sequence, no gap, nothing twice. */
	async function load(after) {
		const mine = (turn += 1);
		early = [];
		const query = new URLSearchParams({ lines: 1000, level: level.value });
		if (after === undefined) {
			put(box);
			last = -1;
			pending = [];
			pause(null);
		} else query.set("after", after);
		const answer = await api(`plugins/${enc(name)}/logs?${query}`).catch((problem) => ({ records: [], problem }));
		if (mine !== turn) return;
		if (!paused && answer.dropped) append(gap(`${many(answer.dropped, "line")} lost: the host keeps no more`));
		if (!paused && answer.problem && store.link === "live") append(gap(answer.problem.detail));
		const waiting = early;
		early = null;
		take(answer.records);
		take(waiting);
		sayNothing();
	}

	buttons();
	return {
		node, filter, load, follow, level, box,
		toggle: () => toggle.click(),
		stream: (data) => data.plugin === name && (early ? early.push(...data.records) : take(data.records)),
		tell: (text) => paused || append(gap(text)),
		catchUp: () => turn > 0 && early === null && load(last),
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
	return Math.max(upper - octave / 4, upper * 0.75);
}

function summary(row) {
	if (!row?.count) return "No answer in the last minute.";
	const late = row.outcomes?.late;
	const end = known(row.timeout_s) ? `${late ? number(late) : "None"} came after the deadline of ${time(row.timeout_s)}.` : "There is no deadline.";
	return `${many(row.count, "answer")} in the last minute: half within ${time(row.p50_s)}, 99 of 100 within ${time(row.p99_s)}. ${end}`;
}

function placed(node, percentage) {
	node.style.left = `${percentage}%`;
	node.classList.toggle("first", percentage < 8);
	node.classList.toggle("last", percentage > 92);
	return node;
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
	const decades = [-6, -5, -4, -3, -2, -1, 0, 1, 2].map((e) => 10 ** e).filter((s) => s >= low && s <= high);
	const ticks = decades.length > 1 ? decades : [low, high];
	const mark = known(deadline) && placed(h("div.deadline", h("span", `deadline ${time(deadline)}`)), at(deadline));
	if (mark && at(deadline) < 40) mark.classList.add("right");
	return h("div.histogram", { "aria-hidden": "true" },
		h("div.plot", svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none" }, bars), mark),
		h("div.ticks", ticks.map((s) => placed(h("span", time(s)), at(s)))));
}

export function latencyPanel() {
	const select = h("select", { "aria-label": "Event", change: () => show() });
	const [drawing, text, numbers] = [h("div"), h("p.small"), region("div.scroll", "Numbers of the latency")];
	const details = h("details", h("summary", "Show numbers"), numbers);
	const node = panel("Latency, last minute", h("span.right", select), h("div.pad", drawing, text, details));
	let rows = [];
	function show() {
		const row = rows.find((r) => r.event === select.value) ?? rows[0];
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
	return {
		node,
		draw(next) {
			rows = next;
			choices(select, rows.map((r) => r.event));
			show();
		},
	};
}

// Configuration

const isText = (schema) => schema.type === "string";
const isList = (schema) => schema.type === "array" && schema.items?.type === "string";
const isGroup = (schema) => schema.type === "object" && schema.properties;
const isNumber = (schema) => schema.type === "integer" || schema.type === "number";

/** One control: {node, read()}. Reading gives undefined for "leave it", and throws what is wrong. */
function control(schema, value, secret, base) {
	const make = (tag, attributes, ...parts) => h(tag, { spellcheck: "false", ...base, ...attributes }, parts);
	if (secret) {
		const node = make("input", { type: "password", autocomplete: "new-password", placeholder: value?.set === false || !known(value) ? "not set" : "set, not shown" });
		return { node, read: () => node.value || undefined };
	}
	if (schema.enum) {
		const node = make("select", {}, h("option", { value: -1 }, "not set"), schema.enum.map((one, i) => h("option", { value: i }, plain(one))));
		node.value = schema.enum.findIndex((one) => plain(one) === plain(value));
		if (known(value)) node.options[0].hidden = true;
		return { node, read: () => schema.enum[node.value] };
	}
	if (schema.type === "boolean") {
		const node = make("input", { type: "checkbox", checked: value === true });
		return { node, read: () => (known(value) || node.checked ? node.checked : undefined) };
	}
	if (isNumber(schema)) {
		const step = schema.multipleOf ?? (schema.type === "integer" ? 1 : "any");
		const node = make("input", { type: "number", min: schema.minimum, max: schema.maximum, step, value: value ?? "" });
		return {
			node,
			read() {
				if (node.validity.badInput) throw new Error("This is no number.");
				return node.value === "" ? undefined : Number(node.value);
			},
		};
	}
	const lines = isList(schema);
	const shown = !known(value) ? "" : isText(schema) ? value : lines ? value.join("\n") : JSON.stringify(value, null, 2);
	const node = isText(schema) ? make("input", { maxlength: schema.maxLength, value: shown }) : make("textarea", { rows: 3, value: shown });
	function read() {
		if (isText(schema)) return known(value) || node.value ? node.value : undefined;
		if (!node.value.trim()) return lines && known(value) ? [] : undefined;
		if (lines) return node.value.split("\n").filter(Boolean);
		try {
			return JSON.parse(node.value);
		} catch (error) {
			throw new Error(`This is no JSON: ${error.message}`);
		}
	}
	return { node, read };
}

let serial = 0;

function field(path, schema, { value, secret, origin }) {
	const id = `field-${(serial += 1)}`;
	const hidden = secret || schema.secret === true;
	const { minimum: low, maximum: high } = schema;
	const hints = joined("; ", schema.description, joined(", ", known(low) && `at least ${number(low)}`, known(high) && `at most ${number(high)}`),
		isList(schema) && "one per line", hidden && "a secret: never shown, empty keeps it", origin && `from ${origin}`);
	const { node: input, read } = control(schema, value, hidden, { id, "aria-describedby": `${id}-hint ${id}-error` });
	const error = h("span.err.small", { id: `${id}-error` });
	const label = h("label.mono", { for: id }, path.at(-1));
	const hint = h("span.small.muted", { id: `${id}-hint` }, hints);
	const check = input.type === "checkbox";
	function complain(text) {
		say(error, text);
		input.setAttribute("aria-invalid", text !== "");
	}
	input.addEventListener("input", () => complain(""));
	return {
		path, complain, focus: () => input.focus(),
		node: check ? h("div.field.check", input, label, hint, error) : h("div.field", label, hint, input, error),
		read() {
			const now = read();
			return !hidden && JSON.stringify(now) === JSON.stringify(value) ? undefined : now;
		},
	};
}

/** What is set, where objects keep what their other fields say. */
function collect(fields, values) {
	const set = {};
	let wrong = null;
	for (const one of fields) {
		one.complain("");
		try {
			const [value, [key, inner]] = [one.read(), one.path];
			if (value !== undefined) set[key] = inner === undefined ? value : { ...values.get(key)?.value, ...set[key], [inner]: value };
		} catch (error) {
			one.complain(error.message);
			wrong ??= one;
		}
	}
	wrong?.focus();
	return wrong ? null : set;
}

function differences(answer) {
	const items = (answer?.changed ?? []).map((one) => h("li", h("span.mono", one.key ?? plain(one)), "after" in Object(one) && `: ${plain(one.before)} → ${plain(one.after)}`));
	return items.length ? h("ul.small", items) : h("p.small", "Nothing.");
}

export function configPanel(name) {
	const body = h("div");
	const node = panel("Configuration", note("from its schema"), body);
	const path = `plugins/${enc(name)}/config`;

	const load = () => api(path).then(draw, (problem) => put(body, h("div.pad", problemBox(problem, button("Try again", load)))));

	function draw({ values: list, schema, etag }) {
		const values = new Map(list.map((v) => [v.key, v]));
		const properties = schema?.properties ?? {};
		const fields = [];
		const add = (...args) => fields[fields.push(field(...args)) - 1].node;
		const nodes = [...new Set([...Object.keys(properties), ...values.keys()])].map((key) => {
			const [one, entry] = [properties[key] ?? {}, values.get(key) ?? {}];
			if (!isGroup(one)) return add([key], one, entry);
			const inner = Object.entries(one.properties).map(([part, its]) => add([key, part], its, { ...entry, value: entry.value?.[part] }));
			return h("fieldset", h("legend.mono", key), inner);
		});
		if (!fields.length) return put(body, none("It takes no settings."));
		const save = h("input", { type: "checkbox", id: "save" });
		const result = h("div", { role: "status" });
		put(body, h("form.form", { novalidate: true, submit: (event) => { event.preventDefault(); send(false); } }, nodes,
			h("div.field.check", save, h("label", { for: "save" }, "Keep it"), h("span.small.muted", "writes it to the configuration file; else it lasts until the host ends")),
			h("div.acts", acting("Apply", () => send(false), ".primary"), acting("Show the change", () => send(true))), result));
		changed(node);

		async function send(dry) {
			const set = collect(fields, values);
			if (!set) return;
			const headers = etag ? { "If-Match": etag } : {};
			try {
				const answer = await api(path, { method: "PUT", headers, body: { set, unset: [], save: save.checked, dry_run: dry } });
				if (!dry) await load();
				put(dry ? result : body.querySelector("[role=status]"), h("p.small", dry ? "It would change:" : `Changed at ${clock(Date.now() / 1000)}:`), differences(answer));
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
			put(result, problemBox(problem, rest.map((one) => h("p.small", `${one.field}: ${one.detail}`)), problem.status === 412 && button("Load it again", load)));
		}
	}
	return { node, load };
}
