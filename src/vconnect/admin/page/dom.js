// Nodes, shapes, small charts, and how numbers are written.
// Every string of the API is hostile: text enters as text nodes only, and only from here.

const SVG = "http://www.w3.org/2000/svg";

// Colors of terminals are left out; characters that hide or reorder text are shown by number.
const COLORS = /\u001b\[[0-9;]*m/g;
const ODD =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const LONGEST = 20000;

export function clean(value) {
  let text = String(value);
  if (text.length > LONGEST) {
    text = `${text.slice(0, LONGEST)} … ${number(text.length - LONGEST)} more characters`;
  }
  return text
    .replace(COLORS, "")
    .replace(ODD, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
}

function fill(node, parts) {
  for (const part of parts.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
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
    else if (value === null || value === undefined || value === false) continue;
    else node.setAttribute(name, value === true ? "" : value);
  }
}

/** h("p.small", {title: "…"}, "text", node): an element; functions in the object listen. */
export function h(spec, ...parts) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  if (tag === "button") node.type = "button";
  return fill(node, parts);
}

export function svg(tag, attributes, ...parts) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
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

// --- Numbers -------------------------------------------------------------------------------

const GAP = "\u00a0";
const THOUSANDS = new Intl.NumberFormat("en-US");

export const NONE = "–";
export const number = (n) => (n === null || n === undefined ? NONE : THOUSANDS.format(n));
export const known = (n) => n !== null && n !== undefined;
export const many = (n, one, more = `${one}s`) => `${number(n)}${GAP}${n === 1 ? one : more}`;

export function time(seconds) {
  if (!known(seconds)) return NONE;
  const us = seconds * 1e6;
  if (us < 999.5) return `${us.toFixed(us < 9.95 ? 1 : 0)}${GAP}µs`;
  const ms = us / 1000;
  if (ms < 999.5) return `${ms.toFixed(ms < 9.95 ? 1 : 0)}${GAP}ms`;
  if (seconds < 99.95) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)}${GAP}s`;
  return span(seconds);
}

/** How long something lasts: 48 s, 26 min, 4 d 03 h. */
export function span(seconds) {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, Math.round(seconds));
  const pad = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s}${GAP}s`;
  if (s < 3600) return `${Math.floor(s / 60)}${GAP}min`;
  const hours = Math.floor(s / 3600);
  if (s < 86400) return `${hours}${GAP}h${GAP}${pad(Math.floor((s % 3600) / 60))}${GAP}min`;
  return `${Math.floor(hours / 24)}${GAP}d${GAP}${pad(hours % 24)}${GAP}h`;
}

export function rate(perSecond) {
  if (!known(perSecond)) return NONE;
  if (perSecond > 0 && perSecond < 0.1) return `<${GAP}0.1`;
  return perSecond < 99.95 ? String(Math.round(perSecond * 10) / 10) : number(Math.round(perSecond));
}

