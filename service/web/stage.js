/** The large picture: before and after, with a slider between them. */

import { blend, withColorsOf } from "./finish.js";
import { t } from "./texts.js";

const MAX_SIDE = 2048; // in pixels; more would not be seen
const find = (selector) => document.querySelector(`#stage ${selector}`);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Stage {
  #shown = null; // the pixels that `after` is mixed from: { photograph, painting, width, height }
  #url = "";
  #turn = 0;

  constructor() {
    this.frame = find(".frame");
    this.section = this.frame.parentElement;
    find(".split").oninput = ({ target }) => this.split(target.value);
    const button = find("#fullscreen");
    button.hidden = !document.fullscreenEnabled;
    button.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : this.frame.requestFullscreen());
  }

  split(percent) {
    find(".split").value = percent;
    this.frame.style.setProperty("--split", `${percent}%`);
  }

  /**
   * Shows `before` (a URL or a Blob) and `after` (a Blob, or nothing yet) with a caption, `tag`. `look` says how the painting is mixed with
   * the photograph. With `filling` the pictures are cropped to the stage's shape on a phone.
   */
  async show({ before, after, names, tag = "", look = { strength: 1, keepColors: false }, reveal = false, filling = false }) {
    const turn = ++this.#turn;
    const [photograph, painting] = await Promise.all([before && bitmapOf(before), after && bitmapOf(after)]);
    if (turn !== this.#turn) return;
    const shape = painting ?? photograph;
    this.section.style.setProperty("--ratio", shape ? shape.width / shape.height : 1.5);
    await this.#showBefore(before);
    this.fill(filling);
    find(".before").alt = names.before;
    find(".after").setAttribute("aria-label", names.after);
    find(".tag").textContent = tag;
    find(".tag").hidden = !tag;
    find(".after").hidden = !painting;
    find(".split").hidden = !painting || !photograph;
    this.#shown = painting ? { ...shrink(painting), photograph } : null;
    if (painting) this.mix(look);
    if (painting && reveal) this.#reveal();
  }

  /** Crops pictures to the stage's shape on a phone, or shows them whole. */
  fill(filling) {
    this.section.classList.toggle("filled", filling);
  }

  async #showBefore(before) {
    const image = find(".before");
    image.hidden = !before;
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = before instanceof Blob ? URL.createObjectURL(before) : "";
    if (before) image.src = this.#url || before;
    await (before ? image.decode().catch(() => {}) : null);
  }

  /** Mixes photograph and painting again, without painting again. */
  mix({ strength, keepColors }) {
    if (!this.#shown) return;
    const { painting, photograph, width, height } = this.#shown;
    const canvas = find(".after");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const painted = pixelsOf(painting, width, height);
    if (photograph && (keepColors || strength < 1)) {
      const original = pixelsOf(photograph, width, height);
      const coloured = keepColors ? withColorsOf(original.data, painted.data) : painted.data;
      painted.data.set(blend(original.data, coloured, strength));
    }
    context.putImageData(painted, 0, 0);
  }

  /** Shows what is being done, and whether it can be cancelled; an empty text hides it. */
  working(text, cancellable = true) {
    this.frame.setAttribute("aria-busy", Boolean(text));
    find(".working").hidden = !text;
    find(".what").textContent = text;
    find("#cancel").hidden = !cancellable;
  }

  #reveal() {
    if (reducedMotion.matches) return this.split(0);
    this.frame.animate({ "--split": ["100%", "0%"] }, { duration: 900, easing: "ease-in-out" }).finished.catch(() => {});
    this.split(0);
  }

  /** Before and after, as sources that a canvas can draw. */
  get sides() {
    return { before: find(".before"), after: find(".after") };
  }
}

async function bitmapOf(picture) {
  const blob = picture instanceof Blob ? picture : await fetch(picture).then((response) => response.blob(), () => null);
  return blob && createImageBitmap(blob).catch(() => null);
}

function shrink(painting) {
  const scale = Math.min(1, MAX_SIDE / Math.max(painting.width, painting.height));
  return { painting, width: Math.round(painting.width * scale), height: Math.round(painting.height * scale) };
}

function pixelsOf(bitmap, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Returns the text for a picture's progress. */
export function progressText(progress, painterName) {
  if (!progress || progress.decoding) return t("reading");
  const percent = (part) => Math.min(100, Math.round(100 * part));
  if (progress.loading === "runtime") return t("loadingRuntime", { percent: percent(progress.loaded / progress.size) });
  if (progress.loading) return t("loadingPainter", { painter: painterName, percent: percent(progress.loaded / progress.size) });
  if (progress.sending !== undefined && progress.sending < 1) return t("sending", { percent: percent(progress.sending) });
  return progress.painting ? t("paintingPart", { percent: percent(progress.painting) }) : t("painting");
}
