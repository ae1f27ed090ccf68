// The views Console, Trace and Host.

import {
  NONE, badge, bytes, clean, clock, copy, every, h, known, latency, many, number, panel, problemBox, put,
  say, shape, span, time, when,
} from "./dom.js";
import { api, enc, look, mayOrder, order, store, workers } from "./live.js";

// --- JSON with a place for its fault -------------------------------------------------------

const TOKEN = /\s+|[{}[\]:,]|"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** The offset of the first fault: what browsers say of it differs, and some say nothing. */
function fault(text) {
  const open = [];
  let want = "value";
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const token = TOKEN.exec(text)?.[0];
    if (token === undefined) return at;
    if (!token.trim()) continue;
    const end = token === "}" || token === "]";
    if (end) {
      if (open.pop() !== token || !(want === "comma" || want === "first" || want === "value1")) return at;
      want = "comma";
    } else if (token === ",") {
      if (want !== "comma" || !open.length) return at;
      want = open.at(-1) === "}" ? "key" : "value";
    } else if (token === ":") {
      if (want !== "colon") return at;
      want = "value";
    } else if (want === "key" || want === "first") {
      if (token[0] !== '"') return at;
      want = "colon";
    } else if (want === "value" || want === "value1") {
      want = token === "{" ? "first" : token === "[" ? "value1" : "comma";
      if (token === "{") open.push("}");
      if (token === "[") open.push("]");
    } else return at;
  }
  return text.length;
}

function readJson(text) {
  try {
    return { value: JSON.parse(text) };
  } catch {
    const at = fault(text);
    const lines = text.slice(0, at).split("\n");
    const found = text.slice(at, at + 12).split("\n")[0];
    return { at, problem: `This is no JSON: line ${lines.length}, column ${lines.at(-1).length + 1}${found ? `, at ${found}` : ", it ends too early"}.` };
  }
}

// --- Console -------------------------------------------------------------------------------

const EXAMPLE = { message_id: "m-1042", from_uid: "ada", room_id: "lobby", content: "hola a todos, buy gold", message_type: 1 };
const kept = { event: "message.incoming", payload: JSON.stringify(EXAMPLE, null, 2), mode: "chain", plugin: "", timeout: "", outcome: null };

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function emitCommand({ event, payload, mode, plugin, timeout }) {
  const parsed = readJson(payload);
  const compact = parsed.problem ? payload : JSON.stringify(parsed.value);
  const plain = /^[\w.*-]+$/.test(event) ? event : quote(event);
  return ["vconnect emit", plain, quote(compact), mode === "broadcast" && "--mode broadcast", plugin && `--plugin ${quote(plugin)}`,
    timeout && `--timeout ${timeout}`].filter(Boolean).join(" ");
}

const written = (value) => (value === undefined ? NONE : JSON.stringify(value));

function diffOf(hop) {
  if (!hop.diff?.length) return null;
  return h("div.diff", hop.diff.flatMap(({ field, before, after }) => [
    before !== undefined && before !== null && h("div.m", h("span.sr", "before: "), `- ${field}: ${written(before)}`),
    after !== undefined && after !== null ? h("div.p", h("span.sr", "after: "), `+ ${field}: ${written(after)}`) : h("div.p", `+ ${field}: taken away`),
  ]));
}

const NOT_ASKED = ["passed_over", "not_asked"];
const FAILED = ["error", "late", "lost", "bad_answer"];
const spaced = (word) => String(word ?? "").replaceAll("_", " ");

function hopRow(hop, total) {
  const notAsked = NOT_ASKED.includes(hop.outcome);
  const failed = FAILED.includes(hop.outcome);
  const p = store.plugins.find((one) => one.name === hop.plugin);
  const kind = notAsked || failed ? "bad" : hop.duration_ms > 0.5 * total && hop.duration_ms > 10 ? "warn" : "";
  const bar = h("i", { class: kind });
  const left = Math.min(97, ((hop.began_ms ?? 0) / total) * 100);
  bar.style.left = `${left}%`;
  bar.style.width = `${notAsked ? 4 : Math.min(100 - left, Math.max(0.6, ((hop.duration_ms ?? 0) / total) * 100))}%`;
  const said = hop.reason ? `${spaced(hop.outcome)}: ${hop.reason}` : hop.outcome === "ok" ? "ok: no change" : spaced(hop.outcome);
  return h("div.wrow", { role: "listitem" },
    p ? h("a.name", { href: `#/plugins/${enc(hop.plugin)}` }, hop.plugin) : h("b", hop.plugin),
    h("div.track", { "aria-hidden": "true" }, bar), h("span.num.nowrap", notAsked ? "not asked" : time((hop.duration_ms ?? 0) / 1000)),
    h("div.ans", h("span", { class: kind === "bad" ? "s-bad" : "" }, said), diffOf(hop),
      hop.refused?.length > 0 && h("span", "tried to change ", h("span.mono", hop.refused.join(", ")), ": refused, it is protected")));
}

