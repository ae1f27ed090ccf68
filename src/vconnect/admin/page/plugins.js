// The view "Plugins": is anything wrong, what, and why.

import {
  NONE, badge, bytes, capital, clean, clock, h, known, latency, many, number, panel, percent, put, rate, say,
  shape, spark, svg, time, tone, when,
} from "./dom.js";
import { enc, inTrouble, store } from "./live.js";
import { askOrder } from "./plugin.js";

const pluginLink = (name, kind = "a") => h(kind, { href: `#/plugins/${enc(name)}` }, name);
const passedOver = (p) => Object.values(p.passed_over ?? {}).reduce((sum, n) => sum + n, 0);
const fullness = (p) => (p.queue?.limit ? (p.queue.events ?? 0) / p.queue.limit : 0);
const pressed = (p) => fullness(p) >= 0.8 || (p.dropped_last_minute ?? 0) > 0;

// --- Headline and answers ------------------------------------------------------------------

function headline() {
  const { plugins } = store;
  const down = plugins.filter(inTrouble);
  const refused = plugins.some((p) => p.passed_over?.refused > 0);
  const slow = plugins.filter((p) => p.is_slow);
  if (!plugins.length) return "No plugins yet";
  if (down.length) {
    const verb = down.length === 1 ? "does" : "do";
    return `${down.length} of ${many(plugins.length, "plugin")} ${verb} not serve${refused ? ", and messages are refused" : ""}`;
  }
  if (refused) return "All plugins serve, and messages are refused";
  const starting = plugins.filter((p) => p.shape === "starting" && !p.serving);
  const end = slow.length === 1 ? `; ${slow[0].name} is slow` : slow.length ? `; ${slow.length} are slow` : "";
  if (starting.length) return `${starting.length === 1 ? `${starting[0].name} is` : `${starting.length} plugins are`} starting${end}`;
  const serving = plugins.filter((p) => p.serving).length;
  if (serving === plugins.length) return `${serving === 1 ? "The plugin serves" : `All ${serving} plugins serve`}${end}`;
  return `${serving} of ${many(plugins.length, "plugin")} ${serving === 1 ? "serves" : "serve"}, as asked for${end}`;
}

const others = (list, what) => (list.length > 1 ? ` ${capital(many(list.length - 1, "other"))} ${what}.` : "");

function whoWasPassedOver() {
  const list = store.plugins.filter((p) => passedOver(p) > 0)
    .sort((a, b) => (b.passed_over.refused ?? 0) - (a.passed_over.refused ?? 0) || passedOver(b) - passedOver(a));
  const question = "Who was passed over?";
  if (!list.length) {
    return { question, tone: "ok", answer: "Nobody", evidence: "In the last minute, every event reached all who want it.", command: "vconnect list --wide" };
  }
  const p = list[0];
  const [effect, count] = Object.entries(p.passed_over).sort((a, b) => (b[0] === "refused") - (a[0] === "refused") || b[1] - a[1])
    .find(([, n]) => n > 0);
  const words = { refused: "refused", skipped: "skipped", default: "answered by default" };
  return {
    question, plugin: p.name, tone: effect === "refused" ? "bad" : "warn",
    shape: "barred",
    answer: `${number(count)} ${words[effect] ?? effect}`,
    evidence: (p.why || "In the last minute.") + others(list, "too"),
    command: `vconnect why ${p.name}`,
  };
}

function whyIsItSlow() {
  const question = "Why is it slow?";
  const command = "vconnect list --wide --sort p99";
  const timed = store.plugins.filter((p) => known(p.latency?.p99_s));
  const list = timed.filter((p) => p.is_slow)
    .sort((a, b) => (b.share ?? 0) - (a.share ?? 0) || b.latency.p99_s - a.latency.p99_s);
  if (!list.length) {
    const worst = timed.sort((a, b) => b.latency.p99_s - a.latency.p99_s)[0];
    return {
      question, tone: "ok", command, answer: "Nothing is",
      evidence: worst ? `The slowest p99 is ${worst.name}'s: ${time(worst.latency.p99_s)}.` : "No event in the last minute.",
    };
  }
  const p = list[0];
  const chain = store.chains.find((c) => c.steps.some((s) => s.plugin === p.name && s.share > 0));
  const share = known(p.share) ? [`${percent(p.share * 100)} of the time`, chain ? [" of ", h("span.mono", chain.event)] : "", "; its median is "] : "Its median is ";
  return {
    question, plugin: p.name, tone: "warn", command, answer: ["p99 ", h("em", time(p.latency.p99_s))], plain: true,
    evidence: [share, time(p.latency.p50_s), p.latency.count < 100 ? `, of ${many(p.latency.count, "answer")}.` : ".", others(list, "slow")],
  };
}

