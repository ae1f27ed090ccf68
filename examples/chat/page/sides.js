// What stands around the messages: rooms, people, who types, the strip of plugins.

import { $, element, face, nameOf } from "./dom.js";

const SHAPES = { running: "●", starting: "◐", stopped: "○", down: "⊘" };
const TYPING_MS = 6000;

const typing = new Map(); // names and timers, by uid
let states = new Map();

export function showRooms(rooms, current, join) {
  const focused = document.activeElement?.dataset?.room;
  $("rooms").replaceChildren(...rooms.map((room) => roomItem(room, current, join)));
  if (focused) document.querySelector(`[data-room="${CSS.escape(focused)}"]`)?.focus();
}

function roomItem({ name, people }, current, join) {
  const count = element("span", "count", String(people));
  count.append(element("span", "hidden", people === 1 ? " person" : " people"));
  const button = element("button", "", element("span", "", `# ${name}`), count);
  button.type = "button";
  button.dataset.room = name;
  if (name === current) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => join(name));
  return element("li", "", button);
}

export function showPeople(users, uid) {
  $("people-title").textContent = `Here: ${users.length}`;
  const byName = [...users].sort((a, b) => a.name.localeCompare(b.name));
  $("people").replaceChildren(
    ...byName.map((user) => {
      const item = element("li", "", face(user), nameOf(user));
      if (user.uid === uid) item.append(element("span", "you", " you"));
      return item;
    }),
  );
  const here = new Set(users.map((user) => user.uid));
  for (const gone of [...typing.keys()].filter((one) => !here.has(one))) showTyping({ uid: gone });
}

/** Somebody types, or has ended. One who says nothing more has ended, too. */
export function showTyping({ uid, name, on }) {
  clearTimeout(typing.get(uid)?.timer);
  typing.delete(uid);
  if (on) {
    const timer = setTimeout(() => showTyping({ uid }), TYPING_MS);
    typing.set(uid, { name, timer });
  }
  $("typing").textContent = typingWords([...typing.values()].map((one) => one.name));
}

function typingWords(names) {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing …`;
  return names.length < 4 ? `${names.join(", ")} are typing …` : "Several people are typing …";
}

export function showPlugins({ plugins, dashboard }) {
  $("plugins").replaceChildren(...plugins.map(pluginItem));
  linkLabel(dashboard);
  const changed = plugins.filter(({ name, state }) => (states.get(name) ?? state) !== state);
  states = new Map(plugins.map(({ name, state }) => [name, state]));
  $("said").textContent = changed.map(({ name, state }) => `${name}: ${state}`).join(", ");
}

function pluginItem({ name, state, why }) {
  const shape = element("b", "", SHAPES[state] ?? "?");
  shape.setAttribute("aria-hidden", "true");
  const item = element("li", "plugin", name, shape, element("span", "hidden", ` ${state}`));
  item.dataset.state = state;
  item.title = why ? `${name}: ${state} (${why})` : `${name}: ${state}`;
  return item;
}

function linkLabel(dashboard) {
  const label = dashboard ? element("a", "", "Plugins ↗") : element("span", "", "Plugins");
  label.id = "strip-label";
  if (dashboard) {
    label.href = dashboard;
    label.target = "_blank";
    label.rel = "noopener noreferrer";
    label.title = "Open the dashboard";
  }
  $("strip-label").replaceWith(label);
}
