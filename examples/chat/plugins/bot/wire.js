"use strict";
// The native dialect of the wire, as far as a bot needs it. A frame is a length (four bytes,
// big-endian) and that many bytes of JSON. docs/wire.md has all of it.

const net = require("node:net");

const MAX_FRAME_BYTES = 16 * 1024 * 1024;

/** The connection to the host. */
class Host {
  #socket;
  #unread = Buffer.alloc(0);
  #lastId = 0;
  #waiting = new Map(); // the calls without a reply, by their ids
  #isAcknowledged = false;

  /**
   * @param {string} path the socket from --socket
   * @param {object} handshake who this plugin is
   * @param {(event: string, payload: object, hops: number) => Promise<void>} hear called for each
   *   event that the plugin wants
   */
  constructor(path, handshake, hear) {
    this.hear = hear;
    this.#socket = net.createConnection(path);
    this.#socket.on("data", (chunk) => this.#read(chunk));
    this.#socket.on("error", (error) => fail(`connection: ${error.message}`));
    this.#socket.on("close", () => process.exit(0)); // a host that wants us back starts us again
    this.#send({ type: "handshake", protocol_versions: [1], ...handshake });
  }

  /** Call an operation of the host; rejects with the host's words. */
  call(name, params, hops) {
    const id = ++this.#lastId;
    this.#send({ id, call: name, params, hops });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #send(message) {
    const payload = Buffer.from(JSON.stringify(message));
    const header = Buffer.alloc(4);
    header.writeUInt32BE(payload.length);
    this.#socket.write(Buffer.concat([header, payload]));
  }

  #read(chunk) {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    while (this.#unread.length >= 4) {
      const length = this.#unread.readUInt32BE();
      if (length === 0 || length > MAX_FRAME_BYTES) fail(`a frame of ${length} bytes`);
      if (this.#unread.length < 4 + length) return;
      const payload = this.#unread.subarray(4, 4 + length).toString();
      this.#unread = this.#unread.subarray(4 + length);
      this.#take(JSON.parse(payload));
    }
  }

  #take(frame) {
    if (!this.#isAcknowledged) this.#acknowledge(frame);
    else if (frame.event !== undefined) this.#event(frame);
    else this.#reply(frame);
  }

  #acknowledge(frame) {
    if (frame.status !== "ok") fail(`the host refused: ${frame.message}`);
    if (frame.protocol_version !== 1) fail("the host does not know the native dialect");
    this.#isAcknowledged = true;
  }

  #reply({ id, status, data, code, message }) {
    const { resolve, reject } = this.#waiting.get(id) ?? {};
    this.#waiting.delete(id);
    if (status === "ok") resolve?.(data);
    else reject?.(new Error(message ?? code));
  }

  #event({ id, event, payload, hops = 0 }) {
    if (event.startsWith("vconnect.")) {
      this.#ofTheHost(id, event);
      return;
    }
    // Only an event that somebody waits for has an id. The answer says that it was heard; what
    // the bot has to say, it posts.
    if (id !== undefined) this.#send({ id, status: "ok" });
    this.hear(event, payload, hops).catch((error) => console.error(`WARN bot: ${error.message}`));
  }

  #ofTheHost(id, event) {
    const known = ["vconnect.ping", "vconnect.drain", "vconnect.stop"].includes(event);
    if (id === undefined) return; // vconnect.cancel: nothing here takes long
    if (known) this.#send({ id, status: "ok" });
    else this.#send({ id, status: "error", code: "unknown_event", message: `${event}?` });
    if (event === "vconnect.stop") this.#socket.end();
  }
}

function fail(message) {
  console.error(`ERROR bot: ${message}`);
  process.exit(1);
}

module.exports = { Host };