function whatDoesNotRun(shown) {
  const question = "What does not run?";
  const list = store.plugins.filter(inTrouble);
  const p = list.find((one) => one.name !== shown) ?? list[0];
  if (!p) {
    const stopped = store.plugins.filter((one) => !one.serving && ["stopped", "installed"].includes(one.shape));
    return {
      question, tone: "ok", answer: "All that should, runs", command: "vconnect list",
      evidence: stopped.length ? `${many(stopped.length, "plugin")} stopped or not started, as asked for.` : "Every plugin serves.",
    };
  }
  return { question, plugin: p.name, tone: "bad", shape: p.shape, answer: p.state, evidence: p.why + others(list, "too"), command: `vconnect why ${p.name}` };
}

function whatIsUnderPressure() {
  const question = "What is under pressure?";
  const list = store.plugins.filter(pressed)
    .sort((a, b) => (b.dropped_last_minute ?? 0) - (a.dropped_last_minute ?? 0) || fullness(b) - fullness(a));
  if (!list.length) {
    const lag = store.loopLag;
    return { question, tone: "ok", answer: "Nothing is", evidence: `No queue is near its limit${known(lag) ? `; loop lag p99 is ${time(lag)}` : ""}.`, command: "vconnect top" };
  }
  const p = list[0];
  const dropped = p.dropped_last_minute ? `; ${many(p.dropped_last_minute, "notification")} dropped in the last minute` : "";
  const full = fullness(p) >= 1 ? "queue full" : fullness(p) >= 0.8 ? `queue ${percent(fullness(p) * 100)} full` : "drops notifications";
  return { question, plugin: p.name, tone: "warn", answer: full, evidence: `${number(p.queue?.events ?? 0)} waiting${dropped}.${others(list, "too")}`, command: "vconnect top" };
}

const MARKS = { bad: "error", warn: "starting", ok: "running" };

function answerCard({ question, plugin, tone: kind, answer, plain, evidence, command, shape: mark }) {
  const said = plugin ? [pluginLink(plugin), ": ", plain ? answer : h("em", answer)] : answer;
  return h(`div.panel.answer.${kind}`,
    h("p.q", question, h(`span.s-${kind}`, shape(mark ?? MARKS[kind], 15))),
    h("p.a", said), h("p.d", evidence), h("p.cmd", h("code", command)));
}

function answers() {
  const passed = whoWasPassedOver();
  return [passed, whyIsItSlow(), whatDoesNotRun(passed.plugin), whatIsUnderPressure()];
}

// --- The chain bar -------------------------------------------------------------------------

function chainBar() {
  const select = h("select", { "aria-label": "Event", change: () => draw() });
  const flow = h("div.flow", { role: "list", "aria-label": "Plugins of the chain, in order" });
  const legend = h("div.legend");
  const node = panel("Where the time of an event goes", {
    note: select, right: h("span.small.muted", "width: share of the chain's time, last minute"),
  }, h("div.chain", flow, legend));
  let names = "";

  function options() {
    const wanted = store.chains.map((c) => c.event).join("\n");
    if (wanted !== names) {
      names = wanted;
      const kept = select.value;
      put(select, store.chains.map((c) => h("option", { value: c.event })));
      if (store.chains.some((c) => c.event === kept)) select.value = kept;
    }
    store.chains.forEach((c, i) => say(select.options[i], `${c.event} · ${rate(c.per_s)}/s`));
  }

  function segment(step) {
    const p = store.plugins.find((one) => one.name === step.plugin);
    const kind = !step.serving ? "over" : p?.is_slow ? "slow" : "";
    const share = known(step.share) ? percent(step.share * 100) : "";
    const words = !step.serving ? [share, step.state].filter(Boolean).join(", ")
      : step.observer ? "no wait" : known(step.p99_s) ? `p99 ${time(step.p99_s)}` : NONE;
    const bar = h("i", { "aria-hidden": "true" });
    const seg = h(`div.seg${kind && `.${kind}`}`, { role: "listitem", title: `${clean(step.plugin)}: ${clean(words)}${share && step.serving ? `, ${share}` : ""}` },
      h("b", step.plugin), h("span.track", bar), h("span.w", words));
    seg.style.flexGrow = Math.max(0.5, (step.share ?? 0) * 100);
    bar.style.width = `${Math.max(2, kind === "over" ? 100 : (step.share ?? 0) * 100)}%`;
    return seg;
  }

  function draw() {
    node.hidden = !store.chains.length;
    if (node.hidden) return;
    options();
    const chain = store.chains.find((c) => c.event === select.value) ?? store.chains[0];
    put(flow, chain.steps.map(segment));
    const off = chain.steps.filter((s) => !s.serving);
    const slow = chain.steps.some((s) => store.plugins.find((p) => p.name === s.plugin)?.is_slow);
    put(legend,
      h("span", "Whole chain p50 ", h("b", time(chain.p50_s)), ", p99 ", h("b", time(chain.p99_s)),
        known(chain.count) && chain.count < 100 ? ` of ${number(chain.count)}` : ""),
      off.length > 0 && h("span.state.s-bad", shape("barred", 12), `not asked now: ${[...new Set(off.map((s) => s.state))].join(", ")}`),
      slow && h("span.state.s-warn", shape("starting", 12), "slow: near its deadline, or most of the chain's time"));
  }
  return { node, draw };
}

