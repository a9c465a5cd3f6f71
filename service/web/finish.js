/** Strength and colours, as on the server (pictures/finish.py). All arrays are RGBA pixels of one size. */

/** Combines the painting's lightness (Y of YCbCr) with the photograph's colours (Cb and Cr). */
export function withColorsOf(photograph, painting) {
  const result = new Uint8ClampedArray(painting.length).fill(255);
  for (let i = 0; i < result.length; i += 4) {
    const [red, green, blue] = [photograph[i], photograph[i + 1], photograph[i + 2]];
    const lightness = 0.299 * painting[i] + 0.587 * painting[i + 1] + 0.114 * painting[i + 2];
    const toBlue = -0.168736 * red - 0.331264 * green + 0.5 * blue;
    const toRed = 0.5 * red - 0.418688 * green - 0.081312 * blue;
    result[i] = lightness + 1.402 * toRed;
    result[i + 1] = lightness - 0.344136 * toBlue - 0.714136 * toRed;
    result[i + 2] = lightness + 1.772 * toBlue;
  }
  return result;
}

/** Mixes both; `strength` is 0 (the photograph) to 1 (the painting). */
export function blend(photograph, painting, strength) {
  if (strength === 1) return painting;
  return painting.map((value, i) => photograph[i] + (value - photograph[i]) * strength);
}
