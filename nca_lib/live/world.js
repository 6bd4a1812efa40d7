// Digits that live together on one grid, in one handwriting: what the page's buttons speak to.

import { Grid } from "./rule.js";

const MOST = 32; // digits on a grid; as many as a grid has genomes for
const LONGEST = 2; // a style that cells can live in, at most, times the root of its size
const UNUSUAL = 1e-4; // how much a guess minds a style that few people write; see `costOfLabel`

/** A number that follows N(0, 1) (Box and Muller, 1958). */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** A style that people might write, Float32Array [S]. */
export function randomStyle(rule) {
  return Float32Array.from({ length: rule.config.style_dim }, normal);
}

/** A style no longer than cells can live in: strange drawings have codes that nobody trained for. */
export function livable(style) {
  const length = Math.hypot(...style), most = LONGEST * Math.sqrt(style.length);
  return length > most ? style.map((value) => (value * most) / length) : style;
}

export class World {
  /** `digits`: {label, genome} of each owner on the grid; `chosen`: which one is spoken to. */
  constructor(rule, height, width, label) {
    Object.assign(this, { rule, height, width, label, seed: 0 });
    this.fireRate = rule.config.fire_rate;
    this.style = new Float32Array(rule.config.style_dim); // the average hand
    this.clear();
  }

  /** An empty grid, perhaps of another size, with fire masks that were not seen before. */
  clear(height = this.height, width = this.width) {
    Object.assign(this, { height, width, digits: [], chosen: 0 });
    this.grid = new Grid(this.rule, height, width, this.seed++);
  }

  /** Begin anew with one seed in the middle. */
  restart(label = this.label) {
    this.clear();
    this.plant(this.height >> 1, this.width >> 1, label);
  }

  /** One digit whose state is given, as planes [C, H, W]. */
  take(height, width, planes) {
    this.clear(height, width);
    this.digits[0] = { label: this.label, genome: this.rule.genome(this.label, this.style) };
    this.grid.write(planes);
  }

  /** A seed at a cell, which is chosen; false if no more fit. */
  plant(y, x, label) {
    if (this.grid.walls?.[this.grid.at(y, x)]) return false;
    const living = this.population();
    let owner = living.findIndex((cells, k) => !cells && k < this.digits.length);
    if (owner < 0) owner = this.digits.length;
    if (owner >= MOST) return false;
    this.digits[owner] = { label, genome: this.rule.genome(label, this.style) };
    this.grid.plant(y, x, owner);
    this.chosen = owner;
    this.label = label;
    return true;
  }

  /** The chosen digit is told to become another. */
  tell(label) {
    this.label = label;
    const digit = this.digits[this.chosen];
    if (digit) Object.assign(digit, { label, genome: this.rule.genome(label, this.style) });
  }

  /** All digits are told to be written in this hand, [S]. */
  write(style) {
    this.style = Float32Array.from(style);
    for (const digit of this.digits) digit.genome = this.rule.genome(digit.label, this.style);
  }

  /** Choose the digit that lives at a cell, or null if none does. */
  choose(y, x) {
    if (!this.grid.lives(y, x)) return null;
    this.chosen = this.grid.owner[this.grid.at(y, x)];
    this.label = this.digits[this.chosen].label;
    return this.label;
  }

  /** How many living cells each digit has, Int32Array [MOST]. */
  population() {
    const counts = new Int32Array(MOST), { kept, owner } = this.grid;
    for (let i = 0; i < kept.length; i++) counts[owner[i]] += kept[i];
    return counts;
  }

  get alive() {
    return this.grid.kept.includes(1);
  }

  step() {
    const genomes = this.digits.map((digit) => digit.genome);
    if (genomes.length) this.grid.step(genomes, { fireRate: this.fireRate });
  }
}

/** The ink that a rule grows from one cell, Float32Array [ink * H * W] in [0, 1]. */
export function grownInk(rule, label, style) {
  const grid = new Grid(rule), genome = rule.genome(label, style);
  grid.plant();
  for (let k = 0; k < rule.trainedSteps; k++) grid.step(genome);
  return grid.read().subarray(0, rule.ink * grid.height * grid.width)
    .map((value) => Math.min(1, Math.max(0, value)));
}

/**
 * How badly a label explains a picture: grow it in the picture's own style under that label, and
 * compare; styles that few people write cost extra. The label that costs least is right for 90 % of
 * MNIST's digits (300 test digits): the rule that writes can also read.
 */
export function costOfLabel(rule, style, picture, label) {
  const ink = grownInk(rule, label, style);
  const error = ink.reduce((sum, value, k) => sum + (value - picture[k]) ** 2, 0) / ink.length;
  return error + UNUSUAL * style.reduce((sum, value) => sum + value * value, 0);
}
