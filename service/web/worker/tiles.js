/** Cuts pictures that are too large into tiles and blends these again, as on the server (service/engine/tiler.py). */

import { blank, resize } from "./resample.js";

export const AT_ONCE = 4 * 512 * 512; // pixels; the default of the server's CYCLEGAN_MAX_BATCH_PIXELS
const SIDE = 640;
const OVERLAP = 128;
const RAMP = 32;
const ONE = 256;

export const paddedSide = (side, multiple, smallest) => Math.ceil(Math.max(side, smallest) / multiple) * multiple;

/** Pads to sides that a generator accepts, mirrored at the bottom and right like numpy's mode "reflect". */
export function pad(picture, multiple, smallest) {
  const width = paddedSide(picture.width, multiple, smallest);
  const height = paddedSide(picture.height, multiple, smallest);
  if (width === picture.width && height === picture.height) return picture;
  const result = blank(width, height);
  const from = new Uint32Array(picture.data.buffer, picture.data.byteOffset, picture.width * picture.height);
  const to = new Uint32Array(result.data.buffer);
  const columns = mirrored(width, picture.width);
  const rows = mirrored(height, picture.height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) to[y * width + x] = from[rows[y] * picture.width + columns[x]];
  return result;
}

/** Returns the source index for each of `length` positions: 0 1 2 3 2 1 0 1 … */
function mirrored(length, size) {
  const period = Math.max(1, 2 * (size - 1));
  return Uint32Array.from({ length }, (_, i) => (i % period < size ? i % period : period - (i % period)));
}

export function crop(picture, left, top, width, height) {
  if (!left && !top && width === picture.width && height === picture.height) return picture;
  const result = blank(width, height);
  for (let row = 0; row < height; row++) {
    const start = 4 * ((top + row) * picture.width + left);
    result.data.set(picture.data.subarray(start, start + 4 * width), 4 * row * width);
  }
  return result;
}

/** Shrinks to at most AT_ONCE pixels, with no side shorter than `smallest`. */
export function thumbnail(picture, smallest) {
  const { width, height } = picture;
  const scale = Math.sqrt(AT_ONCE / (width * height));
  const shorter = Math.max(smallest, Math.trunc(Math.min(width, height) * scale));
  const longer = Math.max(smallest, Math.min(Math.trunc(Math.max(width, height) * scale), Math.floor(AT_ONCE / shorter)));
  return width < height ? resize(picture, shorter, longer) : resize(picture, longer, shorter);
}

/** Returns tiles that cover `width` × `height`; at each pixel their weights add up to 1. */
export function cut(width, height, multiple, smallest) {
  const side = paddedSide(SIDE, multiple, smallest);
  const across = along(width, side, multiple);
  return along(height, side, multiple).flatMap((down) => across.map((beside) => ({ down, beside })));
}

function along(length, maxSide, multiple) {
  const side = Math.min(maxSide, length);
  const overlap = OVERLAP + multiple;
  const count = side === length ? 1 : Math.ceil((length - overlap) / (side - overlap));
  const starts = Array.from({ length: count }, (_, i) => Math.round((i * (length - side)) / Math.max(1, count - 1) / multiple) * multiple);
  const middles = starts.slice(1).map((start, i) => start + (starts[i] + side - start) / 2);
  const rise = (i, at) => (i === 0 ? 1 : i === count ? 0 : Math.min(1, Math.max(0, (at + 0.5 - middles[i - 1]) / RAMP + 0.5)));
  return starts.map((start, i) => ({
    start,
    length: side,
    weights: Float32Array.from({ length: side }, (_, at) => rise(i, start + at) - rise(i + 1, start + at)),
  }));
}

/** Blends painted tiles into one picture. */
export class Canvas {
  #sums;
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.#sums = new Uint16Array(3 * width * height);
  }

  add({ down, beside }, { data }) {
    for (let row = 0; row < down.length; row++) {
      for (let column = 0; column < beside.length; column++) {
        const weight = down.weights[row] * beside.weights[column] * ONE;
        if (weight === 0) continue;
        const to = 3 * ((down.start + row) * this.width + beside.start + column);
        const from = 4 * (row * beside.length + column);
        for (let band = 0; band < 3; band++) this.#sums[to + band] += Math.round(data[from + band] * weight);
      }
    }
  }

  pixels() {
    const result = blank(this.width, this.height);
    for (let i = 0, from = 0; i < result.data.length; i += 4) {
      for (let band = 0; band < 3; band++) result.data[i + band] = (this.#sums[from++] + ONE / 2) >> 8;
      result.data[i + 3] = 255;
    }
    return result;
  }
}
