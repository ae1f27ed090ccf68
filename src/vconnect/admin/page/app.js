// The frame: which view is open, the top bar, keys, theme, connection and session.

import { clean, clock, h, known, put, remember, remembered, say, shape, span, time } from "./dom.js";
import { begin, connect, inTrouble, logIn, look, mayOrder, on, store, tryNow, watch } from "./live.js";
import { onResult, pluginView } from "./plugin.js";
import { pluginsView } from "./plugins.js";
import { consoleView, hostView, traceView } from "./tools.js";

const at = (id) => document.getElementById(id);
const main = at("main");

// --- Views ---------------------------------------------------------------------------------

let view = null;
let shownHash = null;
const places = new Map(); // where each view was scrolled to
const result = h("div.outcome", { role: "status", hidden: true });
const holder = h("div");
main.append(result, holder);

function route(hash) {
  const [path, query] = hash.replace(/^#/, "").split("?");
  const [, first, second] = path.split("/");
  if (first === "plugins" && second) {
    try {
      return pluginView(decodeURIComponent(second), query === "log");
    } catch {
      return pluginsView();
    }
  }
  return ({ console: consoleView, trace: traceView, host: hostView }[first] ?? pluginsView)();
}

function markNavigation() {
  const here = location.hash.split("/")[1] ?? "";
  for (const link of document.querySelectorAll("nav.main a")) {
    const there = link.getAttribute("href").split("/")[1];
    if (there === here || (there === "" && here === "plugins")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function show() {
  const hash = location.hash || "#/";
  if (hash.startsWith("#/login/")) return enter(hash.slice("#/login/".length));
  if (hash === shownHash) return;
  const first = shownHash === null;
  if (!first) places.set(shownHash, scrollY);
  shownHash = hash;
  view?.close?.();
  view = route(hash);
  put(holder, view.node);
  result.hidden = true;
  markNavigation();
  watch(view.watch ?? {});
  if (store.loaded) started();
  gate();
  sayTitle();
  if (first) return;
  scrollTo(0, places.get(hash) ?? 0);
  if (!hash.endsWith("?log")) view.node.querySelector("h1")?.focus({ preventScroll: true });
}

/** A view asks for its own data once the host has answered. */
function started() {
  if (view?.begin && !view.begun) {
    view.begun = true;
    view.begin();
  }
}

for (const kind of ["plugins", "metrics", "passed", "happening", "happenings", "log", "trace", "audit", "dropped", "reborn", "snapshot"]) {
  on(kind, (data) => view?.on?.[kind]?.(data));
}

// --- Top bar, title, one polite sentence ---------------------------------------------------

const LINK_WORDS = { connecting: "connecting", live: "live", lost: "retrying", ended: "logged out", asleep: "paused" };

function sayTitle() {
  const count = store.plugins.filter(inTrouble).length;
  const place = view?.title() ?? "";
  document.title = `${count ? `(${count}) ` : ""}${[place && clean(place), "vconnect", store.host?.name && clean(store.host.name)].filter(Boolean).join(" · ")}`;
}

function sayFacts() {
  const { host } = store;
  say(at("fact-host"), host?.name ?? "–");
  say(at("fact-lag"), time(store.loopLag));
  say(at("fact-up"), known(host?.uptime_s) ? span(host.uptime_s + Date.now() / 1000 - store.hostSeen) : "–");
  say(at("fact-role"), store.role ?? "–");
  sayTitle();
}

let saidAt = 0;
let toSay = "";
function announce(text) {
  toSay = text;
  const wait = Math.max(0, 10000 - (Date.now() - saidAt));
  setTimeout(() => {
    if (!toSay || Date.now() - saidAt < 10000) return;
    say(at("polite"), toSay);
    saidAt = Date.now();
    toSay = "";
  }, wait);
}

on("changed", (p) => announce(`${p.name}: ${p.state}`));
on("metrics", sayFacts);
on("plugins", sayFacts);

// --- Orders: off without the role, and while nobody answers --------------------------------

function gate() {
  const reason = mayOrder();
  for (const button of document.querySelectorAll("[data-order]")) {
    button.disabled = Boolean(reason);
    button.title = reason;
  }
  for (const word of document.querySelectorAll(".refused-word")) say(word, store.loaded ? reason : "");
}

document.addEventListener("gate", gate);
document.addEventListener("rewatch", () => watch(view?.watch ?? {}));

onResult(({ title, detail, next, bad, busy }) => {
  result.className = `outcome panel ${bad ? "bad" : busy ? "busy" : "good"}`;
  result.hidden = false;
  put(result, shape(bad ? "error" : busy ? "starting" : "running", 14),
    h("div.grow", h("b", title), detail && h("p", detail), next && h("p.small", h("b", "Next: "), next)),
    !busy && h("button.quiet", { click: () => { result.hidden = true; } }, "Close"));
  if (result.getBoundingClientRect().top < 0) result.scrollIntoView({ block: "center" });
});

// --- Connection and session ----------------------------------------------------------------

const banner = at("banner");
let counting = 0;

function lostBanner() {
  const left = h("span");
  const retry = h("button.link", { click: tryNow }, "Try now");
  const since = store.loaded ? ` What you see is from ${clock(store.at)}.` : "";
  const { problem } = store;
  const said = problem?.status ? ` This host answers ${problem.status}: ${problem.detail}` : "";
  put(banner, h("p", { role: "alert" }, h("b", store.loaded ? "Connection lost." : "No connection."), since, said, problem?.next && ` ${problem.next}`),
    h("p", left, " ", retry));
  const count = () => say(left, store.retryAt ? `Trying again in ${Math.max(0, Math.ceil(store.retryAt - Date.now() / 1000))} s.` : "Trying now.");
  count();
  counting = setInterval(count, 250);
}

function loginForm(message = "") {
  const error = h("span.err.small", { id: "token-error", role: "alert" }, message);
  const field = h("input", { id: "token", type: "password", autocomplete: "current-password", "aria-describedby": "token-help token-error" });
  const button = h("button.primary", { click: () => submit() }, "Log in");
  async function submit() {
    if (!field.value.trim()) return;
    button.disabled = true;
    try {
      await logIn({ token: field.value.trim() });
    } catch (problem) {
      say(error, [problem.detail, problem.next].filter(Boolean).join(" "));
      field.setAttribute("aria-invalid", "true");
      field.focus();
    }
    button.disabled = false;
  }
  return h("form.login", { submit: (event) => { event.preventDefault(); submit(); } },
    h("label", { for: "token" }, "Token"), h("div.acts.left", field, button), error,
    h("p.small.muted", { id: "token-help" }, "Run ", h("code", "vconnect dashboard"), " for an address that logs in by itself, or paste a token of the host."));
}

let loginError = "";
function endedView() {
  const ended = store.loaded;
  const title = h("h1", { tabindex: -1 }, ended ? "Your session ended" : "Log in");
  const box = h("section.panel.loginbox", { "aria-label": "Log in" }, title,
    h("p.muted", ended ? "Log in again: the view you had comes back." : "This host asks who you are."), loginForm(loginError));
  loginError = "";
  return box;
}

/** With data on the screen the field stands above it, and the view is kept. */
function drawLink() {
  const { link, loaded } = store;
  document.body.classList.toggle("lost", loaded && ["lost", "ended"].includes(link));
  at("link").dataset.link = link;
  say(at("link-word"), LINK_WORDS[link]);
  clearInterval(counting);
  banner.hidden = !(link === "lost" || (link === "ended" && loaded) || store.worker !== null);
  const empty = h("span");
  put(banner, empty);
  if (link === "lost") lostBanner();
  else if (link === "ended" && loaded) put(banner, h("h2", "Your session ended"), h("p", "Log in again: the view stays as it is."), loginForm(loginError));
  else if (store.worker !== null) put(banner, h("p", "You look at another worker: ", h("b", store.host?.name ?? store.worker), ". "), h("button.link", { click: () => look(null) }, "Back to the first"));
  if (link === "ended" && !loaded) {
    put(holder, endedView());
    at("token")?.focus();
  } else if (view && !view.node.isConnected) put(holder, view.node);
  gate();
}

on("link", drawLink);
on("snapshot", () => {
  started();
  gate();
});

/** #/login/CODE: the code becomes a cookie, and leaves the address at once. */
async function enter(code) {
  history.replaceState(null, "", "#/");
  let text = code;
  try {
    text = decodeURIComponent(code);
  } catch {
    // Taken as it is: the host refuses what is no code.
  }
  try {
    await logIn({ code: text });
  } catch (problem) {
    loginError = [problem.detail, problem.next].filter(Boolean).join(" ");
    connect();
  }
  show();
}

// --- Theme and keys ------------------------------------------------------------------------

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember("theme", root.dataset.theme);
}

const HELP = [
  ["Everywhere", [["/", "filter"], ["t", "switch the theme"], ["?", "this list"]]],
  ["Plugins", [["j k", "move down, up"], ["Enter", "open the selected one"], ["l", "its log"], ["r", "restart it"], ["s", "stop or start it"], [".", "pause what happened"]]],
  ["A plugin", [["f", "follow the log"], [".", "pause or follow"], ["Home End", "ends of the log"], ["[ ]", "neighbors"], ["u", "back"], ["r s", "restart, stop or start"]]],
  ["Console, Trace, Host", [["Ctrl Enter", "send"], [".", "pause the trace"], ["d", "check again"]]],
];

function help() {
  if (document.querySelector("dialog")) return;
  const single = h("input", { type: "checkbox", id: "single", checked: remembered("keys", "on") === "on", change: () => remember("keys", single.checked ? "on" : "off") });
  const groups = HELP.map(([title, keys]) => h("section", h("h3", title), h("dl.keylist", keys.map(([key, what]) => [h("dt", key.split(key.startsWith("Ctrl") ? "\n" : " ").map((k) => h("kbd", k))), h("dd", what)]))));
  const close = h("button.primary", { click: () => dialog.close() }, "Close");
  const dialog = h("dialog.wide", { "aria-labelledby": "help-title", close: () => dialog.remove() }, h("h2", { id: "help-title" }, "Keys and settings"), h("div.helpgrid", groups),
    h("div.field.check", single, h("label", { for: "single" }, "Single-letter keys"), h("span.small.muted", "switch them off if they clash with your tools")),
    h("div.acts", h("button", { click: switchTheme }, "Switch theme"), close));
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
}

const COMMON = {
  "/": () => view?.filter?.focus(),
  t: switchTheme,
  "?": help,
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("input, textarea, select, dialog")) {
    if (event.key === "Escape" && event.target.matches("input[type=search]")) event.target.blur();
    return;
  }
  const single = event.key.length === 1;
  if (single && remembered("keys", "on") !== "on") return;
  // Enter and the ends belong to whatever has focus.
  if (event.key === "Enter" && event.target !== document.body && !event.target.closest("h1, main[tabindex]:focus")) return;
  const act = store.loaded ? view?.keys?.[event.key] ?? COMMON[event.key] : COMMON[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

at("theme").addEventListener("click", switchTheme);
at("keys").addEventListener("click", help);
at("skip").addEventListener("click", () => main.focus());
document.addEventListener("keydown", onKey);
addEventListener("hashchange", show);

if (location.hash.startsWith("#/login/")) {
  const code = location.hash.slice("#/login/".length);
  drawLink();
  begin({ later: true });
  enter(code);
} else {
  show();
  drawLink();
  begin();
}
