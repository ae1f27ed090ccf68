// The page of the chat: what the server says is shown, what the reader does is sent.

import { Connection } from "./connection.js";
import { $ } from "./dom.js";
import * as messages from "./messages.js";
import { showPeople, showPlugins, showRooms, showTyping } from "./sides.js";

const TYPING_AGAIN_MS = 3000;
const THEMES = { "": "as the system", light: "light", dark: "dark" };

let me = { uid: "", name: sessionStorage.getItem("name") ?? "" };
let room = sessionStorage.getItem("room") ?? "";
let rooms = [];
let typedAt = 0;

const connection = new Connection({
  opened: () => connection.send({ type: "hello", name: me.name, room }),
  received: (message) => answers[message.type]?.(message),
  lost: showLost,
});

const answers = {
  welcome(message) {
    me = { uid: message.uid, name: message.name };
    rooms = message.rooms;
    $("banner").hidden = $("welcome").hidden = true;
    $("chat").hidden = $("say").querySelector("button").disabled = false;
    $("text").focus();
  },
  room(message) {
    const isSame = message.room === room;
    room = message.room;
    sessionStorage.setItem("room", room);
    $("room").textContent = `# ${room}`;
    document.title = `${room} · Chat`;
    $("text").placeholder = `Message to # ${room}, or /help`;
    messages.fill(message.messages, isSame);
    showPeople(message.users, me.uid);
    showRooms(rooms, room, join);
  },
  rooms(message) {
    rooms = message.rooms;
    showRooms(rooms, room, join);
  },
  presence(message) {
    if (message.room === room) showPeople(message.users, me.uid);
  },
  message(message) {
    showTyping({ uid: message.from.uid });
    if (message.room === room || message.nonce) messages.show(message);
  },
  typing: showTyping,
  plugins: showPlugins,
  notice: (message) => messages.notice(message.text),
  refused({ nonce, code, message }) {
    if (code === "bad_name") askName(message);
    else if (!messages.refuse(nonce, `Not sent: ${message}`, edit)) messages.notice(message);
  },
};

function join(name) {
  connection.send({ type: "join", room: name });
  $("text").focus();
}

function say() {
  const text = $("text").value.trim();
  if (!text) return;
  const nonce = crypto.randomUUID();
  messages.showWaiting({ from: me, at: Date.now() / 1000, text, nonce });
  const problem = connection.send({ type: "say", room, text, nonce });
  if (problem) messages.refuse(nonce, `Not sent: ${problem}`, edit);
  $("text").value = "";
  typedAt = 0;
}

/** Put a message that was refused back to where it was written. */
function edit(text) {
  $("text").value = text;
  $("text").focus();
}

function tellTyping() {
  const now = Date.now();
  const isOn = $("text").value !== "";
  if (isOn && now - typedAt < TYPING_AGAIN_MS) return;
  if (!isOn && typedAt === 0) return;
  typedAt = isOn ? now : 0;
  connection.send({ type: "typing", on: isOn });
}

function showLost(seconds) {
  if ($("chat").hidden) {
    $("name-error").textContent = `The server does not answer. Next try in ${seconds} s.`;
    return;
  }
  messages.giveUp(edit);
  $("say").querySelector("button").disabled = true;
  $("banner").hidden = false;
  $("banner-text").textContent = `The connection was lost. Next try in ${seconds} s.`;
}

function askName(problem) {
  $("chat").hidden = true;
  $("welcome").hidden = false;
  $("name-error").textContent = problem;
  $("name").value = me.name;
  $("name").focus();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem("theme", theme);
  $("theme").setAttribute("aria-label", `Theme: ${THEMES[theme]}`);
  $("theme").title = `Theme: ${THEMES[theme]}`;
}

$("hello").addEventListener("submit", (event) => {
  event.preventDefault();
  $("name-error").textContent = "";
  me.name = $("name").value;
  sessionStorage.setItem("name", me.name);
  connection.open();
});
$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  say();
});
$("text").addEventListener("input", tellTyping);
$("retry").addEventListener("click", () => connection.open());
$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const current = document.documentElement.dataset.theme ?? "";
  setTheme(names[(names.indexOf(current) + 1) % names.length]);
});

const theme = localStorage.getItem("theme") ?? "";
setTheme(theme in THEMES ? theme : "");
if (me.name) connection.open();
else $("name").focus();
