/** Decides where pictures are painted, on this device or by the server, and paints them there. */

import { hasServer, isOnDevice } from "./painters.js";
import { Failure, Remote } from "./remote.js";
import { authorization, send } from "./send.js";

const QUICK_SECONDS = 3;
const CHOICE = "place";

const supported = "OffscreenCanvas" in globalThis && "DecompressionStream" in globalThis;

export class Place {
  /** "auto", "device" or "server", as the person chose. */
  choice = localStorage.getItem(CHOICE) ?? "auto";
  /** The result of the speed trial: { seconds, device, threads }, or { failure } if this device cannot paint; null before it. */
  trial = null;
  key = "";
  #worker = new Remote(new URL("worker/painting.js", import.meta.url));
  #trying = null;
  #onTrial = null;
  #abort = null;

  /** `onChange` is called whenever the result of `targetFor` may have changed. */
  constructor(onChange) {
    this.onChange = onChange;
    addEventListener("online", onChange);
    addEventListener("offline", onChange);
  }

  get headers() {
    return authorization(this.key);
  }

  choose(choice) {
    this.choice = choice;
    localStorage.setItem(CHOICE, choice);
    this.onChange();
  }

  canPaint(painter) {
    return supported && isOnDevice(painter);
  }

  /** Returns "device" or "server" for `painter`. Before the trial, the device is assumed to be quick. */
  targetFor(painter) {
    if (!hasServer) return "device";
    if (!this.canPaint(painter) || this.choice === "server") return "server";
    if (this.choice === "device" || !navigator.onLine) return "device";
    if (this.trial?.failure) return "server";
    return this.trial && this.trial.seconds > QUICK_SECONDS ? "server" : "device";
  }

  /** Loads the runtime and the painter, and measures once how fast this device is. Progress goes to the latest caller. */
  runTrial(painter, onProgress = () => {}) {
    this.#onTrial = onProgress;
    this.#trying ??= this.#call("trial", { painter }, (progress) => this.#onTrial(progress))
      .catch((error) => {
        this.#trying = null;
        if (error.code === "cancelled") throw error;
        return { failure: error.code, seconds: Infinity };
      })
      .then((trial) => {
        this.trial = trial;
        this.onChange();
      });
    return this.#trying;
  }

  /** Resolves with { file, width, height, seconds, where }. Rejects with Failure. */
  async paint(file, painter, size, onProgress) {
    if (this.targetFor(painter) === "device" && !this.trial) await this.runTrial(painter, onProgress);
    return this.targetFor(painter) === "device" ? this.paintHere(file, painter, size, onProgress) : this.paintThere(file, painter, size, onProgress);
  }

  async paintHere(file, painter, size, onProgress) {
    if (!this.canPaint(painter)) throw new Failure("failed", "this browser is too old");
    const painting = await this.#call("paint", { file, painter, size }, onProgress);
    return { ...painting, where: "device" };
  }

  async paintThere(file, painter, size, onProgress) {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    onProgress({ sending: 0 });
    const painted = await send(file, { direction: painter.direction, size, headers: this.headers, onProgress, signal });
    const bitmap = await createImageBitmap(painted);
    return { file: painted, width: bitmap.width, height: bitmap.height, where: "server" };
  }

  /** Paints one frame of the camera; bitmap in, bitmap out. */
  frame(bitmap, painter) {
    return this.#call("frame", { bitmap, painter }, () => {}, [bitmap]);
  }

  /** Cancels the current painting. A worker cannot be interrupted, so it is ended, and the next call starts another. */
  cancel() {
    this.#abort?.abort();
    this.#worker.end();
    this.#isSet = false;
  }

  #isSet = false;
  async #call(name, argument, onProgress, transfer = []) {
    if (!this.#isSet) {
      this.#isSet = true;
      const vendor = new URL(document.documentElement.dataset.vendor || "web/vendor/", document.baseURI).href;
      await this.#worker.call("set", { vendor, suffix: hasServer ? "" : ".gz", device: this.trial?.device ?? "auto", headers: this.headers });
    }
    try {
      return await this.#worker.call(name, argument, { onProgress, transfer });
    } catch (error) {
      if (error.code === "memory") this.#worker.end(); // WebAssembly's memory never shrinks
      if (error.code === "memory" || error.code === "crashed") this.#isSet = false;
      throw error;
    }
  }
}
