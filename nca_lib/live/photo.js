// A photograph or drawing of a digit, prepared as MNIST's were: names, order and numbers are those
// of nca_lib/data/handwriting.py; tests/handwriting_vectors.json holds both to the same results.

import {
  MAX, MIN, averaged, blank, boxAround, clip, crop, filtered, highest, label, lowest, map, medians,
  pad, quantile, reduce, scaled, spread, sum, turned, within,
} from "./filters.js";
import { NO_INK, intoTheField, withFirmStrokes } from "./prepare.js";

const MIN_SIDE = 5; // pixels of a side of a picture, and of the longer side of a digit in it
const WORK_SIDE = 640; // a picture is averaged down until no side has more pixels
const COARSE_SIDE = 64; // large structures are found in a picture of at most so many pixels a side
const CONTRAST = 0.04; // ink that takes a smaller share of the paper's light looks like paper
const CLEAR = 7; // the least difference of ink and paper, in standard deviations of the paper
const SHARP = 0.7; // the least share of a digit's edge where the light changes at once
const SOLID = 0.62; // of the square of its longer side: what covers more is a thing, no strokes
const DUST = 0.05; // pieces of ink with a smaller share of the largest piece's pixels are dust
const POLARITIES = ["dark ink on light paper", "light ink on dark ground"];
const SEVERAL = "several things: keep one digit in the picture, alone on plain paper";

/**
 * The digit in a picture, {picture [size * size], found}; throws an Error of one line.
 * @param pixels   {height, width, data}: red, green, blue and opacity of each, as ImageData
 * @param reduced  by how much they were reduced before
 */
export function prepare(pixels, reduced, size) {
  const [colours, factor] = asColours(pixels);
  const brightness = alongMainColour(colours), sheet = findSheet(brightness);
  const ways = sheet ? [["cut out the sheet", onlyTheSheet(brightness, sheet)]] : [], readings = [];
  for (const [note, light] of [...ways, ["", brightness]]) {
    const dark = map(light, (value) => 1 - value);
    for (const [name, own] of [[POLARITIES[0], light], [POLARITIES[1], dark]]) {
      for (const edge of [false, true]) readings.push(readInk(own, [name, note], edge));
    }
  }
  const { refusal, ink: found, notes } = readings.reduce((a, b) => (b.score > a.score ? b : a));
  if (refusal) throw new Error(refusal);
  const [height, width] = [found.height, found.width].map((side) => side * factor * reduced);
  if (width > 1.8 * height) throw new Error(SEVERAL);
  const [ink, thickened] = withFirmStrokes(found);
  const all = [
    notes[0], `the digit was ${height} x ${width} pixels`,
    width > 1.3 * height && "it is wider than high, is it one digit?",
    ...notes.slice(1), thickened && "thickened thin strokes",
  ];
  return { picture: intoTheField(ink, size), found: all.filter(Boolean).join("; ") };
}

/** The dark ink in a picture; `edge`: see `inkOnPaper`. */
function readInk(brightness, names, edge) {
  const [uncleared, uneven] = inkOnPaper(brightness, edge), [ink, ruled] = withoutRules(uncleared);
  const smooth = smoothed(ink), level = threshold(smooth);
  const every = map(smooth, (value) => +(value > level));
  if (!sum(every.data)) return { score: 0, refusal: NO_INK };
  const [inside, alone] = piecesOfDigit(every);
  const [score, sharp] = distinctness(smoothed(brightness), every, inside);
  const [digit, clear] = onlyTheDigit(ink, every, inside);
  if (!(sharp && clear)) return { score: score / 10, refusal: NO_INK };
  if (!alone) return { score, refusal: SEVERAL };
  const even = uneven && "evened out the paper's brightness";
  return { score, ink: digit, notes: [...names, even, ruled && "removed ruled lines"] };
}

/** Red, green and blue in [0, 1], a picture each, and by how much they were reduced. */
function asColours({ height, width, data }) {
  const factor = Math.ceil(Math.max(height, width) / WORK_SIDE);
  if (Math.min(height, width) < MIN_SIDE * factor) {
    throw new Error(`too small or too narrow: give at least ${MIN_SIDE} x ${MIN_SIDE} pixels`);
  }
  const channel = (c) => map(blank(height, width), (_, k) => data[4 * k + c] / 255);
  const alpha = channel(3), opacity = reduce(alpha, factor);
  const colours = [0, 1, 2].map((c) => {
    const covered = reduce(map(channel(c), (value, k) => value * alpha.data[k]), factor);
    return map(covered, (value, k) => value / (opacity.data[k] || 1));
  });
  return [lowest(alpha.data) < 1 ? onPaper(colours, opacity) : colours, factor];
}

