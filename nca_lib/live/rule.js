// The live rule: a rule of nca_lib running in the browser, without Python. To be read beside
// rule.py, whose names and order it keeps; seeds and damage are cells.py's, the masks fire.py's.
//
// A step is sparse as in rollout/sparse.py: only cells that are alive and fire are computed, and
// only the box around what lives is looked at. States are float32 as in PyTorch. The products are
// summed in float64, JavaScript's own number: float32 would have to be converted at every use.
//
// Shapes: C channels, K kernels, D hidden units, G numbers in a genome. A grid is kept as rows
// [(H + 2) * (W + 2), C], a row a cell, with an empty border around; wide = W + 2.

import { Flow } from "./flow.js";

// ---- fire.py: which cells update in a step, drawn from a counter --------------------------------

const GOLDEN = 0x9e3779b9; // 2**32 / golden ratio
const SEEDS = 2 ** 28; // seeds go from 0 to this, exclusive
const PARTS = 4; // kinds of draws from one seed

/** Scramble a 32-bit integer: the finaliser of MurmurHash3. */
export function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** A stream for each of `count` samples, BigInt64Array [count]; no two seeds or parts share one. */
export function streams(count, seed, part = 0) {
  if (!Number.isInteger(seed) || seed < 0 || seed >= SEEDS) {
    throw new Error(`seed is ${seed}: give a whole number from 0 to ${SEEDS - 1}`);
  }
  const base = BigInt(seed * PARTS + part) << 32n;
  return BigInt64Array.from({ length: count }, (_, k) => base + BigInt(k));
}

/** The two halves of a stream (a number or BigInt below 2**63), as 32-bit integers. */
function halves(stream) {
  const whole = BigInt(stream);
  return [Number(whole & 0xffffffffn), Number(whole >> 32n)];
}

/** One 32-bit key for this step of a stream, from its halves. */
export function streamKey([low, high], step) {
  return mix(mix(mix(low) + Math.imul(step, GOLDEN)) ^ high);
}

/** Whether a cell fires; its number is y * width + x. */
export function fires(key, cell, fireRate) {
  return mix(key + Math.imul(cell, GOLDEN)) < Math.round(fireRate * 2 ** 32);
}

/** The whole mask of one step, Uint8Array [H * W]. */
export function fireMask(stream, step, height, width, fireRate) {
  const key = streamKey(halves(stream), step);
  return Uint8Array.from({ length: height * width }, (_, cell) => fires(key, cell, fireRate));
}

// ---- checkpoints.py: a rule out of its file -----------------------------------------------------

const KIND = "nca_lib rule";
const VERSIONS = ["1", "2"];
const DIGITS = [..."0123456789"];

/** The number that 16 bits stand for: a sign, 5 bits of exponent, 10 of fraction. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const TYPES = {
  F32: [4, (view, k) => view.getFloat32(4 * k, true)],
  F16: [2, (view, k) => half(view.getUint16(2 * k, true))],
  I64: [8, (view, k) => Number(view.getBigInt64(8 * k, true))], // small ones: kept as float32
};

/** A safetensors file is 8 bytes of length, a JSON header, then raw numbers: [header, rest]. */
function readHeader(buffer) {
  try {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const text = new TextDecoder().decode(new Uint8Array(buffer, 8, length));
    return [JSON.parse(text), buffer.slice(8 + length)];
  } catch (error) {
    throw new Error(`damaged, or no safetensors file (${error.message})`);
  }
}

/** One tensor, {shape, data: Float32Array}, from its entry in the header and the raw numbers. */
function readTensor(name, { dtype, shape, data_offsets: [from, to] }, numbers) {
  if (!(dtype in TYPES)) throw new Error(`tensor ${name} is ${dtype}: F32, F16, I64 can be read`);
  const [size, read] = TYPES[dtype], length = shape.reduce((a, b) => a * b, 1);
  if (!(from >= 0) || to - from !== length * size || to > numbers.byteLength) {
    throw new Error(`damaged: tensor ${name} does not lie inside the file`);
  }
  const view = new DataView(numbers, from, to - from);
  const data = Float32Array.from({ length }, (_, k) => read(view, k));
  if (!data.every(Number.isFinite)) throw new Error(`tensor ${name} holds NaN or infinity`);
  return { shape, data };
}

