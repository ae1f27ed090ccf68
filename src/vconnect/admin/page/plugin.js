// Orders to a plugin, each behind a dialog that names its effect; and the view of one plugin.

import {
  NONE, badge, bytes, capital, clock, h, known, many, number, panel, percent, problemBox, put, rate, say, shape,
  span, time, tone, when,
} from "./dom.js";
import { api, enc, mayOrder, order, refresh, store } from "./live.js";
import { configPanel, latencyPanel, logPanel } from "./panels.js";

// --- Orders --------------------------------------------------------------------------------

const flying = (p) => (p.in_flight ? `Its ${many(p.in_flight, "event")} in flight` : "");
const loses = (p) => (p.required ? " It is required: messages are refused as long as it does not serve." : "");

const ORDERS = {
  start: { word: "Start", did: "started", effect: () => "A process is started; it serves as soon as it is ready." },
  stop: {
    word: "Stop", did: "stopped", danger: true,
    effect: (p) => `${flying(p) ? `${flying(p)} may end first, then` : ""} its process ends. From then on, events pass it over.${loses(p)}`,
  },
  restart: {
    word: "Restart", did: "restarted",
    effect: (p) => `A new process takes over when it is ready; the old one serves until then. ${flying(p) ? `${flying(p)} may end first. ` : ""}No event is lost.`,
  },
  kill: {
    word: "Kill", did: "killed", danger: true,
    effect: (p) => `SIGKILL ends its processes at once. ${flying(p) ? `${flying(p)} ${p.in_flight === 1 ? "is" : "are"} lost. ` : ""}Then its restart policy acts. No event is blamed.${loses(p)}`,
  },
  enable: { word: "Enable", did: "enabled", effect: () => "It may run again, and starts with the host." },
  disable: {
    word: "Disable", did: "disabled", danger: true,
    effect: (p) => `It stops, and stays off when the host starts again.${flying(p) ? ` ${flying(p)} may end first.` : ""}${loses(p)}`,
  },
  release: { word: "Release", did: "released", effect: (p) => `${many(p.quarantine?.length ?? 0, "event")} in quarantine may be sent to it again. If one crashes it again, it goes back.` },
  "close-circuit": { word: "Close circuit", did: "circuit closed", effect: () => "It is asked again at once, without waiting for a probe. If it fails again, the circuit opens again." },
  upgrade: { word: "Upgrade", did: "upgraded", path: () => "upgrade", body: (name) => ({ names: [name] }), effect: () => "The newest fitting version is fetched and verified. The old one serves until the new one is ready." },
  rollback: {
    word: "Roll back", did: "rolled back", body: (name, { version }) => ({ version }),
    effect: (p, { version }) => `Version ${version} takes over when it is ready; ${p.version} serves until then, and is kept.`,
  },
};

const quoted = (text) => (/^[\w.@/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function commandOf(name, what, { version } = {}) {
  return `vconnect ${what} ${quoted(name)}${version ? ` --to ${quoted(version)}` : ""}`;
}

let tellResult = () => {}; // the app shows the line that stays until it is read
export const onResult = (act) => { tellResult = act; };

/** Asks before it acts. Focus starts on Cancel and returns to where it was. */
export function askOrder(name, what, extra = {}) {
  const p = store.plugins.find((one) => one.name === name);
  const spec = ORDERS[what];
  const no = mayOrder();
  if (!p || no) return tellResult({ bad: true, title: no || `There is no plugin ${name}.` });
  const typed = p.required && ["stop", "disable"].includes(what);
  const field = typed && h("input", { id: "ask-name", autocomplete: "off", spellcheck: "false" });
  const go = h(`button.${spec.danger ? "danger" : "primary"}`, { disabled: typed, click: () => close(true) }, spec.word);
  const cancel = h("button", { click: () => close(false) }, "Cancel");
  const title = h("h2", { id: "ask-title" }, `${spec.word} ${name}?`);
  const effect = h("p", { id: "ask-effect" }, capital(spec.effect(p, extra).trim()));
  const note = h("p.small.muted", "The audit log keeps who did it. Same as: ", h("code", commandOf(name, what, extra)));
  const dialog = h("dialog", { "aria-labelledby": "ask-title", "aria-describedby": "ask-effect" }, title, effect,
    p.in_flight > 0 && h("p.small.muted", `In flight now: ${many(p.in_flight, "event")}`), note,
    typed && h("p.field", h("label", { for: "ask-name" }, "It is required. Type its name to go on:"), field),
    h("div.acts", cancel, go));
  if (field) field.addEventListener("input", () => { go.disabled = field.value.trim() !== name; });
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus({ preventScroll: true });
  });
  dialog.addEventListener("keydown", (event) => event.key === "Enter" && event.target === field && !go.disabled && close(true));
  function close(yes) {
    dialog.close();
    if (yes) run(name, what, extra);
  }
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
}