/** Colours on opaque paper; where little shows, or all of one colour, the opacity is the ink. */
function onPaper(colours, opacity) {
  const least = highest(opacity.data) / 2, seen = map(opacity, (value) => +(value >= least));
  const shown = colours.map((each) => within(each, seen));
  if (quantile(opacity.data, 0.5) < 0.1 || shown.every((v) => highest(v) - lowest(v) < 0.1)) {
    const light = sum(shown.map(sum)) > 1.5 * shown[0].length;
    return colours.map(() => map(opacity, (value) => (light ? value : 1 - value)));
  }
  return colours.map((each, c) => {
    const paper = quantile(shown[c], 0.5);
    return map(each, (value, k) => paper + opacity.data[k] * (value - paper));
  });
}

/** One number per pixel, in [0, 1]: the principal component of how colours differ from others. */
function alongMainColour(colours) {
  const differ = colours.map((each) => {
    const small = coarse(each), { height, width } = small;
    const usual = averaged(small, 2 * Math.floor(Math.max(height, width) / 8) + 1);
    return small.data.map((value, k) => value - usual.data[k]);
  });
  const dot = (a, b) => a.reduce((all, value, k) => all + value * b[k], 0), axes = [0, 1, 2];
  let matrix = axes.map((i) => axes.map((j) => dot(differ[i], differ[j])));
  for (let k = 0; k < 40; k++) { // squared again and again, only its main direction is left
    const most = Math.max(...matrix.flat().map(Math.abs)) || 1;
    const unit = matrix.map((row) => row.map((value) => value / most));
    matrix = axes.map((i) => axes.map((j) => dot(unit[i], unit[j])));
  }
  let direction = matrix.reduce((a, b) => (dot(a, a) >= dot(b, b) ? a : b));
  if (!dot(direction, direction)) direction = [0, 0, 1]; // all of one colour
  const length = sum(direction.map(Math.abs)) * (sum(direction) < 0 ? -1 : 1);
  direction = direction.map((value) => value / length);
  const least = sum(direction.map((value) => Math.min(0, value)));
  return map(colours[0], (_, k) => dot(direction, colours.map((each) => each.data[k])) - least);
}

/** Averaged down to at most `COARSE_SIDE` pixels a side. */
function coarse(picture) {
  return reduce(picture, Math.ceil(Math.max(picture.height, picture.width) / COARSE_SIDE));
}

/** Half-way between the means of the values above and below it (Ridler and Calvard, 1978). */
function threshold({ data }) {
  let level = (highest(data) + lowest(data)) / 2;
  for (let turn = 0; turn < 20; turn++) {
    let light = 0, dark = 0, above = 0;
    for (let k = 0; k < data.length; k++) {
      if (data[k] > level) light += data[k], above++;
      else dark += data[k];
    }
    if (!above || above === data.length) break;
    const next = (light / above + dark / (data.length - above)) / 2;
    if (next === level) break;
    level = next;
  }
  return level;
}

/** A light sheet on a darker ground, a mask of the coarse picture, or null. */
function findSheet(brightness) {
  const small = coarse(brightness), level = threshold(small), count = small.data.length;
  const light = map(small, (value) => +(value > level)), [pieces] = label(light), areas = [0];
  for (const piece of pieces.data) if (piece) areas[piece] = (areas[piece] ?? 0) + 1;
  const largest = areas.indexOf(Math.max(...areas));
  const [outside] = label(pad(map(pieces, (piece) => +(piece !== largest)), 1, 1));
  const sheet = map(pad(outside, -1), (piece) => +(piece !== 1)), area = sum(sheet.data);
  const { height, width } = sheet, border = sum(map(sheet, (value, k) => { // corners count twice
    const y = Math.floor(k / width), x = k % width;
    return value * ((y === 0) + (y === height - 1) + (x === 0) + (x === width - 1));
  }).data);
  if (area < 0.1 * count || sum(within(light, sheet)) < 0.8 * area
    || border > 0.25 * 2 * (height + width)) return null;
  const side = 2 * Math.floor(0.2 * Math.sqrt(area)) + 1;
  const core = pad(filtered(pad(sheet, side, 0), side, MIN), -side);
  const covered = filtered(core, side, MAX);
  return sum(covered.data) > 0.9 * area && side > MIN_SIDE ? sheet : null;
}