/** A ready rule out of the bytes of its .safetensors file. Throws an Error that says why not. */
export function parseRule(buffer) {
  const [{ __metadata__: metadata = {}, ...entries }, numbers] = readHeader(buffer);
  if (metadata.kind !== KIND) {
    throw new Error(`the file holds '${metadata.kind ?? "something else"}', wanted was '${KIND}'`);
  }
  if (!VERSIONS.includes(metadata.version)) {
    throw new Error(`the file has version ${metadata.version}: ${VERSIONS} can be read`);
  }
  const config = JSON.parse(metadata.config ?? "null");
  if (!config) throw new Error("the file has no configuration");
  if (config.class) throw new Error(`the file holds a ${config.class}: only NCA's step is known`);
  const tensors = {};
  for (const name in entries) tensors[name] = readTensor(name, entries[name], numbers);
  return new Rule(config, tensors, JSON.parse(metadata.record ?? "{}"));
}

// ---- rule.py and genome.py ----------------------------------------------------------------------

const TILE = 4; // hidden units that are computed together, for two cells

/** A [rows, columns] matrix as Float64Array [columns, rows]. */
function transposed(data, rows, columns) {
  const out = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c];
  }
  return out;
}

/** A copy as Float64Array, filled up with zeros to `length`. */
function padded(data, length) {
  const out = new Float64Array(length);
  out.set(data);
  return out;
}

/** Weights [D, K * C] on what K kernels show, as weights [D, 9 * C] on all nine neighbours. */
function onNeighbours(weights, D, { data: kernels, shape: [K] }, C) {
  const out = new Float32Array(D * 9 * C);
  for (let d = 0; d < D; d++) {
    for (let k = 0; k < K; k++) {
      for (let n = 0; n < 9; n++) {
        const from = (d * K + k) * C, to = (d * 9 + n) * C;
        for (let c = 0; c < C; c++) out[to + c] += weights[from + c] * kernels[k * 9 + n];
      }
    }
  }
  return out;
}

/**
 * What a rule has learned.
 * `config`: as in RuleConfig; `classes`: their names, a label is a place in this list;
 * `ink`: number of ink channels; `life`, `anchor`: channels; `size`: [H, W] of the training.
 */
export class Rule {
  constructor(config, tensors, record = {}) {
    Object.assign(this, { config, tensors, record });
    this.classes = config.classes ?? DIGITS;
    this.ink = config.ink ?? 1;
    this.life = this.ink; // the ink comes first
    this.anchor = this.ink + 1; // from here on channels are hidden
    this.size = config.size ?? [28, 28];
    this.known = record.digits ?? this.classes.map((_, label) => label); // labels of the training
    this.task = record.training?.task ?? "grow";
    this.trainedSteps = Math.max(...(record.training?.loss_steps ?? [32]));
    this.free = Uint8Array.from({ length: config.channels }, (_, c) => !config.held?.includes(c));
    this.prepare();
  }

  /** The weights in the order and type that a step wants, hidden units in whole tiles. */
  prepare() {
    const { channels, hidden, label_dim, style_dim, perception } = this.config;
    if (!["sobel", "patch"].includes(perception)) throw new Error(`perception '${perception}'`);
    const { kernels } = this.tensors; // [K, 1, 3, 3] of its own, or none
    this.sobel = perception === "sobel" && !kernels;
    this.seen = (this.sobel ? 3 : 9) * channels; // K * C
    this.hidden = Math.ceil(hidden / TILE) * TILE; // D
    const seen = kernels ? kernels.shape[0] * channels : this.seen;
    let weights = this.tensor("perceived.weight", hidden, seen);
    if (kernels) weights = onNeighbours(weights, hidden, kernels, channels);
    this.perceived = padded(weights, this.hidden * this.seen); // [D, K * C]
    this.constant = padded(this.tensor("perceived.bias", hidden), this.hidden); // [D]
    this.told = this.tensor("told.weight", hidden, label_dim + style_dim); // [D, G]
    const update = this.tensor("update.weight", channels, hidden);
    this.update = padded(transposed(update, channels, hidden), this.hidden * channels); // [D, C]
    const labels = this.classes.length;
    this.labels = this.tensor("genome.labels.weight", labels, label_dim);
    this.average = this.tensor("genome.average", labels, style_dim);
    this.spread = this.tensor("genome.spread", labels, style_dim, style_dim); // triangular
    const bends = Object.keys(this.tensors).some((name) => name.startsWith("genome.flow."));
    this.flow = bends ? new Flow(this) : null; // old rules bend no styles
  }

