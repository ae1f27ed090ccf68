// The WebSocket, and what becomes of it when the server goes and comes.

const RETRY_SECONDS = [1, 2, 4, 8, 15];
const MAX_FRAME_BYTES = 4096;

export class Connection {
  #socket = null;
  #tries = 0;
  #timer = 0;

  /**
   * @param {{opened: () => void, received: (message: object) => void,
   *   lost: (seconds: number) => void}} on called when it is open, with each message, and with the
   *   seconds to the next try, which count down
   */
  constructor(on) {
    this.on = on;
  }

  open() {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws`);
    this.#socket = socket;
    socket.addEventListener("open", () => this.on.opened());
    socket.addEventListener("message", ({ data }) => {
      this.#tries = 0;
      this.on.received(JSON.parse(data));
    });
    socket.addEventListener("close", () => {
      if (socket === this.#socket) this.#lose();
    });
  }

  /** Send a message; returns why that cannot be, or nothing. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return "there is no connection";
    const frame = JSON.stringify(message);
    if (new TextEncoder().encode(frame).length > MAX_FRAME_BYTES) return "that is too long";
    this.#socket.send(frame);
    return "";
  }

  #lose() {
    const wanted = RETRY_SECONDS[Math.min(this.#tries++, RETRY_SECONDS.length - 1)];
    // Not all browsers at once.
    this.#count(Math.ceil(wanted * (0.75 + Math.random() / 2)));
  }

  #count(seconds) {
    this.on.lost(seconds);
    this.#timer = setTimeout(
      () => (seconds > 1 ? this.#count(seconds - 1) : this.open()),
      1000,
    );
  }
}