/** Cropped to the sheet; what is left of the ground gets the paper's median brightness. */
function onlyTheSheet(brightness, sheet) {
  const { width } = sheet, wide = width + 2, { data } = pad(sheet, 1, 0);
  const eroded = map(sheet, (value, k) => {
    const at = (Math.floor(k / width) + 1) * wide + (k % width) + 1;
    return value && data[at - 1] && data[at + 1] && data[at - wide] && data[at + wide];
  });
  const inside = map(scaled(eroded, [brightness.height, brightness.width]), (v) => +(v > 0.5));
  const paper = quantile(within(brightness, inside), 0.5);
  const clean = map(brightness, (value, k) => (inside.data[k] ? value : paper));
  return crop(clean, boxAround(inside));
}

/** The share of the paper's light that dark ink takes, and if the light was uneven. */
function inkOnPaper(brightness, edge) {
  const small = medians(coarse(brightness));
  const window = 2 * Math.floor(Math.max(small.height, small.width) / 6) + 1;
  const wide = pad(small, window, edge ? undefined : quantile(small.data, 0.9));
  const closed = pad(filtered(filtered(wide, window, MAX), window, MIN), -window);
  const light = map(closed, (value) => Math.max(0.01, value));
  const paper = scaled(light, [brightness.height, brightness.width]), most = highest(paper.data);
  const ink = map(brightness, (value, k) => clip(1 - value / paper.data[k]));
  return [ink, most - lowest(paper.data) > 0.1 * most];
}

/** Large pictures are noisy: averaged over 3 x 3 pixels, or 5 x 5. */
function smoothed(ink) {
  return averaged(ink, 1 + 2 * Math.floor(Math.max(ink.height, ink.width) / 256));
}

/** Where ruled lines run from left to right, at a slope of up to 6 %: a mask. */
function rulesAcross(dark) {
  const { height, width } = dark, { data } = filtered(dark, 3, MAX, 0);
  const lines = new Float32Array(height), found = blank(height, width);
  const row = (y) => Math.min(height - 1, Math.max(0, y));
  for (let step = -6; step <= 6; step++) {
    const down = new Float32Array(width).map((_, x) => Math.round((step / 100) * (x - width / 2)));
    const level = lines.map((_, y) => {
      let count = 0;
      for (let x = 0; x < width; x++) count += data[row(y + down[x]) * width + x];
      return count > 0.75 * width;
    });
    if (!highest(level)) continue;
    level.forEach((is, y) => { if (is) lines[y] = 1; });
    found.data.forEach((_, k) => {
      const x = k % width;
      if (level[row(Math.floor(k / width) - down[x])]) found.data[k] = 1;
    });
  }
  const several = lines.filter((is, y) => is && !lines[y - 1]).length > 2;
  const few = sum(lines) < 0.4 * height && several;
  return few ? filtered(found, 3, MAX, 0) : blank(height, width);
}

/** The ink without ruled lines or squares, and if there were any. */
function withoutRules(ink) {
  const smooth = smoothed(ink), level = 0.5 * threshold(smooth);
  const dark = map(smooth, (value) => +(value > level));
  const window = 2 * Math.round(0.006 * Math.max(ink.height, ink.width)) + 3;
  const down = turned(rulesAcross(turned(dark))), across = rulesAcross(dark);
  let rest = ink;
  [across, down].forEach((rules, axis) => {
    const opened = filtered(filtered(rest, window, MIN, axis), window, MAX, axis);
    rest = map(rest, (value, k) => (rules.data[k] ? opened.data[k] : value));
  });
  return [rest, sum(down.data) + sum(across.data) > 0];
}

function longerSide([top, left, bottom, right]) {
  return Math.max(bottom - top, right - left);
}

/** How much the ink `inside` looks like strokes, and if its edges are sharp enough for ink. */
function distinctness(light, every, inside) {
  const long = longerSide(boxAround(inside)), near = boxAround(inside, Math.floor(long / 2));
  const paper = map(crop(every, near), (value) => 1 - value);
  if (!sum(paper.data)) return [0, false];
  const [usual, varies] = spread(within(crop(light, near), paper));
  const change = usual - spread(within(light, inside))[0];
  const window = 3 + 2 * Math.floor(Math.max(light.height, light.width) / 60);
  const [most, least] = [MAX, MIN].map((sign) => filtered(light, window, sign).data);
  const contrast = map(light, (_, k) => most[k] - least[k]), low = quantile(contrast.data, 0.1);
  const core = filtered(inside, 3, MIN);
  const edge = map(inside, (value, k) => value && !core.data[k]);
  const clear = within(map(contrast, (value) => +(value > 0.5 * change + low)), edge);
  const sharp = sum(clear) / clear.length;
  const score = (change / Math.max(varies, 0.01)) * sharp ** 2 * long;
  return [score / Math.sqrt(sum(inside.data)), sharp >= SHARP];
}

