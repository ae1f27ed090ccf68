// The messages of a room. The view follows the newest one, unless the reader has scrolled up.

import { $, clock, element, face, nameOf } from "./dom.js";

const MAX_LINES = 500;
const TOGETHER_S = 120; // messages of one person within this time have one head
const AT_THE_END_PX = 40;

let last = null; // the last message: who, and when
let unread = 0;
let isFollowing = true;
const waiting = new Map(); // lines of our own that the server has not answered, by nonce

/** Show the messages of a room; where it is the same as before, what was lost stays below them. */
export function fill(messages, isSame) {
  const log = $("messages");
  const lost = isSame ? [...log.querySelectorAll("[data-lost]")] : [];
  $("scroller").setAttribute("aria-live", "off"); // an old conversation is not read out
  log.replaceChildren();
  last = null;
  for (const message of messages) append(lineOf(message));
  lost.forEach(append);
  last = null;
  showEnd();
  requestAnimationFrame(() => $("scroller").removeAttribute("aria-live"));
}

/** Show a message; it may be one of our own that waited. */
export function show(message) {
  const line = message.nonce && waiting.get(message.nonce);
  if (!line) {
    append(lineOf(message));
    return;
  }
  waiting.delete(message.nonce);
  delete line.dataset.state;
  line.querySelector(".text").textContent = message.text;
  tellEdits(line, message.by);
}

/** Show a message of our own that is on its way. */
export function showWaiting(message) {
  const line = lineOf(message);
  line.dataset.state = "waiting";
  waiting.set(message.nonce, line);
  showEnd();
  append(line);
}

/** Show under a message of our own why nobody got it. */
export function refuse(nonce, why, editAgain) {
  const line = waiting.get(nonce);
  if (!line) return false;
  waiting.delete(nonce);
  line.dataset.state = "refused";
  const text = line.querySelector(".text").textContent;
  const edit = element("button", "", "Edit");
  edit.type = "button";
  edit.addEventListener("click", () => editAgain(text));
  const refusal = element("p", "refusal", element("span", "", `⊘ ${why}`), edit);
  keepEnd(() => line.querySelector(".body").append(refusal));
  return true;
}

/** Say of all messages on their way that nobody knows what became of them. */
export function giveUp(editAgain) {
  for (const [nonce, line] of [...waiting]) {
    line.dataset.lost = "";
    refuse(nonce, "The connection was lost. Perhaps nobody got this.", editAgain);
  }
}

/** Show a line of the server. */
export function notice(text) {
  last = null;
  append(element("li", "notice", text));
}

function lineOf(message) {
  const { from, at } = message;
  const isFirst = !last || last.uid !== from.uid || at - last.at > TOGETHER_S;
  last = { uid: from.uid, at };
  const text = element("div", "text", message.text);
  text.dir = "auto";
  const body = element("div", "body", text);
  const line = element("li", isFirst ? "message first" : "message", body);
  if (isFirst) {
    line.prepend(face(from));
    body.prepend(headOf(message));
  } else {
    text.title = new Date(at * 1000).toLocaleTimeString();
  }
  tellEdits(line, message.by);
  return line;
}

function headOf({ from, at, bot }) {
  const head = element("div", "who", nameOf(from, "strong"));
  if (bot) head.append(element("span", "tag", "bot"));
  head.append(clock(at));
  return head;
}

function tellEdits(line, by = []) {
  if (by.length === 0) return;
  const words = `edited by ${by.join(", ")}`;
  keepEnd(() => line.querySelector(".body").append(element("div", "edited", words)));
}

function append(line) {
  const log = $("messages");
  keepEnd(() => {
    log.append(line);
    // Old lines leave only while nobody reads them.
    while (isFollowing && log.children.length > MAX_LINES) log.firstElementChild.remove();
  });
  $("empty").hidden = true;
  if (!isFollowing) countUnread(unread + 1);
}

function keepEnd(change) {
  change();
  if (isFollowing) $("scroller").scrollTop = $("scroller").scrollHeight;
}

function showEnd() {
  $("empty").hidden = $("messages").children.length > 0;
  isFollowing = true;
  countUnread(0);
  keepEnd(() => {});
}

function countUnread(count) {
  unread = count;
  $("newer").hidden = count === 0;
  $("newer").textContent = count === 1 ? "1 new message ↓" : `${count} new messages ↓`;
}

$("newer").addEventListener("click", showEnd);
$("scroller").addEventListener("scroll", () => {
  const { scrollTop, scrollHeight, clientHeight } = $("scroller");
  isFollowing = scrollHeight - scrollTop - clientHeight < AT_THE_END_PX;
  if (isFollowing) countUnread(0);
});
new ResizeObserver(() => keepEnd(() => {})).observe($("scroller"));
