/** One photograph and its paintings. */

import { Remote } from "./remote.js";
import * as store from "./store.js";

const PREVIEW = 1024;
export const THUMBNAIL = 192;

/** The worker that reads photographs and writes the files to save. */
export const files = new Remote(new URL("worker/pictures.js", import.meta.url));

export class Picture {
  /** "waiting", "painting", "done", "failed" or "cancelled". */
  state = "waiting";
  /** What went wrong, as a text for the person. */
  problem = "";
  /** A remark about its painting. */
  note = "";
  /** A remark about the next painting, after a failure. */
  nextNote = "";
  /** "server" if the server could be tried instead of this device. */
  remedy = null;
  progress = null;
  saved = false;
  /** Paintings by `key`: { file, width, height, seconds, where }. */
  paintings = new Map();
  preview = null;
  original = null;

  constructor(file, look, id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`) {
    this.file = file;
    this.look = { ...look };
    this.id = id;
  }

  /** Restores a picture that was stored before a reload. */
  static restore({ id, file, look, preview, original, paintings, saved, problem }) {
    const picture = new Picture(file, look, id);
    Object.assign(picture, { preview, original, saved, problem, paintings: new Map(paintings) });
    if (problem) picture.state = "failed";
    return picture;
  }

  get name() {
    return this.file.name;
  }

  /** Makes its preview. A file that the browser cannot read has none. */
  async read() {
    try {
      const { file, original } = await files.call("preview", { file: this.file, size: PREVIEW });
      Object.assign(this, { preview: file, original });
    } catch {
      this.unreadable = true;
    }
  }

  /** The key of a painting in `paintings`. */
  key({ direction, version }, size = this.look.size) {
    return `${direction}/${version}/${size}`;
  }

  painting(painter, size = this.look.size) {
    return this.paintings.get(this.key(painter, size));
  }

  /** Resolves with the file to save, at the photograph's own size or at the painting's. */
  async render(painter) {
    const { strength, keepColors, ownSize } = this.look;
    const painting = this.painting(painter);
    const type = ["image/png", "image/webp"].includes(this.file.type) ? this.file.type : "image/jpeg";
    const plain = { file: this.unreadable ? painting.file : this.file, painting: painting.file, type };
    const look = this.unreadable ? { strength: 1, keepColors: false, ownSize: false } : { strength, keepColors, ownSize };
    const blob = await files.call("finish", { ...plain, ...look });
    const suffix = { "image/png": "png", "image/webp": "webp" }[blob.type] ?? "jpg";
    return new File([blob], `${this.name.replace(/\.[^.]*$/, "")}.${painter.direction}.${suffix}`, { type: blob.type });
  }

  /** Stores the picture. Rejects if the browser has no more room. */
  keep() {
    const { id, file, look, preview, original, saved, problem } = this;
    const paintings = [...this.paintings].filter(([key]) => !key.endsWith(`/${THUMBNAIL}`));
    return store.put({ id, file, look, preview, original, saved, problem, paintings });
  }
}