/** The ink of the digit, 0 to 1, cropped, and if it is clear: ink, and not paper or a blob. */
function onlyTheDigit(ink, every, inside) {
  const long = longerSide(boxAround(inside)), near = boxAround(inside, Math.floor(long / 2));
  const smooth = smoothed(ink), marks = crop(every, near), whole = Math.max(ink.height, ink.width);
  let beside;
  for (const rim of [1 + Math.floor(long / 10), 1]) { // the halo of a blurred stroke is no paper
    beside = map(filtered(marks, 2 * rim + 1, MAX), (value) => 1 - value);
    if (sum(beside.data) > 0.1 * beside.data.length) break;
  }
  const parts = [ink, smooth].map((each) => within(crop(each, near), beside));
  const [[paper, varies], [level, rough]] = parts.map((each) => spread(each.length ? each : [0]));
  const contrast = spread(within(smooth, inside))[0] - level;
  const clear = contrast > Math.max(CONTRAST, CLEAR * rough, CLEAR * 0.001)
    && long >= MIN_SIDE && sum(inside.data) <= SOLID * long ** 2;
  const low = paper + 2 * varies, high = quantile(within(ink, inside), 0.8);
  const close = filtered(inside, 3 + 2 * Math.floor(whole / 200), MAX).data;
  const digit = map(ink, (v, k) => clip((v - low) / Math.max(high - low, 1e-3)) * close[k]);
  const box = boxAround(map(digit, (value, k) => +(inside.data[k] || value > 0.3)));
  return [crop(digit, box), clear];
}

/** The pieces of a mask: {piece, area, ends: [top, left, bottom, right]} each, by number. */
function measured({ width, data }) {
  const found = [];
  data.forEach((piece, k) => {
    if (!piece) return;
    const y = Math.floor(k / width), x = k % width;
    found[piece - 1] ??= { piece, area: 0, ends: [y, x, y + 1, x + 1] };
    found[piece - 1].area++;
    found[piece - 1].ends = joint(found[piece - 1].ends, [y, x, y + 1, x + 1]);
  });
  return found;
}

/** The box around two boxes. */
function joint(a, b) {
  return a.map((end, k) => (k < 2 ? Math.min(end, b[k]) : Math.max(end, b[k])));
}

/** The pieces of ink that make up the digit, a mask, and whether it is alone. */
function piecesOfDigit(inside) {
  const [pieces] = label(inside, true), sizes = [inside.height, inside.width];
  const margin = sizes.map((size) => (size > 40 ? Math.floor(size / 8) : 0));
  const hugs = ({ ends }) => [0, 1].some((k) => ends[k] === 0 || ends[k + 2] === sizes[k]
    || ends[k + 2] < margin[k] || ends[k] > sizes[k] - margin[k]);
  const largest = (some) => some.reduce((most, { area }) => Math.max(most, area), 0);
  let all = measured(pieces);
  const free = all.filter((each) => !hugs(each));
  if (largest(free) > DUST * largest(all)) all = free;
  all.sort((a, b) => b.area - a.area);
  const [main, ...others] = all, long = longerSide(main.ends), chosen = new Set([main.piece]);
  const gap = 1 + Math.floor(long / 7), own = map(pieces, (piece) => +(piece === main.piece));
  const near = new Set(within(pieces, filtered(own, 2 * gap + 1, MAX)));
  let whole = main.ends, single = true;
  for (const { piece, area, ends } of others) {
    if (area <= DUST * main.area) continue;
    const both = joint(whole, ends), height = both[2] - both[0], width = both[3] - both[1];
    if (near.has(piece) && Math.max(height, width) <= 2 * long && width <= 1.3 * height) {
      chosen.add(piece);
      whole = both;
    } else if (longerSide(ends) > 0.5 * long) single = false;
  }
  return [map(pieces, (piece) => +chosen.has(piece)), single];
}