  /** The numbers of a tensor, which has to have this shape. */
  tensor(name, ...shape) {
    const found = this.tensors[name];
    if (!found) throw new Error(`tensor ${name} is missing: the file is of another rule`);
    if (found.shape.join() !== shape.join()) {
      throw new Error(`tensor ${name} has shape [${found.shape}], its configuration: [${shape}]`);
    }
    return found.data;
  }

  /** What every cell is told, Float32Array [G]: label embedding, then the code of the style [S]. */
  genome(label, style = null) {
    const { label_dim, style_dim } = this.config;
    const known = Number.isInteger(label) && label >= 0 && label < this.classes.length;
    if (!known) throw new Error(`label ${label}: they go from 0 to ${this.classes.length - 1}`);
    if (style && style.length !== style_dim) throw new Error(`a style has ${style_dim} numbers`);
    const genome = new Float32Array(label_dim + style_dim);
    genome.set(this.labels.subarray(label * label_dim, (label + 1) * label_dim));
    const told = style ?? new Float32Array(style_dim); // the average hand
    const bent = this.flow?.forward(told, label) ?? told;
    for (let r = 0; r < style_dim; r++) {
      let code = this.average[label * style_dim + r];
      const row = (label * style_dim + r) * style_dim;
      for (let c = 0; c < style_dim; c++) code += this.spread[row + c] * bent[c];
      genome[label_dim + r] = code;
    }
    return genome;
  }

  /** A code [S] as style [S]: the inverse of what `genome` does, by forward substitution. */
  styleOf(code, label) {
    const size = this.config.style_dim, bent = new Float64Array(size);
    for (let r = 0; r < size; r++) {
      const row = (label * size + r) * size;
      let rest = code[r] - this.average[label * size + r];
      for (let c = 0; c < r; c++) rest -= this.spread[row + c] * bent[c];
      bent[r] = rest / this.spread[row + r];
    }
    return Float32Array.from(this.flow?.inverse(bent, label) ?? bent);
  }

  /** The hidden layer's bias with the genome's say, out [D]. */
  bias(genome, out) {
    const G = genome.length;
    out.set(this.constant);
    for (let d = 0; d < this.config.hidden; d++) {
      for (let g = 0; g < G; g++) out[d] += this.told[d * G + g] * genome[g];
    }
  }
}

/** What the cells see, seen [n, K * C]: themselves and two slopes, or all nine neighbours. */
function perceive(rule, rows, wide, cells, count, seen) {
  const C = rule.config.channels, south = wide * C, north = -south;
  for (let k = 0, o = 0; k < count; k++, o += rule.seen) {
    const me = cells[k] * C;
    for (let c = 0; c < C; c++) {
      const i = me + c;
      const nw = rows[i + north - C], n = rows[i + north], ne = rows[i + north + C];
      const w = rows[i - C], e = rows[i + C];
      const sw = rows[i + south - C], s = rows[i + south], se = rows[i + south + C];
      if (rule.sobel) {
        seen[o + c] = rows[i];
        seen[o + C + c] = (ne + 2 * e + se - nw - 2 * w - sw) / 8;
        seen[o + 2 * C + c] = (sw + 2 * s + se - nw - 2 * n - ne) / 8;
      } else {
        seen[o + c] = nw, seen[o + C + c] = n, seen[o + 2 * C + c] = ne;
        seen[o + 3 * C + c] = w, seen[o + 4 * C + c] = rows[i], seen[o + 5 * C + c] = e;
        seen[o + 6 * C + c] = sw, seen[o + 7 * C + c] = s, seen[o + 8 * C + c] = se;
      }
    }
  }
}

/**
 * The hidden layer before its ReLU, of two cells: hidden [2, D] from seen [2, K * C], which starts
 * at `p`. Four units at a time for both cells: six numbers are read for eight products, and all of
 * them fit into the processor's registers. One unit for one cell takes two to three times as long.
 */