async function run(name, what, extra) {
  const spec = ORDERS[what];
  tellResult({ busy: true, title: `${spec.word} ${name}: under way` });
  try {
    const path = spec.path?.() ?? `plugins/${enc(name)}/${what}`;
    const after = await order(path, spec.body?.(name, extra));
    const facts = [after?.state, known(after?.generation) && `generation ${after.generation}`, known(after?.pid) && `pid ${after.pid}`].filter(Boolean);
    tellResult({ title: `${name}: ${spec.did} at ${clock(Date.now() / 1000)}`, detail: facts.length ? `Now ${facts.join(", ")}.` : "" });
  } catch (problem) {
    tellResult({ bad: true, title: `${spec.word} ${name}: ${problem.title || "it did not work"}`, detail: problem.detail, next: problem.next });
  }
  refresh();
}

function ordersFor(p) {
  const list = [];
  const off = p.state === "disabled" || p.desired === "disabled";
  if (off) list.push("enable");
  else if (known(p.pid) || p.serving || p.shape === "starting") list.push("restart", "stop", "kill");
  else list.push("start", ...(p.shape === "error" ? ["stop"] : []));
  if (p.breaker && p.breaker !== "closed") list.push("close-circuit");
  if (p.quarantine?.length) list.push("release");
  if (!off) list.push("disable");
  return list;
}

// --- Head and tiles ------------------------------------------------------------------------

function stateLine(p) {
  const facts = [
    known(p.generation) && known(p.pid) && `generation ${p.generation}`, known(p.pid) && `pid ${p.pid}`, known(p.uptime_s) && `up ${span(p.uptime_s)}`,
    p.language, p.role, known(p.priority) && `priority ${p.priority}`, p.dev && "runs from its source", p.external && "started by somebody else",
    p.required && "required",
  ].filter(Boolean);
  return [badge(p.shape, p.state), " ", h("span.muted", `· ${facts.join(" · ")}`),
    p.capabilities?.length > 0 && [h("span.muted", " · "), h("span.mono.muted", p.capabilities.join(", "))]];
}

function whyBox(p) {
  const kind = tone(p.shape) === "bad" || p.passed_over?.refused > 0 ? "bad" : p.code === "healthy" ? "ok" : tone(p.shape) === "idle" ? "idle" : "warn";
  if (p.code === "healthy" && !p.also?.length) return null;
  return h(`section.panel.whybox.${kind}`, { "aria-label": "Why" },
    p.why && h("p", h("b", "Why: "), p.why, known(p.since) && h("span.small", " Since ", when(p.since), ".")),
    p.next && h("p.small", h("b", "Next: "), p.next),
    (p.also ?? []).map((one) => h("p.small", h("b", "Also: "), one.cause)),
    h("p.small", h("code", `vconnect why ${quoted(p.name)}`)));
}

const OUTCOMES = [["ok", "ok", ""], ["late", "late", "bad"], ["error", "errors", "bad"], ["lost", "lost", "bad"], ["bad_answer", "bad answers", "bad"],
  ["stopped", "stopped", ""], ["changed", "changed", ""], ["cancelled", "cancelled", ""]];

