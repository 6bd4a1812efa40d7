// From styles to codes and back: the normalising flow of flow.py, which Python has fitted. To be
// read beside it; names and order are the same. Numbers are float64 on the way.
//
// Shapes: K couplings, S numbers in a style, L labels, D hidden units.

const STRETCH = 1.5; // a coupling scales by exp(-1.5) to exp(1.5)

/** Bends the styles of a rule; its tensors are the rule's, their shapes say K and D. */
export class Flow {
  constructor(rule) {
    const S = rule.config.style_dim, L = rule.classes.length, half = S >> 1, moved = S - half;
    const [K, D] = rule.tensors["genome.flow.bias"]?.shape ?? [];
    Object.assign(this, { S, L, K, D, half, moved }); // half: how many stay, the others move
    this.bias = rule.tensor("genome.flow.bias", K, D);
    this.orders = rule.tensor("genome.flow.orders", K, S); // first those that stay
    this.first = rule.tensor("genome.flow.first", K, D, half + L);
    this.last = rule.tensor("genome.flow.last", K, 2 * moved, D);
    this.offset = rule.tensor("genome.flow.offset", K, 2 * moved);
    const width = rule.tensors["genome.flow.width"]; // older rules have none
    this.width = width ? width.data[0] : 1; // of what styles reach, in the fitted density
    for (let k = 0; k < K; k++) {
      const sorted = this.orders.slice(k * S, (k + 1) * S).sort();
      if (sorted.some((value, i) => value !== i)) {
        throw new Error("tensor genome.flow.orders holds no orders of a style's numbers");
      }
    }
  }

  /** Which numbers move, and the logarithm of their scale and their shift, [moved] each. */
  coupling(k, x, label) {
    const { S, L, D, half, moved } = this, hidden = new Float64Array(D);
    const order = this.orders.subarray(k * S, (k + 1) * S), width = half + L;
    for (let d = 0; d < D; d++) {
      const row = (k * D + d) * width;
      let sum = this.first[row + half + label] + this.bias[k * D + d];
      for (let c = 0; c < half; c++) sum += this.first[row + c] * x[order[c]];
      hidden[d] = Math.max(0, sum);
    }
    const out = Float64Array.from({ length: 2 * moved }, (_, r) => {
      const row = k * 2 * moved + r;
      return hidden.reduce((sum, h, d) => sum + this.last[row * D + d] * h, this.offset[row]);
    });
    const scale = out.subarray(0, moved).map((v) => STRETCH * Math.tanh(v / STRETCH));
    return { move: order.subarray(half), scale, shift: out.subarray(moved) };
  }

  /** A style [S] -> Float64Array [S]. */
  forward(style, label) {
    const x = Float64Array.from(style, (value) => value * this.width);
    for (let k = 0; k < this.K; k++) {
      const { move, scale, shift } = this.coupling(k, x, label);
      move.forEach((i, m) => { x[i] = x[i] * Math.exp(scale[m]) + shift[m]; });
    }
    return x;
  }

  /** Undo `forward`: the style, Float64Array [S]. */
  inverse(bent, label) {
    const x = Float64Array.from(bent);
    for (let k = this.K - 1; k >= 0; k--) {
      const { move, scale, shift } = this.coupling(k, x, label);
      move.forEach((i, m) => { x[i] = (x[i] - shift[m]) * Math.exp(-scale[m]); });
    }
    return x.map((value) => value / this.width);
  }
}