// --- The table -----------------------------------------------------------------------------

function whyTone(p) {
  if (tone(p.shape) === "bad") return "bad";
  if (p.passed_over?.refused > 0) return "bad";
  return p.is_slow || pressed(p) ? "warn" : "";
}

function meta(p) {
  return [p.language, p.role, p.priority].filter((part) => known(part) && part !== "").join(" · ");
}

function row(p) {
  const parts = {
    state: h("td.c-state"), version: h("span.meta"), meta: h("span.meta.line"), why: h("span.why"),
    events: h("span"), queue: h("td.num.c-queue"), cpu: h("span"), memory: h("span.small.muted.line"),
    restarts: h("td.num.c-rest"), eventSpark: spark(56, 20), cpuSpark: spark(44, 20), lat: latency(),
  };
  const name = h("a.name", { href: `#/plugins/${enc(p.name)}` }, p.name);
  const why = h("td.c-why", parts.why);
  const node = h("tr", { "data-name": p.name },
    parts.state,
    h("th.c-name", { scope: "row" }, name, " ", parts.version, parts.meta),
    why,
    h("td.num.c-ev", h("span.pair", parts.eventSpark.node, parts.events)),
    h("td.num.c-lat", parts.lat.node),
    parts.queue,
    h("td.num.c-cpu", h("span.pair", parts.cpuSpark.node, h("span", parts.cpu, parts.memory))),
    parts.restarts);
  // A click anywhere in the row follows its link, unless text is being selected.
  node.addEventListener("click", (event) => {
    if (!event.target.closest("a") && !String(getSelection())) name.click();
  });

  let shownState = "";
  function draw(now) {
    if (shownState !== now.shape + now.state) {
      shownState = now.shape + now.state;
      put(parts.state, badge(now.shape, now.state));
    }
    say(parts.version, now.version ?? "");
    say(parts.meta, meta(now));
    say(parts.why, now.code === "healthy" ? "" : now.why ?? "");
    parts.why.className = `why ${whyTone(now)}`;
    why.classList.toggle("empty", !parts.why.textContent);
    numbers(now);
  }

  function numbers(now) {
    const kept = store.history.get(now.name);
    const perSecond = now.now_per_s ?? now.events_per_s;
    say(parts.events, perSecond ? `${rate(perSecond)}\u00a0/s` : NONE);
    parts.events.className = perSecond ? "" : "muted";
    parts.eventSpark.draw(kept?.events ?? []);
    const late = now.latency && (now.outcomes?.late > 0) && tone(now.shape) === "bad";
    parts.lat.draw(now.latency, late ? "bad" : now.is_slow ? "warn" : "");
    const running = known(now.pid);
    const observer = now.role === "observer";
    const full = fullness(now) >= 0.8;
    say(parts.queue, !running ? NONE : observer || full ? `${number(now.queue?.events ?? 0)} / ${number(now.queue?.limit)}` : `${number(now.in_flight ?? 0)} / ${number(now.window)}`);
    parts.queue.className = `num c-queue${full ? " s-warn strong" : running ? "" : " muted"}`;
    say(parts.cpu, percent(now.cpu_percent));
    parts.cpu.className = known(now.cpu_percent) ? "" : "muted";
    say(parts.memory, known(now.rss_bytes) ? bytes(now.rss_bytes) : "");
    parts.cpuSpark.draw(kept?.cpu ?? []);
    say(parts.restarts, number(now.restarts));
    parts.restarts.classList.toggle("muted", !now.restarts);
  }
  return { node, name, draw, numbers };
}