export function bytes(n) {
  if (!known(n)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let value = n;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${value < 10 && at > 1 ? value.toFixed(1) : number(Math.round(value))}${GAP}${units[at]}`;
}

export const percent = (n) => (known(n) ? `${Math.round(n)}${GAP}%` : NONE);
export const capital = (word) => (word ? word[0].toUpperCase() + word.slice(1) : "");

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric" });

export function clock(unix, thousandths = false) {
  if (!known(unix)) return NONE;
  const text = CLOCK.format(unix * 1000);
  return thousandths ? `${text}.${String(Math.floor((unix % 1) * 1000)).padStart(3, "0")}` : text;
}

/** A time for the reader, with UTC in its title; the day stands with it if it is not today. */
export function when(unix, thousandths = false) {
  if (!known(unix)) return h("span", NONE);
  const utc = new Date(unix * 1000).toISOString();
  const old = Date.now() / 1000 - unix > 86400;
  const day = old ? `${DAY.format(unix * 1000)} ` : "";
  return h("time", { datetime: utc, title: `${utc.replace("T", " ").replace("Z", "")} UTC` },
    day + clock(unix, thousandths));
}

// --- Shapes: state is shape, word and color ------------------------------------------------

const SHAPES = {
  running: ["circle", { cx: 7, cy: 7, r: 5.5, class: "f" }],
  starting: ["circle", { cx: 7, cy: 7, r: 5, class: "l" }, "path", { d: "M7 2a5 5 0 010 10z", class: "f" }],
  error: ["path", { d: "M7 1l6.3 11.5H.7z", class: "f" }],
  barred: ["circle", { cx: 7, cy: 7, r: 5.2, class: "l" }, "path", { d: "M3.4 10.6l7.2-7.2", class: "l" }],
  quarantine: ["path", { d: "M7 .8L13.2 7 7 13.2.8 7z", class: "f" }],
  stopped: ["circle", { cx: 7, cy: 7, r: 5, class: "l" }],
  installed: ["rect", { x: 2, y: 2, width: 10, height: 10, class: "l" }],
};
const TONES = {
  running: "ok", starting: "warn", error: "bad", barred: "bad", quarantine: "bad",
  stopped: "idle", installed: "idle",
};

export const tone = (name) => TONES[name] ?? "idle";

export function shape(name, size = 14) {
  const parts = SHAPES[name] ?? SHAPES.stopped;
  const node = svg("svg", { class: "shape", width: size, height: size, viewBox: "0 0 14 14", "aria-hidden": "true" });
  for (let i = 0; i < parts.length; i += 2) node.append(svg(parts[i], parts[i + 1]));
  return node;
}

export function badge(shapeName, word, size) {
  return h(`span.state.s-${tone(shapeName)}`, shape(shapeName, size), capital(clean(word)));
}

// --- Small charts --------------------------------------------------------------------------

export const SLOTS = 60;

/** A sparkline of the last minute: the newest value is at the right edge. */
export function spark(width, height) {
  const area = svg("polygon", { class: "area" });
  const line = svg("polyline", { class: "line" });
  const node = svg("svg", { class: "spark", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, area, line);
  function draw(values) {
    const seen = values.filter(known);
    if (seen.length < 2) {
      line.removeAttribute("points");
      area.removeAttribute("points");
      return;
    }
    const top = Math.max(...seen, 1e-9) * 1.12;
    const step = width / (SLOTS - 1);
    const points = [];
    values.forEach((value, i) => {
      if (!known(value)) return;
      const x = width - (values.length - 1 - i) * step;
      points.push(`${x.toFixed(1)},${(height - 1 - (value / top) * (height - 3)).toFixed(1)}`);
    });
    const first = points[0].split(",")[0];
    line.setAttribute("points", points.join(" "));
    area.setAttribute("points", `${first},${height} ${points.join(" ")} ${width},${height}`);
  }
  return { node, draw };
}

/** p50 · p99 above a bar on a logarithmic axis from 10 µs to 10 s. */
export function latency() {
  const p50 = h("span.muted");
  const p99 = h("b");
  const of = h("span.of");
  const bar = svg("rect", { class: "span", y: 2, height: 3, rx: 1.5 });
  const dot = svg("circle", { class: "dot", cy: 3.5, r: 2.6 });
  const axis = svg("rect", { class: "axis", y: 2.5, width: 98, height: 2, rx: 1 });
  const picture = svg("svg", { width: 98, height: 7, viewBox: "0 0 98 7", "aria-hidden": "true" }, axis, bar, dot);
  const words = h("span.nowrap", p50, h("span.muted", " · "), p99);
  const none = h("span.muted", NONE);
  const node = h("span.lat", words, h("span.axisline", of, picture), none);
  const at = (seconds) => Math.min(95, Math.max(3, ((Math.log10(seconds * 1e6) - 1) / 6) * 98));
  function draw(value, toneName = "") {
    const there = Boolean(value && known(value.p99_s));
    words.hidden = of.parentNode.hidden = !there;
    none.hidden = there;
    node.className = `lat ${toneName && `t-${toneName}`}`;
    if (!there) return;
    say(p50, time(value.p50_s));
    say(p99, time(value.p99_s));
    p99.className = toneName && `s-${toneName}`;
    say(of, value.count < 100 ? `of ${number(value.count)}` : "");
    node.title = `p50 and p99 of ${many(value.count, "answer")}`;
    const [left, right] = [at(value.p50_s || 1e-6), at(value.p99_s)];
    bar.setAttribute("x", left);
    bar.setAttribute("width", Math.max(3, right - left));
    dot.setAttribute("cx", left);
  }
  return { node, draw };
}

// --- Parts that views share ----------------------------------------------------------------

export function panel(title, { note, right, label = title } = {}, ...body) {
  const head = h("div.head", h("h2", title), note, right && h("span.right", right));
  return h("section.panel", { "aria-label": label }, head, body);
}

export function problemBox(problem, act) {
  return h("div.problem", { role: "alert" },
    badge("error", problem.title || "It did not work"),
    h("p", problem.detail),
    problem.next && h("p.small", h("b", "Next: "), problem.next),
    act);
}

/** Copies where the browser lets us; else the text stays selected for Ctrl C. */
export async function copy(text, field) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(field);
    return false;
  }
}

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
