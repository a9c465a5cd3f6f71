/** The worker that paints. A painter is an entry of GET /directions, with absolute URLs. */

import { answer } from "../remote.js";
import { decode, draw, encode } from "./decode.js";
import { load } from "./runtime.js";
import { AT_ONCE, Canvas, crop, cut, pad, paddedSide, thumbnail } from "./tiles.js";

const TRIAL = { side: 128, pixels: 512 * 384 };

let options = null;
let loading = null;

/** Loads the runtime and the painter's graph for `purpose`, each once. */
async function session(painter, purpose, onProgress) {
  loading ??= load(options, (loaded, size) => onProgress({ loading: "runtime", loaded, size })).catch((error) => {
    loading = null;
    throw error;
  });
  const runtime = await loading;
  const file = painter.files.find((each) => each.precision === "fp32" && each.purpose === purpose);
  if (!file) return { runtime };
  const opened = await runtime.session(file, options.headers, (loaded, size) => onProgress({ loading: painter.direction, loaded, size }));
  return { runtime, graph: opened };
}

async function paint(picture, painter, onProgress) {
  const { multiple, smallest_side: smallest } = painter;
  const area = paddedSide(picture.width, multiple, smallest) * paddedSide(picture.height, multiple, smallest);
  const tiles = area > AT_ONCE ? await session(painter, "tiles", onProgress) : {};
  const padded = pad(picture, multiple, smallest);
  const painted = tiles.graph ? await paintTiles(picture, padded, painter, tiles, onProgress) : await paintWhole(padded, painter, onProgress);
  return crop(painted, 0, 0, picture.width, picture.height);
}

async function paintWhole(padded, painter, onProgress) {
  const { runtime, graph } = await session(painter, "pictures", onProgress);
  onProgress({ painting: 0 });
  return (await runtime.run(graph, padded)).painted;
}

async function paintTiles(picture, padded, { multiple, smallest_side: smallest }, { runtime, graph }, onProgress) {
  const { statistics } = await runtime.run(graph, pad(thumbnail(picture, smallest), multiple, smallest), runtime.noStatistics(graph));
  const canvas = new Canvas(padded.width, padded.height);
  const tiles = cut(padded.width, padded.height, multiple, smallest);
  for (const [done, tile] of tiles.entries()) {
    onProgress({ painting: done / tiles.length });
    const { down, beside } = tile;
    canvas.add(tile, (await runtime.run(graph, crop(padded, beside.start, down.start, beside.length, down.length), statistics)).painted);
  }
  return canvas.pixels();
}

/** Estimates the time for a picture of TRIAL.pixels from a smaller one. */
async function trial(painter, onProgress) {
  const { runtime, graph } = await session(painter, "pictures", onProgress);
  const side = paddedSide(TRIAL.side, painter.multiple, painter.smallest_side);
  const picture = { width: side, height: side, data: new Uint8ClampedArray(4 * side * side).fill(127) };
  const seconds = [];
  onProgress({ painting: 0 });
  for (let i = 0; i < 2; i++) {
    const startedAt = performance.now();
    await runtime.run(graph, picture);
    seconds.push((performance.now() - startedAt) / 1000);
  }
  return { seconds: (Math.min(...seconds) * TRIAL.pixels) / (side * side), device: runtime.device, threads: runtime.threads };
}

answer({
  /** `vendor`: URL of the runtime; `suffix` of its binary; `device` as in runtime.js; `headers` for fetching graphs. */
  set(newOptions) {
    options = newOptions;
  },

  /** Measures how many seconds a picture of 512 × 384 takes here, and on what. Falls back to the CPU if WebGPU fails. */
  async trial({ painter }, onProgress) {
    try {
      return await trial(painter, onProgress);
    } catch (error) {
      if ((await loading)?.device !== "webgpu") throw error;
      options.device = "wasm";
      loading = null;
      return trial(painter, onProgress);
    }
  },

  /** Paints a file, shrunk to `size`. Returns a PNG file. */
  async paint({ file, painter, size }, onProgress) {
    onProgress({ decoding: true });
    const { pixels } = await decode(file, size);
    const startedAt = performance.now();
    const painted = await paint(pixels, painter, onProgress);
    const seconds = (performance.now() - startedAt) / 1000;
    return { file: await encode(painted, "image/png"), width: painted.width, height: painted.height, seconds };
  },

  /** Paints a frame of the camera; bitmap in, bitmap out. */
  async frame({ bitmap, painter }, onProgress) {
    const pixels = draw(bitmap, bitmap.width, bitmap.height);
    bitmap.close();
    const { width, height, data } = await paint(pixels, painter, onProgress);
    const result = await createImageBitmap(new ImageData(data, width, height));
    return [result, [result]];
  },
});