const counted = (pairs) => pairs.flatMap(([n, word, kind], i) =>
  [i > 0 && h("small", " · "), h(`span${kind ? `.s-${kind}` : ""}`, number(n)), h("small", ` ${word}`)]);

function tiles(p) {
  const outcomes = OUTCOMES.filter(([key]) => p.outcomes?.[key] > 0).map(([key, word, kind]) => [p.outcomes[key], word, kind]);
  const passed = [["refused", "bad"], ["skipped", "warn"], ["default", "warn"]].filter(([key]) => p.passed_over?.[key] > 0)
    .map(([key, kind]) => [p.passed_over[key], key === "default" ? "by default" : key, kind]);
  const slow = p.outcomes?.late > 0 ? ".s-bad" : p.is_slow ? ".s-warn" : "";
  const full = p.queue?.limit && p.queue.events / p.queue.limit >= 0.8;
  const lat = p.latency;
  return [
    ["Events, last minute", known(p.events_per_s) ? [rate(p.events_per_s), h("small", `/s${known(p.now_per_s) ? `, now ${rate(p.now_per_s)}` : ""}`)] : NONE],
    [lat && lat.count < 100 ? `p50 · p99, of ${number(lat.count)}` : "p50 · p99", lat ? [time(lat.p50_s), h("small", " · "), h(`span${slow}`, time(lat.p99_s))] : NONE],
    ["Answers, last minute", outcomes.length ? counted(outcomes.slice(0, 3)) : NONE],
    ["Passed over", passed.length ? counted(passed) : ["0", h("small", " in the last minute")]],
    ["In flight · queue", known(p.pid) ? [number(p.in_flight ?? 0), h("small", ` of ${number(p.window)} · `), h(`span${full ? ".s-warn" : ""}`, number(p.queue?.events ?? 0)), h("small", ` of ${number(p.queue?.limit)}`)] : NONE],
    ["CPU · memory", known(p.cpu_percent) || known(p.rss_bytes) ? [percent(p.cpu_percent), h("small", " · "), bytes(p.rss_bytes)] : NONE],
  ].map(([key, value]) => h("div.panel.tile", h("p.k", key), h("p.v", value)));
}

// --- Passed over, crashes, versions --------------------------------------------------------

const EFFECTS = { refused: ["refused: the event went no further", "bad"], skipped: ["skipped: the event went on without it", "warn"], default: ["the default answer was used", "warn"] };

function passedPanel() {
  const body = h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Passed over" });
  const node = panel("Passed over", { note: h("span.muted.small", "last hour · also ", h("code", "vconnect tail --passed-over")), label: "Passed over, panel" }, body);
  function row(item) {
    const [words, kind] = EFFECTS[item.effect] ?? [item.effect, "bad"];
    return h("tr", h("td.nowrap", when(item.first)), h("td.mono", item.event), h("td.num", h("b", number(item.count))),
      h("td", item.words || item.reason), h("td", h(`span.s-${kind}`, words)));
  }
  function draw(items) {
    if (!items.length) return put(body, h("p.none.muted", "Nothing passed it over."));
    const heads = ["Since", "Event", "Count", "Why", "What became of it"];
    put(body, h("table.passed", h("thead", h("tr", heads.map((word) => h(`th${word === "Count" ? ".num" : ""}`, { scope: "col" }, word)))), h("tbody", items.map(row))));
  }
  return { node, draw };
}

const eventName = (e) => (e.digest ? `${e.event} ${String(e.digest).slice(0, 8)}` : e.event);

function crash(report) {
  const flight = report.in_flight?.length ? `In flight: ${report.in_flight.map(eventName).join(", ")}.` : "No event was in flight.";
  const facts = [known(report.ran_for_s) && `after ${span(report.ran_for_s)}`, known(report.generation) && `generation ${report.generation}`].filter(Boolean);
  const words = report.stderr?.length ? report.stderr.join("\n") : "It printed nothing to stderr.";
  return h("li", h("span.s-bad", shape("error", 12)),
    h("div.grow", h("p", h("b", when(report.at)), ` ${report.reason}`, facts.length > 0 && `, ${facts.join(", ")}`), h("p.small.muted", flight),
      h("details", h("summary", "Show its last words"), h("pre.words", { tabindex: 0, role: "region", "aria-label": "Last words" }, words))));
}