function table(filter) {
  const rows = new Map();
  const body = h("tbody");
  const none = h("p.none.muted", { hidden: true }, "No plugin has that in its name, state or reason.");
  const count = h("span.muted.small");
  const head = [["State"], ["Plugin"], ["Why"], ["Events", "num c-ev"], ["p50 · p99", "num c-lat"], ["Queue", "num c-queue"], ["CPU, memory", "num c-cpu"], ["Restarts", "num c-rest"]];
  const grid = h("table.plugins", h("thead", h("tr", head.map(([word, cls]) => h("th", { scope: "col", class: cls }, word)))), body);
  const node = panel("Plugins", { note: count, right: filter }, grid, none);
  let selected = null;
  let pointed = false; // rows do not change places under the pointer: a click must hit what it meant
  body.addEventListener("pointerenter", (event) => { pointed = event.pointerType === "mouse"; });
  body.addEventListener("pointerleave", () => { pointed = false; arrange(); });
  body.addEventListener("focusin", (event) => select(event.target.closest("tr")?.dataset.name, false));

  function arrange() {
    const wanted = store.plugins.map((p) => rows.get(p.name)?.node).filter(Boolean);
    if (pointed && body.children.length === wanted.length) return;
    if (wanted.every((one, i) => body.children[i] === one)) return;
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    wanted.forEach((one, i) => body.children[i] !== one && body.insertBefore(one, body.children[i] ?? null));
    if (focused && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  function draw() {
    for (const p of store.plugins) {
      if (!rows.has(p.name)) rows.set(p.name, row(p));
      rows.get(p.name).draw(p);
    }
    for (const [name, { node: old }] of rows) {
      if (store.plugins.some((p) => p.name === name)) continue;
      old.remove();
      rows.delete(name);
    }
    arrange();
    applyFilter();
  }

  function applyFilter() {
    const text = filter.value.trim().toLowerCase();
    let seen = 0;
    for (const p of store.plugins) {
      const fits = [p.name, p.state, p.why, p.language, p.role].join("\n").toLowerCase().includes(text);
      rows.get(p.name).node.hidden = !fits;
      seen += fits;
    }
    none.hidden = seen > 0;
    const total = store.plugins.length;
    say(count, text ? `${seen} of ${number(total)}` : `${number(total)} · trouble first, then chain order`);
  }

  function select(name, focus = true) {
    if (!rows.has(name)) return;
    rows.get(selected)?.node.classList.remove("sel");
    selected = name;
    rows.get(name).node.classList.add("sel");
    if (focus) rows.get(name).name.focus();
  }

  function move(by) {
    const seen = store.plugins.filter((p) => !rows.get(p.name).node.hidden).map((p) => p.name);
    if (seen.length) select(seen[Math.max(0, Math.min(seen.length - 1, seen.indexOf(selected) + by))]);
  }

  filter.addEventListener("input", applyFilter);
  return {
    node, draw, move,
    selected: () => selected ?? store.plugins[0]?.name,
    numbers: () => store.plugins.forEach((p) => rows.get(p.name)?.numbers(p)),
  };
}

// --- What happened -------------------------------------------------------------------------

function happening(item) {
  const named = item.plugin ? h("b", item.plugin) : null;
  // The host's text may begin with the name; it is not said twice.
  const text = item.plugin && item.text.startsWith(item.plugin) ? item.text.slice(item.plugin.length).replace(/^:?\s+/, "") : item.text;
  return h("li", when(item.time), h("span", h(`span.mark.s-${tone(item.shape)}`, shape(item.shape, 11)), named, named && " ", text));
}

function feed() {
  const list = h("ol.feed", { tabindex: 0, "aria-label": "What happened, newest first" });
  const button = h("button.quiet", { click: () => toggle() }, "Pause");
  const node = panel("What happened", { right: button }, list);
  let paused = false;
  let missed = 0;
  function drawAll() {
    missed = 0;
    put(list, store.happenings.length ? store.happenings.map(happening) : h("li.muted", "Nothing yet."));
  }
  function add(item) {
    if (paused) {
      missed += 1;
      say(button, `${number(missed)} new · go on`);
      return;
    }
    if (store.happenings.length === 1) put(list);
    const before = list.scrollTop;
    const added = happening(item);
    list.prepend(added);
    while (list.children.length > 200) list.lastChild.remove();
    if (before > 0) list.scrollTop = before + added.offsetHeight; // the reader keeps the place
  }
  function toggle() {
    paused = !paused;
    say(button, paused ? "Paused · go on" : "Pause");
    if (!paused) drawAll();
  }
  return { node, drawAll: () => paused || drawAll(), add, toggle };
}

// --- Nothing there -------------------------------------------------------------------------

function empty() {
  return h("section.panel.empty", { "aria-label": "No plugins yet" },
    h("p.muted", "Make one, and run it from its source directory:"),
    h("pre", "vconnect new hello\nvconnect dev ./hello"),
    h("p.muted", "or install a package: ", h("code", "vconnect install ./hello-0.1.0.vp")));
}

export function loading() {
  const bar = (width) => {
    const node = h("div");
    node.style.width = width;
    return h("td", node);
  };
  const rows = Array.from({ length: 6 }, () => h("tr", bar("90%"), bar("70%"), bar("100%"), bar("60%")));
  return h("section.panel.late", { "aria-label": "Loading" },
    h("div.head", h("h2", "Plugins"), h("span.muted.small", "loading")), h("table.skel", { "aria-hidden": "true" }, h("tbody", rows)));
}

// --- The view ------------------------------------------------------------------------------

export function pluginsView() {
  const title = h("h1", { tabindex: -1 }, "Plugins");
  const until = h("span.muted");
  const cards = h("section.answers", { "aria-label": "Answers" });
  const filter = h("input", { type: "search", placeholder: "Filter ( / )", "aria-label": "Filter plugins", size: 14 });
  const chain = chainBar();
  const plugins = table(filter);
  const happened = feed();
  const keys = h("p.keys", [["/", "filter"], ["j", "k", "move"], ["Enter", "open"], ["l", "log"], ["r", "restart"], [".", "pause"], ["?", "all keys"]]
    .map((group) => h("span", group.slice(0, -1).map((key) => h("kbd", key)), group.at(-1))));
  const full = [cards, chain.node, h("div.grid", plugins.node, happened.node), keys];
  const content = h("div");
  const node = h("div", h("div.headline", title, until), content);
  let cardsSaid = "";
  let showing = null;

  function show(what, make) {
    if (showing === what) return;
    showing = what;
    put(content, make());
  }

  function draw() {
    if (!store.loaded) return show("loading", loading);
    say(title, headline());
    if (!store.plugins.length) {
      say(until, "");
      return show("empty", empty);
    }
    show("full", () => full);
    plugins.draw();
    summary();
  }

  function summary() {
    const seconds = Math.round(store.plugins[0]?.window_s ?? 60);
    say(until, `${seconds >= 60 ? "last minute" : `last ${seconds} s`}, until ${clock(store.at)}`);
    const cardList = answers();
    const saying = cardList.map(answerCard);
    const said = saying.map((card) => card.textContent + card.className).join("\n");
    // Cards are made anew only if they say something else, so that a focused link stays.
    if (said !== cardsSaid && !cards.contains(document.activeElement)) {
      cardsSaid = said;
      put(cards, saying);
    }
    chain.draw();
  }

  draw();
  happened.drawAll();
  const go = (suffix) => { location.hash = `#/plugins/${enc(plugins.selected())}${suffix}`; };
  return {
    node, filter, title: () => "",
    on: {
      plugins: draw,
      passed: draw,
      metrics() {
        if (showing !== "full") return;
        say(title, headline());
        plugins.numbers();
        summary();
      },
      happenings: happened.drawAll,
      happening: happened.add,
    },
    keys: {
      j: () => plugins.move(1),
      k: () => plugins.move(-1),
      Enter: () => plugins.selected() && go(""),
      l: () => plugins.selected() && go("?log"),
      r: () => askOrder(plugins.selected(), "restart"),
      s: () => askOrder(plugins.selected(), store.plugins.find((p) => p.name === plugins.selected())?.pid ? "stop" : "start"),
      ".": happened.toggle,
    },
  };
}