function verdict(answer) {
  const { refusal, stopped_by: stopped } = answer;
  if (refusal) return [badge("barred", refusal.plugin ? `refused by ${refusal.plugin}` : "refused", 12), refusal.message || refusal.code];
  if (stopped) return [badge("stopped", `stopped by ${stopped}`, 12), answer.reason];
  const failed = (answer.results ?? []).filter((r) => !r.ok && r.error_code);
  return [badge(failed.length ? "starting" : "running", failed.length ? "passed, with errors" : "passed", 12), ""];
}

function outcome({ answer, at }) {
  const hops = answer.hops ?? [];
  const asked = hops.filter((hop) => !NOT_ASKED.includes(hop.outcome));
  const changed = hops.filter((hop) => hop.changed?.length).length;
  const [head, reason] = verdict(answer);
  const facts = [time((answer.total_ms ?? 0) / 1000), `${asked.length} asked${hops.length > asked.length ? `, ${hops.length - asked.length} passed over` : ""}`,
    changed > 0 && `payload changed by ${changed}`, clock(at)].filter(Boolean).join(" · ");
  const total = Math.max(answer.total_ms ?? 0, ...hops.map((hop) => (hop.began_ms ?? 0) + (hop.duration_ms ?? 0)), 0.001);
  return [h("div.head", h("h2", "Outcome"), head, h("span.muted.small", facts)),
    reason && h("p.pad.s-bad", reason),
    hops.length ? h("div.wf", { role: "list", "aria-label": "Plugins, in the order of the chain" }, hops.map((hop) => hopRow(hop, total)))
      : h("p.none.muted", "No plugin wants this event."),
    h("details.pad", h("summary", "Show the payload and the results"),
      h("pre.words", { tabindex: 0, role: "region", "aria-label": "Payload and results" }, JSON.stringify({ payload: answer.payload, results: answer.results, ...(answer.refusal ? { refusal: answer.refusal } : {}) }, null, 2)))];
}

