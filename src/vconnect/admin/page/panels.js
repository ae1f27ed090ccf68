// Panels of a plugin's page: its log, its latency, its configuration.

import {
  capital, clean, clock, h, known, many, number, panel, percent, problemBox, put, say, svg, time, when,
} from "./dom.js";
import { api, enc, store } from "./live.js";

// --- Log -----------------------------------------------------------------------------------

const MOST_LINES = 2000;
const LEVELS = ["trace", "debug", "info", "warn", "error"];

function matcher(text) {
  if (!text) return null;
  const source = /^\/(.+)\/$/.exec(text)?.[1] ?? text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  try {
    return new RegExp(source, "gi");
  } catch {
    return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
  }
}

function marked(text, match) {
  if (!match) return text;
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(match)) {
    if (!found[0]) continue;
    parts.push(text.slice(from, found.index), h("mark", found[0]));
    from = found.index + found[0].length;
  }
  return [...parts, text.slice(from)];
}

function fieldsOf(record) {
  const fields = Object.entries(record.fields ?? {});
  return fields.map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`).join("");
}

/** The log stays where the reader is: only following moves it, and only the reader follows. */
export function logPanel(name, onLevel) {
  const box = h("div.log.mono", { role: "log", tabindex: 0, "aria-label": `Log of ${clean(name)}`, "aria-live": "off" });
  const level = h("select", { "aria-label": "Level" },
    LEVELS.map((one) => h("option", { value: one }, one === "error" ? "errors" : one === "trace" ? "all" : `${one} and above`)));
  level.value = "info";
  const filter = h("input", { type: "search", "aria-label": "Filter the log", placeholder: "Filter", size: 14, title: "Text, or /expression/" });
  const button = h("button.follow");
  const more = h("button.more", { hidden: true, click: () => follow() });
  const note = h("p.none.muted", { hidden: true });
  const node = panel("Log", { note: level, right: [filter, button] }, h("div.logframe", box, note, more));

  let last = -1; // number of the newest record taken
  let early = []; // what the stream brings before the history is there
  let pending = []; // what came while the reader reads
  let missed = 0;
  let paused = null; // "scroll" or "button"
  let match = null;
  let ready = false;
  let lastTop = 0;
  let asked = 0; // a slower answer for another level is not taken

  function line(record) {
    const host = record.stream === "host";
    const text = record.text + fieldsOf(record);
    const node = h(`div.line.l-${LEVELS.includes(record.level) ? record.level : "info"}${host ? ".host" : ""}`,
      h("span.t", when(record.time, true)),
      h("span.lv", host ? "HOST" : record.level === "error" || record.level === "warn" ? record.level.toUpperCase() : String(record.level ?? "").toUpperCase()),
      h("span.m"));
    node.record = text;
    show(node);
    return node;
  }

  function show(node) {
    const text = clean(node.record);
    const fits = !match || text.search(match) >= 0;
    node.hidden = !fits;
    put(node.lastChild, fits ? marked(text, match) : text);
  }

  const gap = (text) => h("div.line.gap", h("span.m", `-- ${text} --`));

  function append(nodes) {
    box.append(...nodes);
    while (box.children.length > MOST_LINES) box.firstChild.remove();
    box.scrollTop = box.scrollHeight;
    lastTop = box.scrollTop;
    sayEmpty();
  }

  function sayEmpty() {
    const lines = box.querySelectorAll(".line").length;
    const seen = box.querySelectorAll(".line:not([hidden])").length;
    note.hidden = !ready || seen > 0;
    say(note, lines ? "No line fits the filter." : level.value === "trace" ? "It has printed nothing yet." : `It has printed nothing yet at ${level.selectedOptions[0].textContent}.`);
  }

  function take(records) {
    const fresh = records.filter((r) => !known(r.seq) || r.seq > last);
    if (!fresh.length) return;
    last = Math.max(last, ...fresh.map((r) => r.seq ?? -1));
    if (!paused) return append(fresh.map(line));
    pending.push(...fresh);
    missed += fresh.length;
    if (pending.length > MOST_LINES) pending.splice(0, pending.length - MOST_LINES);
    buttons();
  }

  function buttons() {
    more.hidden = !paused || !missed;
    say(more, `↓ ${missed === 1 ? "1 new line" : `${number(missed)} new lines`} · follow`);
    say(button, paused ? "Paused · follow" : "Pause");
    button.setAttribute("aria-pressed", String(Boolean(paused)));
    box.setAttribute("aria-live", paused ? "off" : "polite");
  }

  function follow() {
    paused = null;
    const skipped = missed - pending.length;
    append([...(skipped > 0 ? [gap(`${many(skipped, "line")} not kept by this page`)] : []), ...pending.map(line)]);
    pending = [];
    missed = 0;
    buttons();
  }

  function pause(how) {
    paused = paused === "button" ? paused : how;
    buttons();
  }

  box.addEventListener("scroll", () => {
    const up = box.scrollTop < lastTop;
    const bottom = box.scrollHeight - box.scrollTop - box.clientHeight < 4;
    lastTop = box.scrollTop;
    if (!paused && up && !bottom) pause("scroll");
    else if (paused === "scroll" && bottom && !up) follow();
  });
  button.addEventListener("click", () => (paused ? follow() : pause("button")));
  filter.addEventListener("input", () => {
    match = matcher(filter.value.trim());
    for (const one of box.children) if (one.record !== undefined) show(one);
    if (!paused) box.scrollTop = box.scrollHeight;
    sayEmpty();
  });
  level.addEventListener("change", () => {
    onLevel(level.value);
    load();
  });

  /** History first, then what the stream brought meanwhile: one sequence, no gap, nothing twice. */
  async function load({ after } = {}) {
    const turn = (asked += 1);
    ready = false;
    early = [];
    if (after === undefined) {
      put(box);
      last = -1;
      pending = [];
      missed = 0;
      paused = null;
    }
    try {
      const query = new URLSearchParams({ lines: after === undefined ? 500 : 1000, level: level.value });
      if (after !== undefined) query.set("after", after);
      const answer = await api(`plugins/${enc(name)}/logs?${query}`);
      if (turn !== asked) return;
      if (answer.dropped > 0 && !paused) append([gap(`${many(answer.dropped, "line")} lost: the host keeps no more`)]);
      take(answer.records);
    } catch (problem) {
      if (turn !== asked) return;
      if (store.link === "live" && !paused) append([gap(`the log does not come: ${problem.detail}`)]);
    }
    ready = true;
    take(early);
    early = [];
    buttons();
    sayEmpty();
  }

  buttons();
  return {
    node, filter, load,
    stream(data) {
      if (data.plugin !== name) return;
      if (ready) take(data.records);
      else early.push(...data.records);
    },
    dropped: (count) => !paused && append([gap(`${many(count, "line")} not shown: this browser is too slow`)]),
    catchUp: () => ready && load({ after: Math.max(last, 0) }),
    reborn() {
      last = -1;
      if (!paused) append([gap("the host began anew")]);
    },
    follow, toggle: () => button.click(), level: () => level.value,
    focus: () => box.focus(),
    end(where) {
      box.scrollTop = where === "top" ? 0 : box.scrollHeight;
      if (where !== "top" && paused) follow();
    },
  };
}

// --- Latency -------------------------------------------------------------------------------

/** The lower bound of a cell: there are four to each octave. */
function lower(upper) {
  const octave = 2 ** Math.ceil(Math.log2(upper * 1e6) - 1e-9) / 2;
  return Math.max(upper - octave / 4 / 1e6, upper * 0.75);
}

function summary(row) {
  if (!row.count) return "No answer in the last minute.";
  const deadline = row.timeout_s;
  const late = row.outcomes?.late ?? 0;
  const end = known(deadline)
    ? `${late ? `${many(late, "answer")} came` : "None came"} after the deadline of ${time(deadline)}.` : "It has no deadline.";
  return `${many(row.count, "answer")} in the last minute: half within ${time(row.p50_s)}, 99 of 100 within ${time(row.p99_s)}. ${end}`;
}

function picture(row) {
  const cells = row.cells;
  if (!cells.length) return null;
  const low = Math.min(lower(cells[0][0]), row.timeout_s ?? Infinity) * 0.8;
  const high = Math.max(cells.at(-1)[0], row.timeout_s ?? 0) * 1.25;
  const at = (seconds) => (Math.log10(seconds / low) / Math.log10(high / low)) * 1000;
  const top = Math.max(...cells.map(([, count]) => count));
  const bars = svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const [upper, count] of cells) {
    const [left, right] = [at(lower(upper)), at(upper)];
    const height = Math.max(1.5, (count / top) * 100);
    const late = known(row.timeout_s) && upper > row.timeout_s * 1.001;
    bars.append(svg("rect", { x: left + 1, y: 100 - height, width: Math.max(2, right - left - 2), height, class: late ? "late" : "" }));
  }
  const plot = h("div.plot", bars);
  if (known(row.timeout_s)) {
    const place = at(row.timeout_s) / 10;
    const mark = h("div.deadline", h("span", `deadline ${time(row.timeout_s)}`));
    mark.style.left = `${place}%`;
    if (place < 40) mark.classList.add("right");
    plot.append(mark);
  }
  return h("div.histogram", { "aria-hidden": "true" }, plot, axis(low, high, at));
}

function axis(low, high, at) {
  const ticks = h("div.ticks");
  const decades = [];
  for (let e = -6; e <= 2; e += 1) if (10 ** e >= low && 10 ** e <= high) decades.push(10 ** e);
  const marks = decades.length > 1 ? decades : [low, high];
  for (const value of marks) {
    const tick = h("span", time(value));
    const place = at(value) / 10;
    tick.style.left = `${place}%`;
    if (place < 6) tick.classList.add("first");
    if (place > 94) tick.classList.add("last");
    ticks.append(tick);
  }
  return ticks;
}

export function latencyPanel() {
  const select = h("select", { "aria-label": "Event", change: () => draw() });
  const drawing = h("div");
  const text = h("p.small");
  const numbers = h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Numbers of the latency" });
  const details = h("details", h("summary", "Show numbers"), numbers);
  const node = panel("Latency, last minute", { right: select }, h("div.pad", drawing, text, details));
  let rows = [];

  function draw() {
    const row = rows.find((r) => r.event === select.value) ?? rows[0];
    select.hidden = rows.length < 2;
    details.hidden = !row?.cells?.length;
    say(text, row ? summary(row) : "No event was sent to it in the last minute.");
    put(drawing, row ? picture(row) : null);
    if (!row) return;
    const outcomes = Object.entries(row.outcomes ?? {}).filter(([, n]) => n > 0).map(([word, n]) => `${word.replace("_", " ")} ${number(n)}`);
    put(numbers,
      h("table", h("caption.small.muted", `${row.event}${known(row.share) ? `: ${percent(row.share * 100)} of its chain's time` : ""}`),
        h("thead", h("tr", h("th", { scope: "col" }, "Up to"), h("th.num", { scope: "col" }, "Answers"))),
        h("tbody", row.cells.map(([upper, count]) => h("tr", h("td", time(upper)), h("td.num", number(count)))))),
      outcomes.length > 0 && h("p.small.muted", `Outcomes: ${outcomes.join(", ")}`));
  }

  return {
    node,
    draw(next) {
      rows = next;
      const kept = select.value;
      const names = rows.map((r) => r.event);
      if ([...select.options].map((o) => o.value).join("\n") !== names.join("\n")) {
        put(select, names.map((event) => h("option", { value: event }, event)));
        if (names.includes(kept)) select.value = kept;
      }
      draw();
    },
  };
}

// --- Configuration -------------------------------------------------------------------------

let serial = 0;
const isList = (schema) => schema.type === "array" && schema.items?.type === "string" && !schema.items.enum;

function bounds(schema) {
  const { minimum: low, maximum: high } = schema;
  if (known(low) && known(high)) return `${number(low)} to ${number(high)}`;
  if (known(low)) return `at least ${number(low)}`;
  return known(high) ? `at most ${number(high)}` : "";
}

/** One input: {node, read()} where read gives undefined for "leave as it is", or throws a text. */
function input(schema, value, secret, attributes) {
  if (secret) {
    const isSet = value?.set === true || (known(value) && value?.set === undefined);
    const node = h("input", { type: "password", autocomplete: "new-password", placeholder: isSet ? "set, not shown" : "not set", ...attributes });
    return { node, read: () => (node.value === "" ? undefined : node.value) };
  }
  if (Array.isArray(schema.enum)) {
    const choices = schema.enum.map((one, i) => h("option", { value: String(i) }, typeof one === "string" ? one : JSON.stringify(one)));
    const node = h("select", attributes, !known(value) && h("option", { value: "" }, "not set"), choices);
    const at = schema.enum.findIndex((one) => JSON.stringify(one) === JSON.stringify(value));
    node.value = at < 0 ? "" : String(at);
    return { node, read: () => (node.value === "" ? undefined : schema.enum[Number(node.value)]) };
  }
  if (schema.type === "boolean") {
    const node = h("input", { type: "checkbox", ...attributes, checked: value === true });
    return { node, read: () => (known(value) || node.checked ? node.checked : undefined) };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const node = h("input", {
      type: "number", inputmode: "decimal", min: schema.minimum, max: schema.maximum,
      step: schema.multipleOf ?? (schema.type === "integer" ? 1 : "any"), ...attributes, value: value ?? "",
    });
    const read = () => {
      if (node.validity.badInput) throw new Error("This is not a number.");
      return node.value === "" ? undefined : Number(node.value);
    };
    return { node, read };
  }
  if (isList(schema)) {
    const node = h("textarea", { rows: 3, spellcheck: "false", ...attributes, value: (value ?? []).join("\n") });
    const read = () => {
      const lines = node.value.split("\n").filter(Boolean);
      return known(value) || lines.length ? lines : undefined;
    };
    return { node, read };
  }
  if (schema.type === "string") {
    const node = h("input", { type: "text", spellcheck: "false", maxlength: schema.maxLength, ...attributes, value: value ?? "" });
    return { node, read: () => (known(value) || node.value ? node.value : undefined) };
  }
  const node = h("textarea", { rows: 4, spellcheck: "false", ...attributes, value: known(value) ? JSON.stringify(value, null, 2) : "" });
  const read = () => {
    if (!node.value.trim()) return undefined;
    try {
      return JSON.parse(node.value);
    } catch (error) {
      throw new Error(`This is no JSON: ${error.message}`);
    }
  };
  return { node, read };
}

function field(path, schema, entry) {
  serial += 1;
  const [id, hintId, errorId] = [`f${serial}`, `h${serial}`, `e${serial}`];
  const secret = entry.secret || schema.secret === true || schema.writeOnly === true;
  const hints = [schema.description, bounds(schema), isList(schema) && "one per line",
    secret && "a secret: never shown, empty keeps it", known(schema.default) && !secret && `default ${JSON.stringify(schema.default)}`,
    entry.origin && `from ${entry.origin}`].filter(Boolean);
  const control = input(schema, entry.value, secret, { id, "aria-describedby": `${hintId} ${errorId}` });
  const error = h("span.err.small", { id: errorId });
  const label = [schema.title && schema.title !== path.at(-1) ? `${schema.title} ` : "", h("span.mono", path.at(-1))];
  const hint = h("span.small.muted", { id: hintId }, hints.join("; "));
  const check = control.node.type === "checkbox";
  const node = h(`div.field${check ? ".check" : ""}`, check && control.node, h("label", { for: id }, label), hint, !check && control.node, error);
  const before = JSON.stringify(entry.value);

  function complain(text) {
    say(error, text);
    if (text) control.node.setAttribute("aria-invalid", "true");
    else control.node.removeAttribute("aria-invalid");
  }
  control.node.addEventListener("input", () => complain(""));
  function read() {
    const value = control.read();
    return value === undefined || (!secret && JSON.stringify(value) === before) ? undefined : value;
  }
  return { path, node, control: control.node, read, complain };
}

/** "limits.max", "/limits/max" and "config.limits.max" all name the same field. */
function fieldAt(fields, name) {
  const path = String(name).replace(/^[/.$]+/, "").split(/[/.]/);
  const ends = (f) => f.path.every((part, i) => path[path.length - f.path.length + i] === part);
  return fields.find(ends) ?? fields.find((f) => path.includes(f.path[0]));
}

const isGroup = (schema) => schema.type === "object" && Object.keys(schema.properties ?? {}).length > 0;

function build(config) {
  const values = new Map(config.values.map((v) => [v.key, v]));
  const properties = Object.entries(config.schema?.properties ?? {});
  const keys = new Set([...properties.map(([key]) => key), ...values.keys()]);
  const schemas = Object.fromEntries(properties);
  const fields = [];
  const nodes = [...keys].map((key) => {
    const schema = schemas[key] ?? {};
    const entry = values.get(key) ?? {};
    if (!isGroup(schema)) {
      fields.push(field([key], schema, entry));
      return fields.at(-1).node;
    }
    const inner = Object.entries(schema.properties).map(([name, one]) => {
      const made = field([key, name], one, { value: entry.value?.[name], secret: one.secret, origin: entry.origin });
      fields.push(made);
      return made.node;
    });
    return h("fieldset", h("legend", h("span.mono", key), schema.description && h("span.small.muted", ` ${schema.description}`)), inner);
  });
  return { fields, nodes, values };
}

function changed(answer) {
  const show = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));
  return (answer?.changed ?? []).map((one) => {
    if (typeof one === "string") return h("li", h("span.mono", one));
    const name = one.key ?? one.field ?? one.name ?? "";
    return h("li", h("span.mono", name), "before" in one || "after" in one ? `: ${show(one.before)} → ${show(one.after)}` : "");
  });
}

export function configPanel(name) {
  const body = h("div");
  const node = panel("Configuration", { note: h("span.muted.small", "from its schema") }, body);
  let etag = "";

  async function load() {
    try {
      draw(await api(`plugins/${enc(name)}/config`));
    } catch (problem) {
      put(body, h("div.pad", problemBox(problem, h("button", { click: load }, "Try again"))));
    }
  }

  function draw(config) {
    etag = config.etag ?? "";
    const { fields, nodes, values } = build(config);
    if (!fields.length) return put(body, h("p.none.muted", "It takes no settings."));
    const result = h("div.result", { role: "status" });
    const save = h("input", { type: "checkbox", id: "config-save" });
    const form = h("form.form", { novalidate: true, submit: (event) => { event.preventDefault(); send(false); } }, nodes,
      h("div.field.check", save, h("label", { for: "config-save" }, "Keep it"), h("span.small.muted", "writes it to the configuration file; else it lasts until the host ends")),
      h("div.acts", h("button.primary", { "data-order": true, click: () => send(false) }, "Apply"),
        h("button", { "data-order": true, click: () => send(true) }, "Show the change")), result);
    put(body, form);
    node.dispatchEvent(new CustomEvent("gate", { bubbles: true }));

    function collect() {
      const set = {};
      let bad = null;
      for (const one of fields) {
        one.complain("");
        try {
          const value = one.read();
          if (value === undefined) continue;
          const [key, inner] = one.path;
          if (inner === undefined) set[key] = value;
          else set[key] = { ...values.get(key)?.value, ...set[key], [inner]: value };
        } catch (error) {
          one.complain(error.message);
          bad ??= one;
        }
      }
      bad?.control.focus();
      return bad ? null : set;
    }

    async function send(dry) {
      const set = collect();
      if (!set) return;
      if (!Object.keys(set).length && !(save.checked && !dry)) return put(result, h("p.small.muted", "Nothing is changed."));
      try {
        const answer = await api(`plugins/${enc(name)}/config`, {
          method: "PUT", body: { set, unset: [], save: save.checked, dry_run: dry }, timeout: 60,
          headers: etag ? { "If-Match": etag } : {},
        });
        const list = changed(answer);
        if (!dry) await load();
        const words = dry ? "It would change:" : `Applied at ${clock(Date.now() / 1000)}:`;
        const place = dry ? result : body.querySelector(".result");
        put(place, list.length ? [h("p.small", h("b", words)), h("ul.small", list)] : h("p.small", dry ? "It would change nothing." : "Applied."));
      } catch (problem) {
        refuse(problem);
      }
    }

    function refuse(problem) {
      let first = null;
      const rest = [];
      for (const { field: place, detail } of problem.errors) {
        const one = fieldAt(fields, place);
        if (one) one.complain(detail);
        else rest.push(h("li", h("span.mono", place), `: ${detail}`));
        first ??= one;
      }
      first?.control.focus();
      const again = problem.status === 412 && h("button", { click: load }, "Load it again");
      put(result, problemBox({ ...problem, title: capital(problem.title || "It is refused"), detail: problem.detail, next: problem.next },
        [rest.length > 0 && h("ul.small", rest), again]));
    }
  }
  return { node, load };
}

