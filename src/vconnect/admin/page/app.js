// The frame: which view is open, the top bar, keys, theme, connection and session.

import { NONE, button, clean, clock, dialog, h, joined, known, put, remember, remembered, say, shape, span, step, time } from "./dom.js";
import { begin, connect, inTrouble, logIn, look, mayOrder, on, store, tryNow, watch } from "./live.js";
import { onResult, pluginView } from "./plugin.js";
import { pluginsView } from "./plugins.js";
import { consoleView, hostView, traceView } from "./tools.js";

const at = (id) => document.getElementById(id);
const holder = h("div");
const result = h("div", { role: "status", hidden: true });
at("main").append(result, holder);

// Views

let view = null;
let shown = null;

function route(hash) {
	const [, first, second] = hash.split(/[/?]/);
	if (first === "plugins" && second) return pluginView(new URLSearchParams(`name=${second.replaceAll("+", "%2B")}`).get("name"), hash.endsWith("?log"));
	return ({ console: consoleView, trace: traceView, host: hostView }[first] ?? pluginsView)();
}

function show() {
	const hash = location.hash || "#/";
	if (hash.startsWith("#/login/")) return enter(hash.slice(8));
	if (hash === shown) return;
	const first = shown === null;
	shown = hash;
	view?.close?.();
	view = route(hash);
	result.hidden = true;
	const here = hash.split("/")[1].replace(/^plugins.*/, "");
	for (const link of document.querySelectorAll("nav a")) link.ariaCurrent = link.hash === `#/${here}` ? "page" : null;
	watch(view.watch ?? {});
	drawLink();
	if (store.loaded) started();
	if (first) return;
	scrollTo(0, 0);
	if (!hash.endsWith("?log")) view.node.querySelector("h1").focus({ preventScroll: true });
}

/** A view asks for its own data once the host has answered. */
function started() {
	if (!view.begun) view.begin?.();
	view.begun = true;
}

for (const kind of ["plugins", "metrics", "passed", "happening", "happenings", "log", "trace", "audit", "dropped", "reborn", "snapshot"]) {
	on(kind, (data) => view?.on[kind]?.(data));
}

// Top bar, title, one polite sentence

function sayFacts() {
	const { host, plugins } = store;
	say(at("fact-host"), host?.name ?? NONE);
	say(at("fact-lag"), time(store.loopLag));
	say(at("fact-up"), known(host?.uptime_s) ? span(host.uptime_s + Date.now() / 1000 - store.hostSeen) : NONE);
	say(at("fact-role"), store.role ?? NONE);
	const trouble = plugins.filter(inTrouble).length;
	document.title = (trouble ? `(${trouble}) ` : "") + clean(joined(" · ", view?.title, "vconnect", host?.name));
}

let saidAt = 0;
let toSay = "";
/** At most one sentence in ten seconds, and the newest. */
function announce({ name, state }) {
	toSay = `${name}: ${state}`;
	setTimeout(() => {
		if (!toSay || Date.now() - saidAt < 10000) return;
		say(at("polite"), toSay);
		saidAt = Date.now();
		toSay = "";
	}, Math.max(0, saidAt + 10000 - Date.now()));
}

on("changed", announce);
on("metrics", sayFacts);
on("plugins", sayFacts);

// Orders: off without the role, and while nobody answers

function gate() {
	const reason = mayOrder();
	for (const one of document.querySelectorAll("[data-order]")) {
		one.disabled = reason !== "";
		one.title = reason;
	}
	for (const word of document.querySelectorAll(".refused-word")) say(word, store.loaded ? reason : "");
}

document.addEventListener("gate", gate);
document.addEventListener("rewatch", () => watch(view.watch));

onResult(({ title, detail, next, bad, busy }) => {
	result.className = `outcome panel ${bad ? "bad" : busy ? "busy" : "good"}`;
	result.hidden = false;
	put(result, shape(bad ? "error" : busy ? "starting" : "running"), h("div.grow", h("b", title), detail && h("p", detail), step(next)),
		!busy && button("Close", () => { result.hidden = true; }, ".quiet"));
	if (result.getBoundingClientRect().top < 0) result.scrollIntoView({ block: "center" });
});

// Connection and session

const banner = at("banner");
const WORDS = { lost: "retrying", ended: "logged out", asleep: "paused" };
const wordsOf = ({ detail, next }) => `${detail}. ${next ? `Next: ${next}.` : ""}`;
let counting = 0;
let refusal = "";