export function consoleView() {
  const title = h("h1", { tabindex: -1 }, "Console");
  const names = h("datalist", { id: "event-names" });
  const event = h("input", { id: "c-event", list: "event-names", autocomplete: "off", spellcheck: "false", value: kept.event });
  const payload = h("textarea.code", { id: "c-payload", spellcheck: "false", rows: 9, "aria-describedby": "c-error", value: kept.payload });
  const mode = h("select", { id: "c-mode" }, h("option", { value: "chain" }, "chain: one after the other"), h("option", { value: "broadcast" }, "broadcast: all at the same time"));
  const only = h("select", { id: "c-plugin" });
  const timeout = h("input", { id: "c-timeout", type: "number", min: 0.001, step: "any", placeholder: "as configured", value: kept.timeout });
  const error = h("span.err.small", { id: "c-error" });
  const command = h("code.command", { tabindex: 0 });
  const copied = h("span.small.muted", { role: "status" });
  const send = h("button.primary", { "data-order": true, click: () => go() }, "Send ", h("kbd.plain", "Ctrl Enter"));
  const result = h("section.panel", { "aria-label": "Outcome" });
  mode.value = kept.mode;
  const fieldOf = (label, node) => h("div.field", h("label", { for: node.id }, label), node);
  const form = h("form.form", { novalidate: true, submit: (e) => { e.preventDefault(); go(); } },
    fieldOf("Event", event), names,
    h("div.field", h("label", { for: "c-payload" }, "Payload"), payload, error),
    h("div.three", fieldOf("Mode", mode), fieldOf("Ask", only), fieldOf("Timeout, s", timeout)),
    h("div.acts.left", send, h("button", { click: copyCommand }, "Copy as command"), copied),
    h("p.refused-word.small.muted"), h("div.scroll.commandline", command));
  const node = h("div", h("div.headline", title, h("span.muted", "sends a real event to the real plugins")), h("div.two.cons", h("section.panel", { "aria-label": "Event to send" }, form), result));
  let waiting = null;

  function read() {
    Object.assign(kept, { event: event.value.trim(), payload: payload.value, mode: mode.value, plugin: only.value, timeout: timeout.value });
    say(command, emitCommand(kept));
  }

  async function copyCommand() {
    read();
    say(copied, (await copy(emitCommand(kept), command)) ? "Copied." : "Press Ctrl C to copy it.");
  }

  function complain(text) {
    say(error, text);
    if (text) payload.setAttribute("aria-invalid", "true");
    else payload.removeAttribute("aria-invalid");
  }

  function drawWaiting(began) {
    const bar = h("i");
    const words = h("p.muted", { role: "status" });
    put(result, h("div.head", h("h2", "Outcome")), h("div.wf", words, h("div.track", bar)));
    const step = () => {
      const seconds = (Date.now() - began) / 1000;
      say(words, `waiting for ${kept.plugin || "the plugins"}, ${seconds.toFixed(1)} s`);
      bar.style.width = `${100 * (1 - Math.exp(-seconds / 4))}%`;
    };
    step();
    return every(0.1, step);
  }

  async function go() {
    read();
    if (waiting) return;
    const no = mayOrder();
    if (no) return put(result, problemBox({ title: "Not sent", detail: no }));
    const parsed = readJson(kept.payload);
    complain(parsed.problem ?? "");
    if (parsed.problem) {
      payload.focus();
      payload.setSelectionRange(parsed.at, parsed.at + 1);
      return;
    }
    const body = { event: kept.event, payload: parsed.value, mode: kept.mode, trace: true };
    if (kept.plugin) body.plugin = kept.plugin;
    if (kept.timeout) body.timeout = Number(kept.timeout);
    waiting = drawWaiting(Date.now());
    try {
      kept.outcome = { answer: await order("events", body, (body.timeout ?? 30) + 60), at: Date.now() / 1000 };
      draw();
    } catch (problem) {
      put(result, h("div.head", h("h2", "Outcome")), h("div.pad", problemBox(problem)));
    }
    waiting();
    waiting = null;
  }

  function draw() {
    put(result, kept.outcome ? outcome(kept.outcome)
      : [h("div.head", h("h2", "Outcome")), h("p.none.muted", "Nothing is sent yet. Each plugin's answer, its time, and what it changed will stand here.")]);
  }

  function plugins() {
    const wanted = ["", ...store.plugins.map((p) => p.name)];
    if ([...only.options].map((o) => o.value).join("\n") === wanted.join("\n")) return;
    const before = only.value || kept.plugin;
    put(only, wanted.map((name) => h("option", { value: name }, name ? `${name} alone` : "all that want it")));
    only.value = wanted.includes(before) ? before : "";
  }

  form.addEventListener("input", () => {
    read();
    complain("");
    say(copied, "");
  });
  form.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      go();
    }
  });
  plugins();
  read();
  draw();
  return {
    node, title: () => "Console", on: { plugins }, keys: {},
    begin: () => api("events/names").then(({ items }) => put(names, items.map((name) => h("option", { value: name }))), () => {}),
    close: () => waiting?.(),
  };
}

// --- Trace ---------------------------------------------------------------------------------

const MOST_TRACES = 300;

/** The host knows four outcomes; what passed and took long is shown as slow. */
function traceState(t) {
  if (t.outcome === "refused") return badge("barred", "refused");
  if (t.outcome === "failed") return badge("error", "failed");
  if (t.outcome === "stopped") {
    const by = t.hops.find((hop) => hop.outcome === "stopped")?.plugin;
    return badge("stopped", by ? `stopped by ${by}` : "stopped");
  }
  return t.duration_s >= 0.1 ? badge("starting", "slow") : badge("running", t.outcome);
}

function hopTag(hop, total) {
  const over = NOT_ASKED.includes(hop.outcome);
  const bad = over || FAILED.includes(hop.outcome);
  const slow = !bad && hop.duration_s >= 0.05 && hop.duration_s > total / 2;
  const ms = known(hop.duration_s) && !over ? time(hop.duration_s) : "";
  const word = over ? hop.reason || spaced(hop.outcome) : hop.outcome === "ok" || hop.outcome === "changed" ? (hop.changed?.length ? "changed" : "") : spaced(hop.outcome);
  return h(`span.hop${bad ? ".bad" : slow ? ".warn" : ""}`, { title: hop.reason ? clean(hop.reason) : null },
    slow && [shape("starting", 9), " "], over && [shape("barred", 9), " "], h("b", hop.plugin), ` ${[ms, word].filter(Boolean).join(" ")}`);
}

