// A grid of cells and its step: state.py's alive mask and rollout/sparse.py, in the browser.
//
// Only cells that are alive and fire are computed, and only the box around living cells is looked
// at. States are kept as rows [(H + 2) * (W + 2), C], one per cell, with an empty border around the
// grid; wide = W + 2.

import { fires, halves, stepKey } from "./fire.js";

const ALIVE_THRESHOLD = Math.fround(0.1);
const HIDDEN_SCALE = 1.5; // of the picture of the hidden channels
export const MOST_OWNERS = 32; // conditions on one grid

/**
 * `steps`: how many were made; set it to continue a rollout where its fire masks stand.
 * `owner`: Uint8Array [(H + 2) * (W + 2)], the index of each cell's condition (0 for one seed).
 *
 * Several seeds may grow different digits on one grid. A seed is planted with an owner, the index
 * of its condition. A cell that comes alive takes the owner of its most alive neighbour, and keeps
 * it while it lives: so each digit keeps its own condition.
 */
export class Grid {
  constructor(model, height = model.size[0], width = model.size[1], rngSeed = 0) {
    const wide = width + 2, count = (height + 2) * wide, C = model.config.channels;
    Object.assign(this, { model, height, width, wide, rngSeed: halves(rngSeed), steps: 0 });
    this.rows = new Float32Array(count * C);
    this.owner = new Uint8Array(count);
    this.living = new Uint8Array(count); // cells that were alive before and after the last step
    this.before = new Uint8Array(count);
    this.after = new Uint8Array(count);
    this.walls = null; // cells that never act, as beyond the edge
    this.acting = new Int32Array(count); // which cells act, and their owners
    this.owners = new Uint8Array(count + 1);
    this.seen = new Float64Array((count + 1) * model.perceived);
    this.change = new Float64Array((count + 1) * C);
    this.biases = new Float64Array(MOST_OWNERS * model.hidden);
    this.hidden = new Float64Array(2 * model.hidden);
    this.whole = { top: 0, bottom: height, left: 0, right: width };
    this.box = this.emptyBox();
  }

  /** A box [top, bottom) x [left, right) of cells; it grows as cells are included. */
  emptyBox() {
    return { top: this.height, bottom: 0, left: this.width, right: 0 };
  }

  include(box, y, x) {
    box.top = Math.min(box.top, y), box.bottom = Math.max(box.bottom, y + 1);
    box.left = Math.min(box.left, x), box.right = Math.max(box.right, x + 1);
  }

