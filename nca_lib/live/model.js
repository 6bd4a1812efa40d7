// The model: what model.py and conditioning.py compute, in the browser. Names follow the Python.
//
// States are float32 as in PyTorch. Products are summed in float64, JavaScript's own number type:
// float32 would have to be converted at every use.
//
// Shapes: C channels, K kernels, P = K * C perceived numbers, D hidden units, G numbers of a
// condition, S of a style.

import { readFile } from "./file.js";

const TILE = 4; // hidden units that are computed together, for two cells
const KERNELS = { // 3x3, row by row: the cell and its slopes, or each of the nine neighbours
  sobel: [[0, 0, 0, 0, 1, 0, 0, 0, 0], [-1, 0, 1, -2, 0, 2, -1, 0, 1].map((value) => value / 8),
    [-1, -2, -1, 0, 0, 0, 1, 2, 1].map((value) => value / 8)],
  patch: Array.from({ length: 9 }, (_, n) => Array.from({ length: 9 }, (_, k) => +(n === k))),
};
const TASKS = { // training/tasks.py
  grow: { does: "grows pictures", fromSeed: true },
  restore: { does: "restores blurred pictures", fromSeed: false },
  classify: { does: "classifies pictures", fromSeed: false },
};

/** A [rows, columns] matrix as [columns, rows]. */
function transposed(data, rows, columns) {
  return data.map((_, k) => data[(k % rows) * columns + Math.floor(k / rows)]);
}

/** A copy as Float64Array, filled up with zeros to `length`. */
function padded(data, length) {
  const out = new Float64Array(length);
  out.set(data);
  return out;
}

/**
 * A trained model, from the bytes of its file. An Error says why a file can't be used.
 * `classes`: their names, a label is an index; `trainedLabels`: the labels it was trained on;
 * `ink`: number of ink channels; `alive`, `origin`: channels; `size`: [H, W] of its pictures;
 * `steps`: of a rollout in training; `task`: {does, fromSeed}.
 */
export class Model {
  constructor(bytes) {
    const { config, tensors } = readFile(bytes);
    const { channels, classes, frozen, image_channels: ink, size, steps } = config;
    Object.assign(this, { config, tensors, classes, ink, size, steps });
    Object.assign(this, { alive: ink, origin: ink + 1, trainedLabels: config.trained_labels });
    this.task = TASKS[config.task];
    if (!this.task) throw new Error(`task '${config.task}' is none of ${Object.keys(TASKS)}`);
    this.free = Uint8Array.from({ length: channels }, (_, c) => !frozen.includes(c));
    this.prepareLayers();
    this.prepareConditioning();
  }

  /** Kernels and weights as a step wants them, hidden units in whole tiles. */
  prepareLayers() {
    const { channels: C, hidden, label_dim, style_dim, perception } = this.config;
    const own = this.tensors.kernels; // [K, 1, 3, 3], or none
    const kernels = own ? Array.from({ length: own.shape[0] }, (_, k) => (
      [...own.data.subarray(9 * k, 9 * k + 9)])) : KERNELS[perception];
    if (!kernels) throw new Error(`perception '${perception}' is none of ${Object.keys(KERNELS)}`);
    this.taps = kernels.map((kernel) => kernel // [row, column, weight] of each that is not zero
      .map((weight, n) => [Math.floor(n / 3) - 1, (n % 3) - 1, weight]).filter(([, , w]) => w));
    const P = this.perceived = kernels.length * C;
    this.hidden = Math.ceil(hidden / TILE) * TILE; // D
    this.hiddenWeight = padded(this.tensor("hidden.weight", hidden, P), this.hidden * P); // [D, P]
    this.hiddenBias = padded(this.tensor("hidden.bias", hidden), this.hidden); // [D]
    const output = this.tensor("output.weight", C, hidden);
    this.outputWeight = padded(transposed(output, C, hidden), this.hidden * C); // [D, C]
    const G = label_dim + style_dim;
    this.fromCondition = G ? this.tensor("from_condition.weight", hidden, G) : []; // [D, G]
  }

  prepareConditioning() {
    const { label_dim, style_dim: S } = this.config, L = this.classes.length;
    if (!label_dim && !S) return; // nothing to condition on
    this.embeddings = this.tensor("conditioning.labels.weight", L, label_dim);
    this.mean = this.tensor("conditioning.mean", L, S);
    this.scaleTril = this.tensor("conditioning.scale_tril", L, S, S); // lower triangular
    [this.temperature] = this.tensor("conditioning.temperature", 1);
  }