export function traceView() {
  const title = h("h1", { tabindex: -1 }, "Trace");
  const event = h("input", { type: "search", id: "t-event", size: 14, placeholder: "message.*", spellcheck: "false" });
  const plugin = h("input", { type: "search", id: "t-plugin", size: 12, spellcheck: "false" });
  const slow = h("select", { id: "t-slow" }, [["", "any time"], ["10", "10 ms"], ["50", "50 ms"], ["100", "100 ms"], ["1000", "1 s"]].map(([v, w]) => h("option", { value: v }, w)));
  const pauseButton = h("button", { click: () => setPaused(paused ? null : "button") }, "Pause");
  const keepButton = h("button", { "data-order": true, click: keepPayloads }, "Keep payloads for 5 min");
  const note = h("p.small.muted", "Payloads are hidden. To keep them is written to the audit log.");
  const body = h("tbody");
  const none = h("p.none.muted", { hidden: true });
  const more = h("button.more", { hidden: true, click: () => setPaused(null) });
  const heads = ["Time", "Event", "Outcome", "Total", "Who, in how long", "Payload"];
  const grid = h("table.trace", h("thead", h("tr", heads.map((w) => h(`th${w === "Total" ? ".num" : ""}`, { scope: "col" }, w)))), body);
  const label = (text, node) => h("label.inline", { for: node.id }, h("span.small.muted", text), node);
  const frame = h("section.panel", { "aria-label": "Events" },
    h("div.head.filters", label("Event", event), label("Plugin", plugin), label("At least", slow), h("div.acts.left", pauseButton, keepButton), note, h("p.refused-word.small.muted")),
    h("div.morebar", more), grid, none);
  const node = h("div", h("div.headline", title, h("span.muted", "a sample of the events, and every one that was slow, failed or passed over")), frame);
  const self = { node, filter: event, watch: { trace: true }, title: () => "Trace", on: {}, keys: {} };
  let paused = null; // "button", or "scroll" while the reader is further down
  let waiting = [];
  const seen = new Set();
  const since = Date.now() / 1000;

  const fits = (t) => {
    const wanted = plugin.value.trim();
    return (!wanted || t.hops.some((hop) => hop.plugin.includes(wanted))) && (!slow.value || t.duration_s * 1000 >= Number(slow.value));
  };

  function payloadCell(t, row) {
    if (t.payload === undefined) return h("span.muted", "not kept");
    let shown = null;
    const button = h("button.link", { "aria-expanded": "false", click: toggle }, "Show");
    function toggle() {
      if (shown) shown.remove();
      else row.after(shown = h("tr.payload", h("td", { colspan: 6 }, h("pre.words", { tabindex: 0, role: "region", "aria-label": "Payload" }, JSON.stringify(t.payload, null, 2)))));
      if (!shown.isConnected) shown = null;
      say(button, shown ? "Hide" : "Show");
      button.setAttribute("aria-expanded", String(Boolean(shown)));
    }
    return button;
  }

  function row(t) {
    const made = h("tr", h("td.mono.nowrap", when(t.time, true)), h("td.mono", t.event), h("td", traceState(t)),
      h("td.num", time(t.duration_s)), h("td", h("span.hops", t.hops.map((hop) => hopTag(hop, t.duration_s)))));
    made.append(h("td", payloadCell(t, made)));
    return made;
  }

  const lost = ({ count }) => h("tr", h("td", { colspan: 6 }, h("span.s-warn", `${number(count)} dropped: this browser is too slow`)));

  function flush() {
    const nodes = waiting.splice(0).map((one) => (one.count === undefined ? row(one) : lost(one)));
    body.prepend(...nodes.reverse());
    while (body.children.length > MOST_TRACES) body.lastChild.remove();
    sayEmpty();
  }

  function sayEmpty() {
    none.hidden = body.children.length > 0;
    const wants = [...new Set(store.plugins.flatMap((p) => p.capabilities ?? []))].slice(0, 8);
    say(none, `No event since ${clock(since)}${wants.length ? `; plugins want: ${wants.join(", ")}` : ""}.`);
  }

  function take(one) {
    if (known(one.id) && seen.has(one.id)) return;
    if (one.count === undefined && !fits(one)) return;
    if (known(one.id)) seen.add(one.id);
    if (seen.size > 2000) seen.delete(seen.values().next().value);
    waiting.push(one);
    if (waiting.length > MOST_TRACES) waiting.shift();
  }

  function tick() {
    // Rows come at the top: whoever scrolled down or opened a payload keeps the place.
    const reading = body.getBoundingClientRect().top < 0 || body.querySelector(".payload") !== null;
    if (!paused && reading) paused = "scroll";
    else if (paused === "scroll" && !reading) paused = null;
    if (!paused && waiting.length) flush();
    buttons();
  }

  function buttons() {
    more.hidden = !paused || !waiting.length;
    say(more, `↑ ${many(waiting.length, "new event")} · show`);
    say(pauseButton, paused === "button" ? "Paused · go on" : "Pause");
    pauseButton.setAttribute("aria-pressed", String(paused === "button"));
  }

  function setPaused(how) {
    paused = how;
    if (!how) {
      body.querySelectorAll(".payload").forEach((one) => one.previousSibling.querySelector("button.link")?.click());
      flush();
      if (body.getBoundingClientRect().top < 0) frame.scrollIntoView({ block: "start" });
    }
    buttons();
  }

  async function load() {
    const query = new URLSearchParams({ limit: 100 });
    const wanted = event.value.trim();
    if (wanted && wanted !== "*") query.set("event", wanted);
    if (plugin.value.trim()) query.set("plugin", plugin.value.trim());
    if (slow.value) query.set("slow_ms", slow.value);
    self.watch = { trace: true, event: wanted, slow_ms: slow.value };
    node.dispatchEvent(new CustomEvent("rewatch", { bubbles: true }));
    seen.clear();
    waiting = [];
    try {
      const { items } = await api(`trace?${query}`);
      put(body);
      items.sort((a, b) => a.time - b.time).forEach(take);
      flush();
    } catch (problem) {
      if (store.link === "live") put(body, h("tr", h("td", { colspan: 6 }, problemBox(problem))));
    }
    sayEmpty();
  }

  async function keepPayloads() {
    try {
      const { until } = await order("trace/payloads", { seconds: 300 });
      say(note, `Payloads of new events are kept until ${clock(until)}. They stay hidden until you ask for one.`);
    } catch (problem) {
      say(note, problem.detail);
    }
  }

  let typing = 0;
  const changed = () => {
    clearTimeout(typing);
    typing = setTimeout(load, 300);
  };
  for (const one of [event, plugin, slow]) one.addEventListener("input", changed);
  let stop = () => {};
  Object.assign(self.on, { trace: take, dropped: (data) => data.topic === "trace" && take({ count: data.count, hops: [] }) });
  Object.assign(self.keys, { ".": () => setPaused(paused ? null : "button") });
  self.begin = () => {
    load();
    stop = every(0.25, tick);
  };
  self.close = () => {
    stop();
    clearTimeout(typing);
  };
  return self;
}