  /** Visit the cells of a box: visit(index in the rows, row, column). */
  visit({ top, bottom, left, right }, visit) {
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) visit(this.at(y, x), y, x);
    }
  }

  /** The index of a cell in the rows. */
  at(y, x) {
    return (y + 1) * this.wide + x + 1;
  }

  /** One channel, Float32Array [H * W]. */
  channel(c, out = new Float32Array(this.height * this.width)) {
    const C = this.model.config.channels;
    if (c >= C) return out.fill(0); // a model may be too small for an origin marker
    let k = 0;
    this.visit(this.whole, (i) => { out[k++] = this.rows[i * C + c]; });
    return out;
  }

  /** The whole state as PyTorch has it, Float32Array [C, H, W]. */
  read() {
    const C = this.model.config.channels, plane = this.height * this.width;
    const out = new Float32Array(C * plane);
    for (let c = 0; c < C; c++) out.set(this.channel(c), c * plane);
    return out;
  }

  /** Set the state, [C, H, W]; owner 0 has all cells. */
  write(state) {
    const C = this.model.config.channels, plane = this.height * this.width;
    if (state.length !== C * plane) throw new Error(`a state here has ${C * plane} numbers`);
    let k = 0;
    this.visit(this.whole, (i) => {
      for (let c = 0; c < C; c++) this.rows[i * C + c] = state[c * plane + k];
      k++;
    });
    this.owner.fill(0);
    this.box = this.whole;
    this.findAlive(this.box, this.living);
  }

  /** A seed: one living cell without ink; its alive, origin and hidden channels are 1. */
  plant(y = this.height >> 1, x = this.width >> 1, owner = 0) {
    const i = this.at(y, x), C = this.model.config.channels;
    this.rows.fill(0, i * C, i * C + this.model.alive);
    this.rows.fill(1, i * C + this.model.alive, (i + 1) * C);
    this.owner[i] = owner;
    this.living[i] = 1;
    this.include(this.box, y, x);
  }

  /** Damage: the state is zero in a disc. Returns how many cells with an alive channel it took. */
  erase(y, x, radius) {
    const C = this.model.config.channels;
    let lost = 0;
    this.visit(this.whole, (i, row, column) => {
      if ((row - y) ** 2 + (column - x) ** 2 > radius ** 2) return;
      lost += this.aliveness(i) > ALIVE_THRESHOLD;
      this.rows.fill(0, i * C, (i + 1) * C);
      this.living[i] = 0;
    });
    return lost;
  }

  /** Cells outside of these boxes never act: for those inside, it is the edge of the grid. */
  wallAround(boxes) {
    this.walls = new Uint8Array(this.living.length).fill(1);
    for (const box of boxes) this.visit(box, (i) => { this.walls[i] = 0; });
  }

  /** The alive channel of a cell of the rows. */
  aliveness(i) {
    return this.rows[i * this.model.config.channels + this.model.alive];
  }

  /** The alive mask [(H + 2) * (W + 2)] in a box: above the threshold in the 3x3 neighbourhood. */
  findAlive(box, mask) {
    mask.fill(0);
    this.visit(box, (i) => {
      if (!(this.aliveness(i) > ALIVE_THRESHOLD)) return;
      for (let j = i - this.wide; j <= i + this.wide; j += this.wide) {
        mask[j - 1] = mask[j] = mask[j + 1] = 1;
      }
    });
  }

  /** Whether a cell is alive. */
  isAlive(y, x) {
    return this.mostAliveNeighbour(this.at(y, x)) !== null;
  }

  /** The most alive cell of a 3x3 neighbourhood in the rows, or null if none exceeds 0.1. */
  mostAliveNeighbour(i) {
    let most = ALIVE_THRESHOLD, found = null;
    for (let row = i - this.wide; row <= i + this.wide; row += this.wide) {
      for (let j = row - 1; j <= row + 1; j++) {
        const value = this.aliveness(j);
        if (value > most) most = value, found = j;
      }
    }
    return found;
  }

  /** One step. `conditions`: a Float32Array [G] for each owner. */
  step(conditions, { fireRate = this.model.config.fire_rate } = {}) {
    const { model } = this, D = model.hidden;
    if (conditions.length > MOST_OWNERS) throw new Error(`more than ${MOST_OWNERS} conditions`);
    conditions.forEach((condition, k) => {
      model.bias(condition, this.biases.subarray(k * D, (k + 1) * D));
    });
    const { top, bottom, left, right } = this.box; // living cells touch one more on each side
    const region = {
      top: Math.max(top - 1, 0), bottom: Math.min(bottom + 1, this.height),
      left: Math.max(left - 1, 0), right: Math.min(right + 1, this.width),
    };
    this.findAlive(region, this.before);
    if (conditions.length > 1) this.adopt(region);
    const count = this.choose(region, fireRate);
    model.perceive(this.rows, this.wide, this.acting, count, this.seen);
    model.update(this.seen, count, this.biases, this.owners, this.hidden, this.change);
    this.add(count);
    this.findAlive(region, this.after);
    this.clearDead(region);
    this.steps++;
  }

  /** List the cells that are alive and fire, and their owners; returns how many. */
  choose(region, fireRate) {
    const key = stepKey(this.rngSeed, this.steps);
    let count = 0;
    this.visit(region, (i, y, x) => {
      if (!this.before[i] || this.walls?.[i]) return;
      if (!fires(key, y * this.width + x, fireRate)) return;
      this.acting[count] = i;
      this.owners[count++] = this.owner[i];
    });
    return count;
  }

  /** Cells that have come alive take the owner of their most alive neighbour. */
  adopt(region) {
    this.visit(region, (i) => {
      if (this.before[i] && !this.living[i]) this.owner[i] = this.owner[this.mostAliveNeighbour(i)];
    });
  }

  /** Add the changes [n, C] to the cells that act; frozen channels stay as they are. */
  add(count) {
    const C = this.model.config.channels, { free } = this.model;
    for (let k = 0, o = 0; k < count; k++) {
      const i = this.acting[k] * C;
      for (let c = 0; c < C; c++, o++) if (free[c]) this.rows[i + c] += this.change[o];
    }
  }

  /** Empty the cells that were not alive before and after the change; find the others' box. */
  clearDead(region) {
    const C = this.model.config.channels, { free } = this.model, box = this.emptyBox();
    this.visit(region, (i, y, x) => {
      this.living[i] = this.before[i] & this.after[i];
      if (this.living[i]) this.include(box, y, x);
      else for (let c = 0; c < C; c++) if (free[c]) this.rows[i * C + c] = 0;
    });
    this.box = box;
  }

  /** A channel to draw, or the mean of the hidden ones, Float32Array [H * W] in [0, 1]. */
  picture(view) {
    const { alive, origin } = this.model, channel = { ink: 0, alive, origin }[view];
    const values = view === "hidden" ? this.meanOfHidden() : this.channel(channel);
    return values.map((value) => Math.min(1, Math.max(0, value)));
  }

  /** The mean of the hidden channels' absolute values, scaled, Float32Array [H * W]. */
  meanOfHidden() {
    const C = this.model.config.channels, first = this.model.origin;
    const sum = new Float32Array(this.height * this.width), scale = HIDDEN_SCALE * (C - first);
    for (let c = first; c < C; c++) {
      this.channel(c).forEach((value, k) => { sum[k] += Math.abs(value) / scale; });
    }
    return sum;
  }
}