function lostParts() {
	const { problem, loaded } = store;
	const left = h("span");
	const count = () => say(left, store.retryAt ? `Trying again in ${Math.max(0, Math.ceil(store.retryAt - Date.now() / 1000))} s.` : "Trying now.");
	count();
	counting = setInterval(count, 250);
	return [h("p", { role: "alert" }, h("b", loaded ? "Connection lost." : "No connection."), loaded && ` What you see is from ${clock(store.at)}.`,
		problem?.status > 0 && ` This host answers ${problem.status}: ${wordsOf(problem)}`), left, button("Try now", tryNow, ".link")];
}

function loginForm(heading) {
	const error = h("span.err.small", { id: "token-error", role: "alert" }, refusal);
	const token = h("input", { id: "token", type: "password", autocomplete: "current-password", "aria-describedby": "token-help token-error" });
	refusal = "";
	async function submit(event) {
		event.preventDefault();
		const problem = token.value && await logIn({ token: token.value.trim() }).then(() => "", (p) => p);
		if (!problem) return;
		say(error, wordsOf(problem));
		token.ariaInvalid = true;
		token.focus();
	}
	return h("form.login", { submit }, heading, h("label", { for: "token" }, "Token"), h("div.acts", token, h("button.primary", { type: "submit" }, "Log in")), error,
		h("p.small.muted", { id: "token-help" }, "Paste a token of the host, or open the address that it prints: that one logs in by itself."));
}

/** With data on the screen the field stands above it, and the view is kept. */
function drawLink() {
	const { link, loaded, worker } = store;
	const ended = link === "ended";
	document.body.classList.toggle("lost", loaded && (ended || link === "lost"));
	at("link").dataset.link = link;
	say(at("link-word"), WORDS[link] ?? link);
	clearInterval(counting);
	const parts = link === "lost" ? lostParts() : ended && loaded ? loginForm(h("h2", "Your session ended"))
		: worker && [h("p", `You look at another worker, ${store.host?.name ?? worker}.`), button("Back to the first", () => look(null), ".link")];
	banner.hidden = !parts;
	put(banner, parts);
	if (ended && !loaded) put(holder, h("section.panel.loginbox", { label: "Log in" }, loginForm(h("h1", { tabindex: -1 }, "Log in"))));
	else if (!view.node.isConnected) put(holder, view.node);
	if (ended) at("token").focus();
	sayFacts();
	gate();
}

on("link", () => view && drawLink());
on("snapshot", started);

/** #/login/CODE: the code becomes a cookie, and leaves the address at once. */
async function enter(code) {
	history.replaceState(null, "", shown ?? "#/");
	await logIn({ code }).catch((problem) => {
		refusal = wordsOf(problem);
		connect();
	});
	show();
}

// Theme and keys

function switchTheme() {
	const { dataset } = document.documentElement;
	const dark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
	dataset.theme = dark ? "light" : "dark";
	remember("theme", dataset.theme);
}

const HELP = {
	Everywhere: { "/": "filter", t: "switch the theme", "?": "this list" },
	Plugins: { "j k": "down, up", Enter: "open", l: "log", r: "restart", s: "stop or start", ".": "pause what happened" },
	"A plugin": { f: "follow the log", ".": "pause or follow", "Home End": "ends of the log", "[ ]": "neighbors", u: "back", "r s": "restart, stop or start" },
	"Console, Trace, Host": { "Ctrl+Enter": "send", ".": "pause the trace", d: "check again" },
};

function help() {
	const single = h("input", { type: "checkbox", id: "single", checked: remembered("keys", "on") === "on", change: () => remember("keys", single.checked ? "on" : "off") });
	const groups = Object.entries(HELP).map(([title, keys]) => h("section", h("h3", title), h("dl.keylist", Object.entries(keys).map(([key, what]) =>
		[h("dt", key.split(" ").map((k) => h("kbd", k))), h("dd", what)]))));
	const close = dialog(["Keys and settings"],
		h("div.helpgrid", groups), h("div.field.check", single, h("label", { for: "single" }, "Single-letter keys"),
		h("span.small.muted", "switch them off if they clash with your tools")),
		h("div.acts", button("Switch theme", switchTheme), button("Close", () => close(), ".primary")));
}

const KEYS = { "/": () => view.filter?.focus(), t: switchTheme, "?": help };

document.addEventListener("keydown", (event) => {
	const { key, target } = event;
	if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select, dialog")) return;
	if (key.length === 1 && remembered("keys", "on") !== "on") return;
	// Enter and the ends belong to whatever has focus.
	if (key.length > 1 && target.closest("a, button, summary")) return;
	const act = (store.loaded && view.keys?.[key]) || KEYS[key];
	if (!act) return;
	event.preventDefault();
	act();
});

at("theme").addEventListener("click", switchTheme);
at("keys").addEventListener("click", help);
at("skip").addEventListener("click", () => at("main").focus());
addEventListener("hashchange", show);
begin();
show();
if (view) connect();