// --- Host ----------------------------------------------------------------------------------

function workerRow(w) {
  const lat = latency();
  lat.draw(w.loop_lag);
  const name = w.name ?? w.id;
  const shown = store.worker ? w.id === store.worker : w.is_this;
  const choose = w.problem ? h("b", name) : h("button.link.name", { "aria-current": shown ? "true" : null, click: () => look(w.is_this ? null : w.id) }, name);
  const cells = w.problem ? [h("td", { colspan: 7 }, badge("error", w.problem))] : [
    h("td", badge("running", "serving")), h("td.num.mono.c-opt", known(w.pid) ? String(w.pid) : NONE), h("td.num.c-opt", span(w.uptime_s)),
    h("td.num", lat.node), h("td.num.c-opt", number(w.plugins)), h("td.num.c-opt", known(w.stalls) ? `${number(w.stalls)}${w.stalls ? `, longest ${time(w.longest_stall_s)}` : ""}` : NONE),
    h("td.num.c-opt", bytes(w.rss_bytes))];
  return h("tr", h("th", { scope: "row" }, choose, shown ? h("span.small.muted", " shown here") : null), cells);
}

const LEVEL_SHAPES = { ok: "running", warn: "starting", fail: "error" };

function check(one) {
  return h("li", badge(LEVEL_SHAPES[one.level] ?? "stopped", one.id), h("span.small.muted.grow", h("span.sr", `${one.level}: `), one.detail, one.next && [" ", h("b", "Next: "), one.next]));
}