function hiddenLayer(P, weights, D, seen, p, bias, b0, b1, hidden) {
  const q = p + P;
  for (let d = 0; d < D; d += TILE) {
    const u0 = d * P, u1 = u0 + P, u2 = u1 + P, u3 = u2 + P;
    let f0 = bias[b0 + d], f1 = bias[b0 + d + 1], f2 = bias[b0 + d + 2], f3 = bias[b0 + d + 3];
    let g0 = bias[b1 + d], g1 = bias[b1 + d + 1], g2 = bias[b1 + d + 2], g3 = bias[b1 + d + 3];
    for (let k = 0; k < P; k++) {
      const f = seen[p + k], g = seen[q + k];
      const w0 = weights[u0 + k], w1 = weights[u1 + k];
      const w2 = weights[u2 + k], w3 = weights[u3 + k];
      f0 += w0 * f, g0 += w0 * g, f1 += w1 * f, g1 += w1 * g;
      f2 += w2 * f, g2 += w2 * g, f3 += w3 * f, g3 += w3 * g;
    }
    hidden[d] = f0, hidden[d + 1] = f1, hidden[d + 2] = f2, hidden[d + 3] = f3;
    hidden[D + d] = g0, hidden[D + d + 1] = g1, hidden[D + d + 2] = g2, hidden[D + d + 3] = g3;
  }
}

/** out[o ...] += update^T relu(hidden[h ...]): most units of a cell are silent, and are skipped. */
function addUpdate(update, C, D, hidden, h, out, o) {
  for (let d = 0; d < D; d++) {
    const value = hidden[h + d];
    if (value > 0) for (let c = 0; c < C; c++) out[o + c] += value * update[d * C + c];
  }
}

/** What the cells add to their states: seen [n, K * C] -> out [n, C]; bias [owners, D]. */
function change(rule, seen, count, bias, owners, hidden, out) {
  const C = rule.config.channels, D = rule.hidden, P = rule.seen;
  out.fill(0, 0, (count + 1) * C);
  for (let k = 0; k < count; k += 2) { // if the count is odd, the last has company from before
    const b0 = owners[k] * D, b1 = owners[k + 1] * D;
    hiddenLayer(P, rule.perceived, D, seen, k * P, bias, b0, b1, hidden);
    addUpdate(rule.update, C, D, hidden, 0, out, k * C);
    addUpdate(rule.update, C, D, hidden, D, out, (k + 1) * C);
  }
}

// ---- cells.py, and the step ---------------------------------------------------------------------

const ALIVE_ABOVE = Math.fround(0.1);
const HIDDEN_SCALE = 1.5; // of the picture of the hidden channels
const OWNERS = 32; // seeds with a genome of their own

/** The alive mask [N] in the box: life in the 3x3 neighbourhood exceeds 0.1. */
function alive(grid, box, mask) {
  const { rows, wide, rule } = grid, C = rule.config.channels;
  mask.fill(0);
  for (let y = box.top; y < box.bottom; y++) {
    for (let i = y * wide + box.left, end = y * wide + box.right; i < end; i++) {
      if (!(rows[i * C + rule.life] > ALIVE_ABOVE)) continue;
      for (let j = i - wide; j <= i + wide; j += wide) mask[j - 1] = mask[j] = mask[j + 1] = 1;
    }
  }
}

/**
 * A grid of living cells.
 * `steps`: how many were made; set it to continue a rollout where its stream of masks stands.
 * `rows`: Float32Array [(H + 2) * (W + 2), C]; `read` and `write` give and take PyTorch's planes.
 * `owner`: Uint8Array [(H + 2) * (W + 2)], which genome a cell is told (0 for one seed).
 *
 * Several seeds may grow different digits on one grid. A seed is planted with an owner, the number
 * of its genome. A cell that comes to life takes the owner of the neighbour with the most life,
 * and keeps it for as long as it lives: so each digit is told its own genome, also in mid-life.
 */
export class Grid {
  constructor(rule, height = rule.size[0], width = rule.size[1], seed = 0) {
    const wide = width + 2, count = (height + 2) * wide, C = rule.config.channels;
    Object.assign(this, { rule, height, width, wide, stream: halves(seed), steps: 0 });
    this.rows = new Float32Array(count * C);
    this.owner = new Uint8Array(count);
    this.kept = new Uint8Array(count); // cells that lived through the last step
    this.before = new Uint8Array(count);
    this.after = new Uint8Array(count);
    this.walls = null; // cells that never act, as beyond the edge
    this.acting = new Int32Array(count); // which cells act, and their owners
    this.owners = new Uint8Array(count + 1);
    this.seen = new Float64Array((count + 1) * rule.seen);
    this.change = new Float64Array((count + 1) * C);
    this.bias = new Float64Array(OWNERS * rule.hidden);
    this.hidden = new Float64Array(2 * rule.hidden);
    this.box = this.nothing();
  }