function crashPanel() {
  const note = h("span.muted.small");
  const body = h("div");
  const node = panel("Crashes", { note }, body);
  function draw(items) {
    say(note, items.length ? `${items.length} kept` : "");
    put(body, items.length ? h("ul.list", items.map(crash)) : h("p.none.muted", "It has not crashed."));
  }
  return { node, draw };
}

function versionsPanel(name) {
  const body = h("div");
  const look = h("button", { "data-order": true, click: () => newest() }, "Look for a newer one");
  const node = panel("Versions", { right: look }, body);
  const offer = h("div");
  async function newest() {
    put(offer, h("p.none.muted", "Looking …"));
    try {
      const { plugins } = await order("outdated", { names: [name] });
      const found = plugins.find((p) => p.name === name);
      put(offer, found?.state === "outdated"
        ? h("ul.list.first", h("li", shape("installed", 12), h("b", found.available), h("span.muted.small", "available"), h("span.right", orderButton(name, "upgrade"))))
        : h("p.none.muted", found?.state === "current" ? "It is the newest." : found?.reason || "Nobody knows of a newer one."));
      node.dispatchEvent(new CustomEvent("gate", { bubbles: true }));
    } catch (problem) {
      put(offer, h("div.pad", problemBox(problem)));
    }
  }
  function row(v) {
    const words = [v.is_current ? (v.running ? "runs" : "current") : v.state, known(v.installed_at) && `installed ${new Date(v.installed_at * 1000).toLocaleDateString("en-US", { month: "short", day: "numeric", year: "numeric" })}`,
      v.digest && `sha256 ${String(v.digest).replace(/^sha256[:-]/, "").slice(0, 8)}…`].filter(Boolean).join(" · ");
    return h("li", h(`span.s-${v.is_current ? "ok" : "idle"}`, shape(v.is_current ? "running" : "stopped", 12)), v.is_current ? h("b", v.version) : h("span", v.version),
      h("span.muted.small", words), !v.is_current && h("span.right", orderButton(name, "rollback", { version: v.version })));
  }
  function draw(versions) {
    look.hidden = !versions.length;
    put(body, versions.length ? h("ul.list", versions.map(row)) : h("p.none.muted", "It runs from a directory: no versions are kept."), offer);
  }
  return { node, draw };
}

function orderButton(name, what, extra) {
  return h("button", { "data-order": true, click: () => askOrder(name, what, extra) }, ORDERS[what].word);
}

// --- The view ------------------------------------------------------------------------------

function unknown(name, problem) {
  const meant = problem.meant && [problem.meant].flat()[0];
  return problemBox(problem, h("p", meant && ["Did you mean ", h("a", { href: `#/plugins/${enc(meant)}` }, meant), "? "], h("a", { href: "#/" }, "All plugins")));
}

