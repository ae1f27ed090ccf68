#!/usr/bin/env node
"use strict";
// The bot of the chat. It answers messages that begin with "/": the host sends it no others (its
// condition, `match`, is in embedding.py of the chat).

const { randomInt } = require("node:crypto");
const { parseArgs } = require("node:util");
const { Host } = require("./wire.js");

const HELP = "I know /roll [dice]d[sides], /stats and /help.";
const DICE = /^\/roll(?: +(\d{1,2})d(\d{1,4}))?$/;

const { values: options } = parseArgs({
  options: {
    socket: { type: "string" },
    debug: { type: "boolean", short: "d" },
    "log-level": { type: "string" },
  },
});
const host = new Host(
  options.socket,
  {
    plugin_no: "wk.plugin.bot",
    version: "1.0.0",
    priority: 10,
    capabilities: ["message.incoming"],
  },
  hear,
);

/** Post an answer. The hops of the event go along, so that a circle of bots ends. */
async function hear(event, payload, hops) {
  const text = await answer(payload.content, payload.from, hops);
  if (text) await host.call("chat.post", { room: payload.room, text }, hops);
}

async function answer(command, sender, hops) {
  if (command === "/help") return HELP;
  if (command === "/stats") return stats(hops);
  const dice = DICE.exec(command);
  return dice ? roll(sender, Number(dice[1] ?? 1), Number(dice[2] ?? 6)) : "";
}

/** Ask another plugin, which is written in another language and knows nothing of this one. */
async function stats(hops) {
  const question = { plugin: "stats", method: "stats.get", deadline_ms: 2000 };
  try {
    return inWords(await host.call("plugin.call", question, hops));
  } catch (error) {
    return `I cannot get the statistics: ${error.message}.`;
  }
}

function roll(sender, dice, sides) {
  if (dice < 1 || dice > 20 || sides < 2) return "I have up to 20 dice, with 2 sides or more.";
  const thrown = Array.from({ length: dice }, () => randomInt(1, sides + 1));
  const total = dice > 1 ? ` = ${thrown.reduce((sum, one) => sum + one)}` : "";
  return `${sender} rolls ${dice}d${sides}: ${thrown.join(" + ")}${total}`;
}

function inWords({ messages, joined, left, busiest, most }) {
  const who = busiest ? `; ${busiest} said most (${most})` : "";
  return `Since I began to count: ${messages} messages, ${joined} joined, ${left} left${who}.`;
}
