/** Resizes pictures exactly as Pillow does on the server: Lanczos in fixed point, after a box filter if the picture shrinks a lot
 * (Pillow: Resample.c, Reduce.c, and Image.resize with reducing_gap=3). A picture is { width, height, data }, opaque RGBA. */

const BITS = 22;
const GAP = 3;
const SUPPORT = 3;

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (x) => (x > -SUPPORT && x < SUPPORT ? sinc(x) * sinc(x / SUPPORT) : 0);

export function resize(picture, width, height, gap = GAP) {
  if (picture.width === width && picture.height === height) return picture;
  const across = Math.max(1, Math.trunc(picture.width / width / gap));
  const down = Math.max(1, Math.trunc(picture.height / height / gap));
  const reduced = across > 1 || down > 1 ? reduce(picture, across, down) : picture;
  const box = [picture.width / across, picture.height / down];
  let result = reduced;
  if (width !== result.width || box[0] !== result.width) result = horizontally(result, weights(result.width, box[0], width), width);
  if (height !== result.height || box[1] !== result.height) result = vertically(result, weights(result.height, box[1], height), height);
  return result;
}

/** Averages blocks of `across` × `down` pixels; blocks at the edge may be smaller. */
function reduce({ width, height, data }, across, down) {
  const columns = Math.ceil(width / across);
  const rows = Math.ceil(height / down);
  const result = blank(columns, rows);
  for (let row = 0; row < rows; row++) {
    const bottom = Math.min(height, (row + 1) * down);
    for (let column = 0; column < columns; column++) {
      const right = Math.min(width, (column + 1) * across);
      let red = 0, green = 0, blue = 0;
      for (let y = row * down; y < bottom; y++) {
        for (let x = column * across, at = 4 * (y * width + x); x < right; x++, at += 4) {
          red += data[at];
          green += data[at + 1];
          blue += data[at + 2];
        }
      }
      const area = (bottom - row * down) * (right - column * across);
      const to = 4 * (row * columns + column);
      result.data[to] = Math.floor(red / area + 0.5);
      result.data[to + 1] = Math.floor(green / area + 0.5);
      result.data[to + 2] = Math.floor(blue / area + 0.5);
      result.data[to + 3] = 255;
    }
  }
  return result;
}

/** Returns, for each of `count` output pixels, the start and the weights of its window. `length` of the line's `size` pixels are covered. */
function weights(size, length, count) {
  const scale = length / count;
  const stretch = Math.max(1, scale);
  const support = SUPPORT * stretch;
  return Array.from({ length: count }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(size, Math.trunc(centre + support + 0.5));
    const window = Float64Array.from({ length: end - start }, (_, x) => lanczos((x + start - centre + 0.5) / stretch));
    const sum = window.reduce((total, weight) => total + weight, 0);
    return { start, window: Int32Array.from(window, (weight) => Math.trunc((weight / sum) * (1 << BITS) + (weight / sum < 0 ? -0.5 : 0.5))) };
  });
}

function horizontally({ width, height, data }, windows, columns) {
  const result = blank(columns, height);
  for (let column = 0; column < columns; column++) {
    const { start, window } = windows[column];
    for (let row = 0; row < height; row++) sum(data, 4 * (row * width + start), 4, window, result.data, 4 * (row * columns + column));
  }
  return result;
}

function vertically({ width, data }, windows, rows) {
  const result = blank(width, rows);
  for (let row = 0; row < rows; row++) {
    const { start, window } = windows[row];
    for (let column = 0; column < width; column++) sum(data, 4 * (start * width + column), 4 * width, window, result.data, 4 * (row * width + column));
  }
  return result;
}

function sum(data, at, step, window, to, place) {
  let red = 1 << (BITS - 1), green = red, blue = red;
  for (let i = 0; i < window.length; i++, at += step) {
    const weight = window[i];
    red += data[at] * weight;
    green += data[at + 1] * weight;
    blue += data[at + 2] * weight;
  }
  to[place] = red >> BITS; // clamped by the array
  to[place + 1] = green >> BITS;
  to[place + 2] = blue >> BITS;
  to[place + 3] = 255;
}

export function blank(width, height) {
  return { width, height, data: new Uint8ClampedArray(4 * width * height) };
}
