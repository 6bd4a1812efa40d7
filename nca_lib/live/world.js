// Digits that live together on one grid, in one style: what the controls act on.

import { Grid, MOST_OWNERS } from "./grid.js";

const LONGEST = 2; // length of a style that still grows a digit, times the root of its size
const STYLE_COST = 1e-4; // of an unusual style, see `costOfLabel`

/** A random style, Float32Array [S], of normal numbers (Box and Muller, 1958). */
export function randomStyle(model) {
  return Float32Array.from({ length: model.config.style_dim }, () => (
    Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random())));
}

/** The style, shortened to a length that grows digits: strange drawings lie far from training. */
export function shortened(style) {
  const length = Math.hypot(...style), most = LONGEST * Math.sqrt(style.length);
  return length > most ? style.map((value) => (value * most) / length) : style;
}

export class World {
  /** `digits`: {label, condition} of each owner on the grid; `chosen`: the selected one's index. */
  constructor(model, height, width, label) {
    Object.assign(this, { model, height, width, label, rngSeed: 0 });
    this.fireRate = model.config.fire_rate;
    this.style = new Float32Array(model.config.style_dim); // the mean style
    this.clear();
  }

  /** An empty grid, perhaps of a different size, with new fire masks. */
  clear(height = this.height, width = this.width) {
    Object.assign(this, { height, width, digits: [], chosen: 0 });
    this.grid = new Grid(this.model, height, width, this.rngSeed++);
  }

  /** Start again from one seed in the middle. */
  restart(label = this.label) {
    this.clear();
    this.plant(this.height >> 1, this.width >> 1, label);
  }

  /** One digit with this state, [C, H, W]. */
  take(height, width, state) {
    this.clear(height, width);
    this.digits[0] = this.digit(this.label);
    this.grid.write(state);
  }

  digit(label) {
    return { label, condition: this.model.condition(label, this.style) };
  }

  /** Plant a seed and select it; false if no more fit. */
  plant(y, x, label) {
    if (this.grid.walls?.[this.grid.at(y, x)]) return false;
    const owner = this.population().indexOf(0); // a new one, or one whose cells are all dead
    if (owner < 0) return false;
    this.digits[owner] = this.digit(label);
    this.grid.plant(y, x, owner);
    this.chosen = owner;
    this.label = label;
    return true;
  }

  /** Condition the selected digit on a different label. */
  setLabel(label) {
    this.label = label;
    if (this.digits[this.chosen]) this.digits[this.chosen] = this.digit(label);
  }

  /** Condition all digits on a style [S]. */
  setStyle(style) {
    this.style = Float32Array.from(style);
    this.digits = this.digits.map(({ label }) => this.digit(label));
  }

  /** Select the digit that lives at a cell; null if none does. */
  choose(y, x) {
    if (!this.grid.isAlive(y, x)) return null;
    this.chosen = this.grid.owner[this.grid.at(y, x)];
    this.label = this.digits[this.chosen].label;
    return this.label;
  }

  /** How many living cells each digit has, Int32Array [MOST_OWNERS]. */
  population() {
    const counts = new Int32Array(MOST_OWNERS), { living, owner } = this.grid;
    for (let i = 0; i < living.length; i++) counts[owner[i]] += living[i];
    return counts;
  }

  get alive() {
    return this.grid.living.includes(1);
  }

  step() {
    const conditions = this.digits.map((digit) => digit.condition);
    if (conditions.length) this.grid.step(conditions, { fireRate: this.fireRate });
  }
}

/**
 * How badly a label explains a picture: grow it under that label in the picture's own style, and
 * compare; unusual styles cost extra. The cheapest label is right for 90 % of MNIST's digits (300
 * test digits): the model that writes can also read.
 */
export function costOfLabel(model, style, picture, label) {
  const grid = new Grid(model), condition = model.condition(label, style);
  grid.plant();
  for (let k = 0; k < model.steps; k++) grid.step([condition]);
  const ink = grid.read().subarray(0, picture.length);
  const error = ink.reduce((sum, value, k) => (
    sum + (Math.min(1, Math.max(0, value)) - picture[k]) ** 2), 0) / ink.length;
  return error + STYLE_COST * style.reduce((sum, value) => sum + value * value, 0);
}
