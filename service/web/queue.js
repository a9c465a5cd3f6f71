/** Paints one picture at a time: first the current one, then the others, then thumbnails for the painters' cards. */

import { hasServer } from "./painters.js";
import { THUMBNAIL } from "./picture.js";
import { t } from "./texts.js";

const BOLDEST = 256;

export class Queue {
  pictures = [];
  /** How many chosen files have not been read yet. */
  unread = 0;
  current = null;
  paused = false;
  #running = null;

  /** `painterOf` maps a direction to its painter; `onChange` is called with each picture that has changed. */
  constructor(place, painterOf, onChange) {
    this.place = place;
    this.painterOf = painterOf;
    this.onChange = onChange;
  }

  isDone(picture) {
    const painter = this.painterOf(picture.look.direction);
    return Boolean(painter && picture.painting(painter));
  }

  /** Pictures that are waiting or being painted. */
  get open() {
    return this.pictures.filter((picture) => !this.isDone(picture) && !["failed", "cancelled"].includes(picture.state));
  }

  /** Starts the next job, unless one is running. A running job that is no longer wanted is cancelled. */
  pump() {
    if (this.#running) {
      const { picture, painter, size } = this.#running;
      const isWanted = this.pictures.includes(picture) && (size === THUMBNAIL || (picture.look.direction === painter.direction && picture.look.size === size));
      if (!isWanted) this.place.cancel();
      return;
    }
    const job = this.#next();
    if (!job) return;
    this.#running = job;
    this.#run(job).finally(() => {
      this.#running = null;
      this.pump();
    });
  }

  /** Stops painting the current picture, or takes it out of the queue. */
  cancel() {
    this.current.state = "cancelled";
    if (this.#running?.picture === this.current && this.#running.size !== THUMBNAIL) this.place.cancel();
    else this.onChange(this.current);
  }

  retry(picture) {
    Object.assign(picture, { state: "waiting", problem: "", remedy: null });
    this.onChange(picture);
    this.pump();
  }

  #next() {
    const open = this.open;
    const picture = open.includes(this.current) ? this.current : this.paused ? null : open[0];
    if (picture) return { picture, painter: this.painterOf(picture.look.direction), size: picture.look.size };
    return this.paused || this.holds ? null : this.#thumbnail();
  }

  /** A job for a painter whose card does not show the current picture yet. Only on this device: nothing is sent for a thumbnail. */
  #thumbnail() {
    const { current: picture, place } = this;
    if (!picture || picture.unreadable || navigator.connection?.saveData) return null;
    const isPainter = ({ source }) => source === this.painterOf(picture.look.direction)?.source;
    const painter = this.painters.filter(isPainter).find((each) => place.trial && place.targetFor(each) === "device" && !picture.failedThumbnails && !picture.painting(each) && !picture.painting(each, THUMBNAIL));
    return painter ? { picture, painter, size: THUMBNAIL } : null;
  }

  async #run({ picture, painter, size }) {
    if (size === THUMBNAIL) return this.#runThumbnail(picture, painter);
    Object.assign(picture, { state: "painting", progress: null, note: picture.nextNote ?? "", nextNote: "", problem: "", remedy: null });
    this.onChange(picture);
    const onProgress = (progress) => {
      picture.progress = progress;
      this.onChange(picture, "progress");
    };
    try {
      const painting = await this.#paint(picture, painter, size, onProgress);
      picture.paintings.set(picture.key(painter, size), painting);
      Object.assign(picture, { state: "done", saved: false });
      await picture.keep().catch(() => (picture.note ||= t("storageFull")));
    } catch (error) {
      this.#fail(picture, painter, size, error);
    }
    this.onChange(picture, "settled");
  }

  async #runThumbnail(picture, painter) {
    try {
      picture.paintings.set(picture.key(painter, THUMBNAIL), await this.place.paintHere(picture.preview, painter, THUMBNAIL, () => {}));
      this.onChange(picture, "thumbnail");
    } catch (error) {
      picture.failedThumbnails = error.code !== "cancelled";
    }
  }

  /** Tries again once if the worker crashes. A photo that the browser cannot read goes to the server, unless the person has ruled that out. */
  async #paint(picture, painter, size, onProgress) {
    const isHere = this.place.targetFor(painter) === "device";
    const mayAsk = hasServer && navigator.onLine && this.place.choice === "auto";
    if (isHere && picture.unreadable && mayAsk) {
      picture.note = t("undecodable");
      return this.place.paintThere(picture.file, painter, size, onProgress);
    }
    try {
      return await this.place.paint(picture.file, painter, size, onProgress);
    } catch (error) {
      if (error.code === "crashed") return this.place.paint(picture.file, painter, size, onProgress);
      throw error;
    }
  }

  #fail(picture, painter, size, error) {
    const { code } = error;
    if (code === "cancelled") {
      if (picture.state === "painting") picture.state = "waiting"; // it was cancelled in favour of another painting
      return;
    }
    if (code === "memory" && size > BOLDEST) {
      Object.assign(picture, { state: "waiting", nextNote: t("memory") });
      picture.look.size = size / 2;
      return;
    }
    const texts = { memory: "noMemory", crashed: "crashed", undecodable: "undecodableHere", unreachable: "unreachable", key: "needsKey" };
    picture.problem = code === "refused" ? error.message : t(texts[code] ?? "failed", { name: picture.name, reason: error.message });
    picture.state = "failed";
    picture.remedy = hasServer && navigator.onLine && this.place.targetFor(painter) === "device" && code !== "key" ? "server" : null;
    picture.keep().catch(() => {});
  }
}
