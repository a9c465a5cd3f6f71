/** Decodes files to pixels with the browser's decoders: upright, in sRGB, on white, as on the server. */

import { Failure } from "../remote.js";
import { resize } from "./resample.js";

/** Larger pictures are shrunk by the browser first: some browsers do not allow larger canvases. */
const MAX_PIXELS = 16_000_000;

/** Returns width and height with the longest side at most `size` (null: unchanged), rounded as on the server. */
export function fitted(width, height, size) {
  const scale = size === null ? 1 : Math.min(1, size / Math.max(width, height));
  return [Math.max(1, roundToEven(width * scale)), Math.max(1, roundToEven(height * scale))];
}

function roundToEven(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low % 2) : Math.round(x);
}

/** Decodes `file`, shrunk to `size`; also returns its original size. Rejects with Failure "undecodable". */
export async function decode(file, size) {
  const whole = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Failure("undecodable");
  });
  const original = { width: whole.width, height: whole.height };
  const [width, height] = fitted(whole.width, whole.height, size);
  const scale = Math.min(1, Math.sqrt(MAX_PIXELS / (whole.width * whole.height)));
  const pixels = draw(whole, Math.max(width, Math.round(whole.width * scale)), Math.max(height, Math.round(whole.height * scale)));
  whole.close();
  return { pixels: resize(pixels, width, height), original };
}

/** Returns the pixels of anything that a canvas can draw, on white. */
export function draw(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Encodes pixels as a file. */
export function encode({ width, height, data }, type, quality) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas.convertToBlob({ type, quality });
}
