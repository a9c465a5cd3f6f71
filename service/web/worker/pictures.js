/** The worker that reads files for the page, and writes those that are saved: painting never waits for it, nor it for painting. */

import { blend, withColorsOf } from "../finish.js";
import { answer } from "../remote.js";
import { decode, encode } from "./decode.js";
import { resize } from "./resample.js";

answer({
  /** A small copy of a file's picture, and the size that it has itself. */
  async preview({ file, size }) {
    const { pixels, original } = await decode(file, size);
    return { file: await encode(pixels, "image/jpeg", 0.9), width: pixels.width, height: pixels.height, original };
  },

  /** The file to save: the painting of `file`, at the photograph's `ownSize` or as painted. */
  async finish({ file, painting, strength, keepColors, ownSize, type }) {
    const painted = (await decode(painting, null)).pixels;
    if (strength === 1 && !keepColors && !ownSize) return encode(painted, type, 0.92);
    const { pixels: photograph } = await decode(file, ownSize ? null : Math.max(painted.width, painted.height));
    const { width, height } = photograph;
    let { data } = resize(painted, width, height);
    if (keepColors) data = withColorsOf(photograph.data, data);
    return encode({ width, height, data: blend(photograph.data, data, strength) }, type, 0.92);
  },
});