  /** The box of nothing; `include` makes it larger. [top, bottom) x [left, right), in rows. */
  nothing() {
    return { top: this.height + 1, bottom: 1, left: this.width + 1, right: 1 };
  }

  everything() {
    return { top: 1, bottom: this.height + 1, left: 1, right: this.width + 1 };
  }

  /** The box and one cell more on each side, within the grid. */
  around({ top, bottom, left, right }) {
    return {
      top: Math.max(top - 1, 1), bottom: Math.min(bottom + 1, this.height + 1),
      left: Math.max(left - 1, 1), right: Math.min(right + 1, this.width + 1),
    };
  }

  /** The place of a cell in the rows. */
  at(y, x) {
    return (y + 1) * this.wide + x + 1;
  }

  /** The whole state as planes, Float32Array [C, H, W]. */
  read() {
    const C = this.rule.config.channels, plane = this.height * this.width;
    const out = new Float32Array(C * plane);
    for (let c = 0; c < C; c++) out.set(this.channel(c), c * plane);
    return out;
  }

  /** One channel, Float32Array [H * W]. */
  channel(c, out = new Float32Array(this.height * this.width)) {
    const C = this.rule.config.channels;
    if (c >= C) return out.fill(0); // a rule may be too small for an anchor
    for (let y = 0, k = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) out[k++] = this.rows[this.at(y, x) * C + c];
    }
    return out;
  }

  /** Take a state as planes [C, H, W]; all cells are owner 0's. */
  write(planes) {
    const C = this.rule.config.channels, plane = this.height * this.width;
    if (planes.length !== C * plane) throw new Error(`a state here has ${C * plane} numbers`);
    for (let y = 0, k = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++, k++) {
        const i = this.at(y, x) * C;
        for (let c = 0; c < C; c++) this.rows[i + c] = planes[c * plane + k];
      }
    }
    this.owner.fill(0);
    this.box = this.everything();
    alive(this, this.box, this.kept);
  }

  /** Empty the grid; the count of steps begins anew. */
  clear() {
    for (const array of [this.rows, this.owner, this.kept]) array.fill(0);
    this.box = this.nothing();
    this.steps = 0;
  }

  /** A seed: one living cell without ink, its life and hidden channels are 1. */
  plant(y = this.height >> 1, x = this.width >> 1, owner = 0) {
    const i = this.at(y, x), C = this.rule.config.channels, { box } = this;
    this.rows.fill(0, i * C, i * C + this.rule.life);
    this.rows.fill(1, i * C + this.rule.life, (i + 1) * C);
    this.owner[i] = owner;
    this.kept[i] = 1;
    box.top = Math.min(box.top, y + 1), box.bottom = Math.max(box.bottom, y + 2);
    box.left = Math.min(box.left, x + 1), box.right = Math.max(box.right, x + 2);
  }

  /** Damage: the state is zero in a disc. Returns how many cells with life it took. */
  erase(y, x, radius) {
    const C = this.rule.config.channels;
    let lost = 0;
    const top = Math.max(0, Math.ceil(y - radius)), left = Math.max(0, Math.ceil(x - radius));
    for (let r = top; r < this.height && r <= y + radius; r++) {
      for (let c = left; c < this.width && c <= x + radius; c++) {
        if ((r - y) ** 2 + (c - x) ** 2 > radius ** 2) continue;
        const i = this.at(r, c);
        lost += this.rows[i * C + this.rule.life] > ALIVE_ABOVE;
        this.rows.fill(0, i * C, (i + 1) * C);
        this.kept[i] = 0;
      }
    }
    return lost;
  }

  /** Cells outside of these boxes never act: for those inside, it is the edge of their world. */
  wallAround(boxes) {
    this.walls = new Uint8Array(this.kept.length).fill(1);
    for (const { top, left, height, width } of boxes) {
      for (let y = top; y < top + height; y++) {
        this.walls.fill(0, this.at(y, left), this.at(y, left + width));
      }
    }
  }

  /** Whether a cell is alive: there is life around it. */
  lives(y, x) {
    const C = this.rule.config.channels, { rows, wide, rule } = this;
    const middle = this.at(y, x);
    for (let j = middle - wide; j <= middle + wide; j += wide) {
      for (let i = j - 1; i <= j + 1; i++) if (rows[i * C + rule.life] > ALIVE_ABOVE) return true;
    }
    return false;
  }

  /**
   * One step.
   * @param genomes  Float32Array [G], or a list of them: one for each owner.
   */
  step(genomes, { fireRate = this.rule.config.fire_rate } = {}) {
    const list = ArrayBuffer.isView(genomes) ? [genomes] : genomes;
    if (list.length > OWNERS) throw new Error(`${list.length} genomes: ${OWNERS} fit on a grid`);
    const { rule } = this, D = rule.hidden;
    list.forEach((genome, k) => rule.bias(genome, this.bias.subarray(k * D, (k + 1) * D)));
    const region = this.around(this.box); // what lives may touch, and nothing is outside
    alive(this, region, this.before);
    if (list.length > 1) this.adopt(region);
    const count = this.choose(region, fireRate);
    perceive(rule, this.rows, this.wide, this.acting, count, this.seen);
    change(rule, this.seen, count, this.bias, this.owners, this.hidden, this.change);
    this.add(count);
    alive(this, region, this.after);
    this.empty(region);
    this.steps++;
  }

  /** List the cells that are alive and fire, and their owners; how many. */
  choose(region, fireRate) {
    const key = streamKey(this.stream, this.steps);
    let count = 0;
    for (let y = region.top; y < region.bottom; y++) {
      for (let x = region.left; x < region.right; x++) {
        const i = y * this.wide + x;
        if (this.walls?.[i]) continue;
        if (!this.before[i] || !fires(key, (y - 1) * this.width + x - 1, fireRate)) continue;
        this.acting[count] = i;
        this.owners[count++] = this.owner[i];
      }
    }
    return count;
  }

  /** Cells that have come to life take the owner of the neighbour with the most life. */
  adopt(region) {
    const { rows, wide, rule, owner } = this, C = rule.config.channels;
    for (let y = region.top; y < region.bottom; y++) {
      for (let i = y * wide + region.left, end = y * wide + region.right; i < end; i++) {
        if (!this.before[i] || this.kept[i]) continue;
        let most = ALIVE_ABOVE;
        for (let j = i - wide - 1, k = 0; k < 9; k++, j += k % 3 ? 1 : wide - 2) {
          const life = rows[j * C + rule.life];
          if (life > most) most = life, owner[i] = owner[j];
        }
      }
    }
  }

  /** Add the changes [n, C] to the cells that act; held channels stay as they were given. */
  add(count) {
    const C = this.rule.config.channels, { free } = this.rule;
    for (let k = 0, o = 0; k < count; k++) {
      const i = this.acting[k] * C;
      for (let c = 0; c < C; c++, o++) if (free[c]) this.rows[i + c] += this.change[o];
    }
  }

  /** Empty the cells that were not alive before and after the change; find the others' box. */
  empty(region) {
    const C = this.rule.config.channels, { free } = this.rule, box = this.nothing();
    for (let y = region.top; y < region.bottom; y++) {
      for (let x = region.left; x < region.right; x++) {
        const i = y * this.wide + x;
        this.kept[i] = this.before[i] & this.after[i];
        if (this.kept[i]) {
          box.top = Math.min(box.top, y), box.bottom = y + 1;
          box.left = Math.min(box.left, x), box.right = Math.max(box.right, x + 1);
        } else {
          for (let c = 0; c < C; c++) if (free[c]) this.rows[i * C + c] = 0;
        }
      }
    }
    this.box = box;
  }

  /** What to draw of a channel or of all hidden ones, Float32Array [H * W] in [0, 1]. */
  picture(view, out) {
    const { life, anchor } = this.rule, channel = { ink: 0, life, anchor }[view];
    const values = view === "hidden" ? this.meanOfHidden(out) : this.channel(channel, out);
    return values.map((value) => Math.min(1, Math.max(0, value)));
  }

  /** The mean of the hidden channels' absolute values, scaled, Float32Array [H * W]. */
  meanOfHidden(out = new Float32Array(this.height * this.width)) {
    const C = this.rule.config.channels, first = this.rule.anchor;
    const scale = 1 / (HIDDEN_SCALE * Math.max(1, C - first));
    for (let y = 0, k = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++, k++) {
        const i = this.at(y, x) * C;
        let sum = 0;
        for (let c = first; c < C; c++) sum += Math.abs(this.rows[i + c]);
        out[k] = sum * scale;
      }
    }
    return out;
  }
}