export function pluginView(name, focusLog) {
  const title = h("h1", { tabindex: -1 }, h("bdi", name), " ", h("span.version.muted"));
  const state = h("div.stateline");
  const acts = h("div.acts");
  const why = h("div");
  const tileRow = h("div.tiles");
  const log = logPanel(name, () => change());
  const [passed, crashes, latency, config, versions] = [passedPanel(), crashPanel(), latencyPanel(), configPanel(name), versionsPanel(name)];
  const trouble = h("div");
  const content = h("div", why, tileRow, h("div.two", h("div.stack", log.node, passed.node, crashes.node), h("div.stack", latency.node, config.node, versions.node)));
  const node = h("div",
    h("div.phead", h("div.grow", h("p.small.crumb", h("a", { href: "#/" }, "Plugins"), h("span.muted", " / ", name)), title, state), acts), trouble, content);
  const self = {
    node, filter: log.filter, watch: { logs: name, level: "info" }, title: () => name,
    on: {}, keys: {},
  };
  let drawn = "";
  let lastRestarts = null;

  const current = () => store.plugins.find((p) => p.name === name);

  function change() {
    self.watch = { logs: name, level: log.level() };
    node.dispatchEvent(new CustomEvent("rewatch", { bubbles: true }));
  }

  function drawHead() {
    const p = current();
    if (!p) return;
    say(title.querySelector(".version"), p.version ?? "");
    put(state, stateLine(p));
    put(why, whyBox(p));
    put(tileRow, tiles(p));
    const wanted = ordersFor(p);
    if (drawn !== wanted.join()) {
      // The order's dialog gives focus back to its button: a button that stays is not made anew.
      const kept = new Map([...acts.children].map((b) => [b.dataset.what, b]));
      put(acts, wanted.map((what, i) => {
        const button = kept.get(what) ?? orderButton(name, what);
        button.dataset.what = what;
        button.className = i === 0 ? "primary" : ["kill", "disable"].includes(what) ? "danger" : "";
        return button;
      }), h("p.refused-word.small.muted"));
      drawn = wanted.join();
      node.dispatchEvent(new CustomEvent("gate", { bubbles: true }));
    }
    if (lastRestarts !== null && lastRestarts !== `${p.restarts} ${p.generation}`) loadCrashes();
    lastRestarts = `${p.restarts} ${p.generation}`;
  }

  const load = (path, draw, key) => api(`plugins/${enc(name)}/${path}`).then((answer) => draw(answer[key] ?? []));
  const quiet = (promise) => promise.catch(() => {}); // a part that does not come leaves the rest
  const loadPassed = () => quiet(load(`passed-over?since=${Math.floor(Date.now() / 1000 - 3600)}`, passed.draw, "items"));
  const loadCrashes = () => quiet(load("crashes", crashes.draw, "items"));
  const loadVersions = () => quiet(load("versions", versions.draw, "versions"));

  async function loadStatus() {
    try {
      const { latency_by_event: byEvent, config_origin: _, ...summary } = await api(`plugins/${enc(name)}/status`);
      latency.draw(byEvent ?? []);
      const p = current();
      if (p) Object.assign(p, summary);
      put(trouble);
      content.hidden = false;
      drawHead();
    } catch (problem) {
      if (problem.status !== 404 && store.link !== "live") return;
      content.hidden = problem.status === 404;
      put(trouble, unknown(name, problem));
    }
  }

  let timer = 0;
  function begin() {
    loadStatus();
    loadPassed();
    loadCrashes();
    loadVersions();
    config.load();
    log.load();
    timer = setInterval(() => {
      if (document.visibilityState !== "visible" || store.link !== "live") return;
      loadStatus();
      loadPassed();
    }, 5000);
    if (focusLog) setTimeout(() => log.focus(), 50);
  }

  const neighbor = (by) => {
    const names = store.plugins.map((p) => p.name);
    const next = names[(names.indexOf(name) + by + names.length) % names.length];
    if (next) location.hash = `#/plugins/${enc(next)}`;
  };

  let versionSeen = null;
  Object.assign(self.on, {
    plugins() {
      drawHead();
      const version = current()?.version;
      if (versionSeen !== null && version !== versionSeen) loadVersions();
      versionSeen = version ?? versionSeen;
    },
    metrics: drawHead,
    passed: (items) => items.some((i) => i.plugin === name) && loadPassed(),
    log: log.stream,
    dropped: (data) => data.topic?.startsWith("log") && log.dropped(data.count),
    reborn: log.reborn,
    snapshot() {
      log.catchUp();
      loadStatus();
    },
  });
  Object.assign(self.keys, {
    f: log.follow, ".": log.toggle, l: log.focus, Home: () => log.end("top"), End: () => log.end("bottom"),
    "[": () => neighbor(-1), "]": () => neighbor(1), u: () => { location.hash = "#/"; },
    r: () => askOrder(name, "restart"), s: () => askOrder(name, known(current()?.pid) ? "stop" : "start"),
  });
  self.begin = begin;
  self.close = () => clearInterval(timer);
  drawHead();
  return self;
}