  /** The numbers of a tensor, which has to have this shape. */
  tensor(name, ...shape) {
    const found = this.tensors[name];
    if (!found) throw new Error(`tensor ${name} is missing`);
    if (found.shape.join() !== shape.join()) {
      throw new Error(`tensor ${name} has shape [${found.shape}], its configuration: [${shape}]`);
    }
    return found.data;
  }

  /** The condition, Float32Array [G]: label embedding, then the code of the style [S]. */
  condition(label, style = new Float32Array(this.config.style_dim)) {
    const { label_dim: E, style_dim: S } = this.config, out = new Float32Array(E + S);
    if (!(label in this.classes)) throw new Error(`label ${label}: no class has it`);
    if (style.length !== S) throw new Error(`a style of ${style.length} numbers: give ${S}`);
    for (let e = 0; e < E; e++) out[e] = this.embeddings[label * E + e];
    for (let r = 0; r < S; r++) {
      const row = (label * S + r) * S;
      let code = 0;
      for (let c = 0; c <= r; c++) code += this.scaleTril[row + c] * style[c];
      out[E + r] = this.mean[label * S + r] + this.temperature * code;
    }
    return out;
  }

  /** A code [S] as a style [S]: undoes what `condition` does, by forward substitution. */
  styleOf(code, label) {
    const S = this.config.style_dim, scaled = new Float64Array(S);
    for (let r = 0; r < S; r++) {
      const row = (label * S + r) * S;
      let rest = code[r] - this.mean[label * S + r];
      for (let c = 0; c < r; c++) rest -= this.scaleTril[row + c] * scaled[c];
      scaled[r] = rest / this.scaleTril[row + r];
    }
    return Float32Array.from(scaled, (value) => value / this.temperature);
  }

  /** The hidden layer's bias for a condition, into out [D]. */
  bias(condition, out) {
    const G = condition.length;
    out.set(this.hiddenBias);
    for (let d = 0; d < this.config.hidden; d++) {
      for (let g = 0; g < G; g++) out[d] += this.fromCondition[d * G + g] * condition[g];
    }
  }

  /**
   * What `count` cells perceive: seen [n, P].
   * @param rows   states [cells, C], `wide` cells a row
   * @param cells  indices of the cells
   */
  perceive(rows, wide, cells, count, seen) {
    const C = this.config.channels, K = this.taps.length;
    seen.fill(0, 0, count * K * C);
    this.taps.forEach((taps, k) => taps.forEach(([dy, dx, weight]) => {
      for (let n = 0; n < count; n++) {
        const from = (cells[n] + dy * wide + dx) * C, to = (n * K + k) * C;
        for (let c = 0; c < C; c++) seen[to + c] += weight * rows[from + c];
      }
    }));
  }

  /** The changes of `count` cells: seen [n, P] -> out [n, C]; biases [owners, D]. */
  update(seen, count, biases, owners, hidden, out) {
    const C = this.config.channels, D = this.hidden, P = this.perceived;
    out.fill(0, 0, (count + 1) * C);
    for (let k = 0; k < count; k += 2) { // an odd last cell is paired with one of an earlier step
      const b0 = owners[k] * D, b1 = owners[k + 1] * D;
      hiddenLayer(P, this.hiddenWeight, D, seen, k * P, biases, b0, b1, hidden);
      addOutput(this.outputWeight, C, D, hidden, 0, out, k * C);
      addOutput(this.outputWeight, C, D, hidden, D, out, (k + 1) * C);
    }
  }
}

/**
 * The hidden layer before its ReLU, of two cells: hidden [2, D] from seen [2, P], which starts at
 * `p`. Four units at a time for both cells: six numbers are read for eight products, and all of
 * them fit into the processor's registers. One unit for one cell takes two to three times as long.
 */
function hiddenLayer(P, weights, D, seen, p, biases, b0, b1, hidden) {
  const q = p + P;
  for (let d = 0; d < D; d += TILE) {
    const u0 = d * P, u1 = u0 + P, u2 = u1 + P, u3 = u2 + P;
    let f0 = biases[b0 + d], f1 = biases[b0 + d + 1], f2 = biases[b0 + d + 2];
    let g0 = biases[b1 + d], g1 = biases[b1 + d + 1], g2 = biases[b1 + d + 2];
    let f3 = biases[b0 + d + 3], g3 = biases[b1 + d + 3];
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

/** out[o ...] += output^T relu(hidden[h ...]): most units of a cell are silent, and are skipped. */
function addOutput(weights, C, D, hidden, h, out, o) {
  for (let d = 0; d < D; d++) {
    const value = hidden[h + d];
    if (value > 0) for (let c = 0; c < C; c++) out[o + c] += value * weights[d * C + c];
  }
}
