// The last steps from ink to a picture as MNIST's (LeCun et al., 1998); names, order and numbers
// are those of nca_lib/data/handwriting.py.

import { clip, distances, highest, map, pad, scaled, sum } from "./filters.js";

const BOX = 20; // pixels of the longer side of a digit, in MNIST
const FIELD = 28; // pixels of a side of MNIST's pictures
const STROKE = 1.75; // pixels in the box: a tenth of MNIST's digits have thinner strokes
const THICK = 6.5; // the strokes of MNIST's boldest digit have 6.3
const FINE = 16; // how much finer than the box a digit is drawn to measure and thicken its strokes
export const NO_INK =
  "no digit found: draw one with a strong pen on plain paper, alone in the picture";

/** [height, width], scaled so that the longer one is `side`. */
function inABox({ height, width }, side) {
  const longer = Math.max(height, width);
  return [height, width].map((part) => Math.max(1, Math.round((part * side) / longer)));
}

/** Strokes thickened to `STROKE` where they are thinner, and if they were. */
export function withFirmStrokes(ink) {
  const fine = Math.max(FINE, Math.max(ink.height, ink.width) / BOX);
  const inside = map(scaled(ink, inABox(ink, fine * BOX)), (value) => +(value > 0.5));
  const depth = sum(distances(pad(inside, 1, 0)).data) / sum(inside.data);
  const width = depth ? 4 * (depth - 0.5) : Infinity; // four mean depths
  if (depth && width > THICK * fine) throw new Error(NO_INK);
  const more = (STROKE * fine - width) / 2;
  if (more <= 0) return [ink, false];
  const outside = map(pad(inside, Math.ceil(more), 0), (value) => 1 - value);
  return [map(distances(outside, more + 1), (away) => clip(more + 1 - away)), true];
}

/** Scaled into the box, moved by whole pixels to the centre of mass: Float32Array [size * size]. */
export function intoTheField(ink, size) {
  const { height, width, data } = scaled(ink, inABox(ink, Math.round((BOX * size) / FIELD)));
  const field = new Float32Array(size * size), most = highest(data), total = sum(data);
  const place = (at, side) => {
    const middle = data.reduce((all, value, k) => all + value * at(k), 0) / total;
    return Math.min(Math.max(Math.round(size / 2 - middle), 0), size - side);
  };
  const top = place((k) => Math.floor(k / width), height), left = place((k) => k % width, width);
  data.forEach((value, k) => {
    field[(top + Math.floor(k / width)) * size + left + (k % width)] = value / most;
  });
  return field;
}
