/** The worker that reads photographs and writes the files to save. It is separate, so that neither waits for painting. */

import { blend, withColorsOf } from "../finish.js";
import { answer } from "../remote.js";
import { decode, encode } from "./decode.js";
import { resize } from "./resample.js";

answer({
  /** Makes a small copy of a file's picture; also returns the original size. */
  async preview({ file, size }) {
    const { pixels, original } = await decode(file, size);
    return { file: await encode(pixels, "image/jpeg", 0.9), width: pixels.width, height: pixels.height, original };
  },

  /** Makes the file to save: the painting of `file`, at the photograph's size (`ownSize`) or as painted. */
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
