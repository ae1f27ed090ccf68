// Nodes, shapes, small charts, and how numbers are written.
// Every string of the API is hostile: text enters as text nodes only, and only through `fill`.

const SVG = "http://www.w3.org/2000/svg";
const MOST = 20000;

// Colors of terminals are left out; what hides or reorders text is shown by its number.
const COLORS = /\u001b\[[0-9;]*m/g;
const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export function clean(value) {
	const text = String(value);
	return (text.length > MOST ? `${text.slice(0, MOST)} … cut` : text).replace(COLORS, "")
		.replace(ODD, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function fill(node, parts) {
	for (const part of parts.flat(9)) {
		if (part === null || part === undefined || part === false || part === "") continue;
		if (part instanceof Node) node.append(part);
		else if (typeof part === "object") set(node, part);
		else node.append(clean(part));
	}
	return node;
}

function set(node, attributes) {
	for (const [name, value] of Object.entries(attributes)) {
		if (typeof value === "function") node.addEventListener(name, value);
		else if (name === "value" || name === "checked") node[name] = value;
		else if (name === "label") node.ariaLabel = clean(value);
		else if (known(value) && value !== false) node.setAttribute(name, value === true ? "" : value);
	}
}

/** h("p.small", {title: "…"}, "text", node): functions in the object listen. */
export function h(spec, ...parts) {
	const [tag, ...classes] = spec.split(".");
	const node = document.createElement(tag);
	if (classes.length) node.className = classes.join(" ");
	if (tag === "button") node.type = "button";
	return fill(node, parts);
}

export function svg(tag, attributes, ...parts) {
	const node = document.createElementNS(SVG, tag);
	set(node, attributes);
	return fill(node, parts);
}

export function put(node, ...parts) {
	node.replaceChildren();
	return fill(node, parts);
}

/** Writes only what changed: most cells stay the same from second to second. */
export function say(node, text) {
	const shown = clean(text);
	if (node.textContent !== shown) node.textContent = shown;
}

export function every(seconds, act) {
	const timer = setInterval(act, seconds * 1000);
	return () => clearInterval(timer);
}

// Numbers

export const NONE = "–";
export const known = (n) => n !== null && n !== undefined;
const GAP = "\u00a0";
const THOUSANDS = new Intl.NumberFormat("en-US");
const short = (n) => n.toFixed(n < 9.95 ? 1 : 0);

export const number = (n) => (known(n) ? THOUSANDS.format(n) : NONE);
export const many = (n, one) => `${number(n)}${GAP}${one}${n === 1 ? "" : "s"}`;
export const percent = (n) => (known(n) ? `${Math.round(n)}${GAP}%` : NONE);
export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);
export const spaced = (word) => String(word ?? "").replaceAll("_", " ");

export function time(s) {
	if (!known(s)) return NONE;
	if (s < 0.0009995) return `${short(s * 1e6)}${GAP}µs`;
	if (s < 0.9995) return `${short(s * 1e3)}${GAP}ms`;
	return s < 99.95 ? `${short(s)}${GAP}s` : span(s);
}

/** How long something lasts: 48 s, 26 min, 4 d 03 h. */
export function span(s) {
	if (!known(s)) return NONE;
	const part = (n, unit, digits = 1) => String(Math.floor(n)).padStart(digits, "0") + GAP + unit;
	if (s < 60) return part(s, "s");
	if (s < 3600) return part(s / 60, "min");
	if (s < 86400) return part(s / 3600, "h") + GAP + part((s / 60) % 60, "min", 2);
	return part(s / 86400, "d") + GAP + part((s / 3600) % 24, "h", 2);
}

export function rate(n) {
	if (n > 0 && n < 0.1) return `<${GAP}0.1`;
	return known(n) ? number(n < 99.95 ? Math.round(n * 10) / 10 : Math.round(n)) : NONE;
}

export function bytes(n) {
	if (!known(n)) return NONE;
	const at = n < 1024 ? 0 : Math.floor(Math.log2(n) / 10);
	return `${short(n / 1024 ** at)}${GAP}${["B", "KiB", "MiB", "GiB", "TiB"][at]}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric" });
export const day = (unix) => DAY.format(unix * 1000);

export function clock(unix, exact) {
	if (!known(unix)) return NONE;
	return CLOCK.format(unix * 1000) + (exact ? `.${String(Math.floor((unix % 1) * 1000)).padStart(3, "0")}` : "");
}

/** A time for the reader, with UTC in its title; the day stands with it if it is long ago. */
export function when(unix, exact) {
	if (!known(unix)) return NONE;
	const utc = new Date(unix * 1000).toISOString();
	const old = Date.now() / 1000 - unix > 86400;
	return h("time", { datetime: utc, title: utc }, old && `${day(unix)} `, clock(unix, exact));
}

// Shapes: state is shape, word and color

// [tone, what is filled, what is outlined]
const RING = "M2 7a5 5 0 1010 0 5 5 0 10-10 0";
const SHAPES = {
	running: ["ok", "M1.5 7a5.5 5.5 0 1011 0 5.5 5.5 0 10-11 0"],
	starting: ["warn", "M7 2a5 5 0 010 10z", RING],
	error: ["bad", "M7 1l6.3 11.5H.7z"],
	barred: ["bad", "", `${RING}M3.4 10.6l7.2-7.2`],
	quarantine: ["bad", "M7 .8L13.2 7 7 13.2.8 7z"],
	stopped: ["idle", "", RING],
	installed: ["idle", "", "M2 2h10v10H2z"],
};
const shapeOf = (name) => (Object.hasOwn(SHAPES, name) ? SHAPES[name] : SHAPES.stopped);
export const tone = (name) => shapeOf(name)[0];

export function shape(name, size = 14) {
	const [, filled, outlined = ""] = shapeOf(name);
	return svg("svg", { class: "shape", width: size, height: size, viewBox: "0 0 14 14", "aria-hidden": "true" },
		svg("path", { class: "f", d: filled }), svg("path", { class: "l", d: outlined }));
}

export const badge = (name, word, size) => h(`span.state.s-${tone(name)}`, shape(name, size), capital(clean(word)));

// Small charts

export const SLOTS = 60;

/** A sparkline of the last minute: the newest value is at the right edge. */
export function spark(width, height) {
	const area = svg("polygon", { class: "area" });
	const line = svg("polyline", { class: "line" });
	const node = svg("svg", { class: "spark", width, height, "aria-hidden": "true" }, area, line);
	function draw(values = []) {
		const top = Math.max(...values.map((v) => v ?? 0), 1e-9) * 1.12;
		const x = (i) => (width - ((values.length - 1 - i) * width) / (SLOTS - 1)).toFixed(1);
		const points = values.flatMap((v, i) => (known(v) ? [`${x(i)},${(height - 1 - (v / top) * (height - 3)).toFixed(1)}`] : []));
		set(line, { points: points.join(" ") });
		set(area, { points: points.length ? `${points[0].split(",")[0]},${height} ${points.join(" ")} ${width},${height}` : "" });
	}
	return { node, draw };
}

/** p50 · p99 above a bar on a logarithmic axis from 10 µs to 10 s. */
export function latency() {
	const [p50, p99, of] = [h("span.muted"), h("b"), h("span")];
	const bar = svg("rect", { class: "span", y: 2, height: 3, rx: 1.5 });
	const dot = svg("circle", { class: "dot", cy: 3.5, r: 2.6 });
	const axis = svg("rect", { class: "axis", y: 2.5, width: 98, height: 2, rx: 1 });
	const node = h("span");
	const parts = [h("span.nowrap", p50, h("span.muted", " · "), p99),
		h("span.axisline", of, svg("svg", { width: 98, height: 7, "aria-hidden": "true" }, axis, bar, dot))];
	const at = (seconds) => Math.min(95, Math.max(3, (Math.log10(seconds || 1e-6) + 5) * 16.3));
	function draw(value, kind = "") {
		const there = known(value?.p99_s);
		node.className = `lat t-${kind}`;
		if (!there) return say(node, NONE);
		if (!node.children.length) put(node, parts);
		say(p50, time(value.p50_s));
		say(p99, time(value.p99_s));
		p99.className = `s-${kind}`;
		say(of, value.count < 100 ? `of ${number(value.count)}` : "");
		node.title = `p50 and p99 of ${many(value.count, "answer")}`;
		const left = at(value.p50_s);
		set(bar, { x: left, width: Math.max(3, at(value.p99_s) - left) });
		set(dot, { cx: left });
	}
	return { node, draw };
}

// Parts that views share

export const note = (...parts) => h("span.muted.small", parts);
export const none = (...parts) => h("p.none.muted", parts);
export const list = (items, make, otherwise) => (items.length ? h("ul.list", items.map(make)) : none(otherwise));
export const region = (spec, label, ...parts) => h(spec, { tabindex: 0, role: "region", label }, parts);
export const button = (word, click, kind = "") => h(`button${kind}`, { click }, word);

/** A button that changes something: the frame switches it off without the role or the connection. */
export const acting = (word, click, kind = "") => h(`button${kind}`, { click, "data-order": true }, word);

/** The frame hears that there are new buttons. */
export const changed = (node, what = "gate") => node.dispatchEvent(new CustomEvent(what, { bubbles: true }));

export function panel(title, head, ...body) {
	return h("section.panel", { label: title }, h("div.head", h("h2", title), head), body);
}

/** A "#" before a heading: a column of numbers. */
export function table(kind, headings, body) {
	const head = headings.map((word) => h(word.startsWith("#") ? "th.num" : "th", { scope: "col" }, word.replace("#", "")));
	return h(`table.${kind}`, h("thead", h("tr", head)), body instanceof Node ? body : h("tbody", body));
}

/** New choices keep what was chosen. */
export function choices(select, values, words = values) {
	const old = [...select.options].map((o) => o.value);
	if (JSON.stringify(old) !== JSON.stringify(values)) {
		const kept = select.value;
		put(select, values.map((value) => h("option", { value })));
		if (values.includes(kept)) select.value = kept;
	}
	words.forEach((word, i) => say(select.options[i], word));
}

export const step = (next) => next && h("p.small", h("b", "Next: "), next);

export function problemBox({ title, detail, next }, ...more) {
	return h("div.problem", { role: "alert" }, badge("error", title || "It did not work"), h("p", detail), step(next), more);
}

export const search = (attributes) => h("input", { type: "search", spellcheck: "false", size: 13, ...attributes });

/** A dialog with its title and what it says; it gives focus back. Returns how to close it. */
export function dialog([title, ...words], ...parts) {
	const before = document.activeElement;
	const node = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-words" }, h("h2", { id: "dialog-title" }, title), h("p", { id: "dialog-words" }, words), parts);
	node.addEventListener("close", () => {
		node.remove();
		before.focus({ preventScroll: true });
	});
	document.body.append(node);
	node.showModal();
	return () => node.close();
}

/** Press: what a toggle says, and whether it is on. */
export function press(toggle, on, word) {
	say(toggle, word);
	toggle.ariaPressed = Boolean(on);
}

/** What there is of the words. */
export const joined = (between, ...words) => words.filter((word) => known(word) && word !== false && word !== 0 && word !== "").join(between);

export const quoted = (text) => (/^[\w.@/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export function remembered(key, fallback) {
	try {
		return localStorage.getItem(`vconnect.${key}`) ?? fallback;
	} catch {
		return fallback;
	}
}

export function remember(key, value) {
	try {
		localStorage.setItem(`vconnect.${key}`, value);
	} catch {
		// Without storage the choice lasts as long as the page.
	}
}