function act(item) {
  const good = item.result === "ok";
  const via = item.via ? ` via ${item.via}` : "";
  return h("li", when(item.time), h("span", h("span.muted", item.who || "somebody", via, ": "), h("span", item.order), item.plugin && [" ", h("b", item.plugin)],
    good ? h("span.muted", known(item.ms) ? `, ${time(item.ms / 1000)}` : "") : h("span.s-bad", `, ${spaced(item.result)}`)));
}

function facts(host) {
  const rows = [["Version", host.version], ["Event loop", host.loop], ["Guardian", known(host.guardian_pid) ? `pid ${host.guardian_pid}` : null], ["Plugin socket", host.socket_path], ["Admin socket", host.admin_path],
    ["Plugins from", host.plugin_dir], ["cgroup", host.cgroup_problem || host.cgroup], ["Waiting to be sent", known(host.queued_bytes) ? bytes(host.queued_bytes) : null], ["Boot", host.boot]];
  return h("dl.facts-list", rows.filter(([, value]) => known(value) && value !== "").map(([key, value]) => [h("dt", key), h("dd.mono", value)]));
}

export function hostView() {
  const title = h("h1", { tabindex: -1 }, "Host");
  const workerBody = h("tbody");
  const workerNote = h("span.muted.small");
  const heads = [["Worker", ""], ["State", ""], ["Pid", "num c-opt"], ["Up", "num c-opt"], ["Lag p50 · p99", "num"], ["Plugins", "num c-opt"], ["Stalls", "num c-opt"], ["Memory", "num c-opt"]];
  const workerPanel = panel("Workers", { note: workerNote }, h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Table of workers" },
    h("table.workers", h("thead", h("tr", heads.map(([w, c]) => h("th", { scope: "col", class: c || null }, w)))), workerBody)));
  const doctorNote = h("span.muted.small");
  const doctorBody = h("div");
  const again = h("button", { click: () => doctor() }, "Check again");
  const doctorPanel = panel("Doctor", { note: doctorNote, right: again }, doctorBody);
  const audit = h("ol.feed", { tabindex: 0, "aria-label": "Audit, newest first" });
  const auditPanel = panel("Who did what", { note: h("span.muted.small", "audit") }, audit);
  const factBody = h("div");
  const node = h("div", h("div.headline", title, h("span.muted", "the workers of this application, and what they run on")), workerPanel,
    h("div.two.even", doctorPanel, h("div.stack", auditPanel, panel("Facts", {}, factBody))));
  let entries = [];

  async function loadWorkers() {
    try {
      const { items } = await workers();
      say(workerNote, String(items.length));
      put(workerBody, items.map(workerRow));
    } catch (problem) {
      if (store.link === "live") put(workerBody, h("tr", h("td", { colspan: 8 }, problem.detail)));
    }
  }

  async function doctor() {
    say(doctorNote, "checking …");
    try {
      const { checks } = await api("doctor", { timeout: 60 });
      const count = (level) => checks.filter((c) => c.level === level).length;
      const words = [count("fail") && many(count("fail"), "problem"), count("warn") && many(count("warn"), "warning")].filter(Boolean);
      put(doctorNote, `${words.join(", ") || "all is well"} · same as `, h("code", "vconnect doctor"));
      put(doctorBody, h("ul.list", checks.map(check)));
    } catch (problem) {
      say(doctorNote, "");
      put(doctorBody, h("div.pad", problemBox(problem)));
    }
  }

  function drawAudit() {
    put(audit, entries.length ? entries.map(act) : h("li.muted", "Nobody has changed anything yet."));
  }

  async function loadAudit() {
    try {
      entries = (await api("audit")).items.sort((a, b) => b.time - a.time).slice(0, 200);
      drawAudit();
    } catch (problem) {
      put(audit, h("li.muted", problem.detail));
    }
  }

  const drawFacts = () => store.host && put(factBody, facts(store.host));
  let stop = () => {};
  return {
    node, title: () => "Host", keys: { d: doctor },
    on: {
      snapshot() {
        drawFacts();
        loadWorkers();
      },
      audit(item) {
        entries.unshift(item);
        entries.length = Math.min(entries.length, 200);
        drawAudit();
      },
    },
    begin() {
      drawFacts();
      loadWorkers();
      doctor();
      loadAudit();
      stop = every(5, () => document.visibilityState === "visible" && store.link === "live" && !workerBody.contains(document.activeElement) && loadWorkers());
    },
    close: () => stop(),
  };
}
