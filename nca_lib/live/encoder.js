// From a picture to its style, as StyleEncoder and Genome.style_of in genome.py do, and from
// somebody's drawing to such a picture.

const BOX = 20; // MNIST's digits fit into 20 x 20 cells of the 28 x 28

/**
 * A 3x3 convolution with stride 2 and a border of zeros, then a ReLU.
 * @param x       {data: Float32Array [I, H, W], shape: [I, H, W]}
 * @param weight  Float32Array [O, I, 3, 3]
 * @param bias    Float32Array [O]
 * @returns       {data, shape: [O, H / 2, W / 2]}, halves rounded up
 */
function convolve({ data, shape: [I, H, W] }, weight, bias) {
  const O = bias.length, h = Math.ceil(H / 2), w = Math.ceil(W / 2);
  const out = new Float32Array(O * h * w);
  for (let o = 0, k = 0; o < O; o++) {
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++, k++) {
        let sum = bias[o];
        for (let i = 0; i < I; i++) {
          for (let dy = 0; dy < 3; dy++) {
            const row = 2 * y + dy - 1;
            if (row < 0 || row >= H) continue;
            for (let dx = 0; dx < 3; dx++) {
              const column = 2 * x + dx - 1;
              if (column < 0 || column >= W) continue;
              sum += weight[((o * I + i) * 3 + dy) * 3 + dx] * data[(i * H + row) * W + column];
            }
          }
        }
        out[k] = Math.max(0, sum);
      }
    }
  }
  return { data: out, shape: [O, h, w] };
}

/** The mean code of a picture, Float32Array [S]; picture: Float32Array [ink, H, W] in [0, 1]. */
export function encode(rule, picture, label) {
  const size = rule.config.style_dim, [H, W] = rule.size;
  if (!size) throw new Error("this rule knows no styles");
  if (picture.length !== rule.ink * H * W) {
    throw new Error(`a picture has ${rule.ink} x ${H} x ${W} numbers, this one ${picture.length}`);
  }
  let x = { data: picture, shape: [rule.ink, H, W] };
  for (const name of ["encoder.conv1", "encoder.conv2", "encoder.conv3"]) {
    const bias = rule.tensors[`${name}.bias`];
    const weight = rule.tensor(`${name}.weight`, bias.shape[0], x.shape[0], 3, 3);
    x = convolve(x, weight, bias.data);
  }
  const flat = x.data, n = flat.length;
  const weight = rule.tensor("encoder.code.weight", 2 * size, n);
  const bias = rule.tensor("encoder.code.bias", 2 * size);
  const table = rule.tensor("encoder.label.weight", rule.classes.length, 2 * size);
  const code = new Float32Array(size); // the other half is its log variance
  for (let r = 0; r < size; r++) {
    let sum = bias[r] + table[label * 2 * size + r];
    for (let k = 0; k < n; k++) sum += weight[r * n + k] * flat[k];
    code[r] = sum;
  }
  return code;
}

/** The style of a picture, Float32Array [S]: its code, measured among the codes of its label. */
export function inferStyle(rule, picture, label) {
  return rule.styleOf(encode(rule, picture, label), label);
}

/** The smallest box that holds all ink, {top, bottom, left, right}; null for an empty drawing. */
function boxOfInk(gray, width, height, least) {
  let top = height, bottom = 0, left = width, right = 0;
  for (let y = 0, k = 0; y < height; y++) {
    for (let x = 0; x < width; x++, k++) {
      if (gray[k] < least) continue;
      top = Math.min(top, y), bottom = y + 1;
      left = Math.min(left, x), right = Math.max(right, x + 1);
    }
  }
  return bottom ? { top, bottom, left, right } : null;
}

/** Which source pixels fall into each target pixel, a list of [index, share] for each target. */
function shares(from, to, count) {
  const step = (to - from) / count;
  return Array.from({ length: count }, (_, k) => {
    const start = from + k * step, end = start + step, list = [];
    for (let i = Math.floor(start); i < end; i++) {
      list.push([i, (Math.min(end, i + 1) - Math.max(start, i)) / step]);
    }
    return list.filter(([i, share]) => share > 1e-9 && i < to);
  });
}

/** The box of a picture, made to h x w pixels by averaging areas: Float32Array [h * w]. */
function resize(gray, width, { top, bottom, left, right }, h, w) {
  const rows = shares(top, bottom, h), columns = shares(left, right, w);
  const out = new Float32Array(h * w);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      let sum = 0;
      for (const [i, a] of rows[y]) {
        for (const [j, b] of columns[x]) sum += a * b * gray[i * width + j];
      }
      out[y * w + x] = sum;
    }
  }
  return out;
}

/** The centre of mass of a picture [h * w], [y, x], as places between 0 and h or w. */
function centreOfMass(picture, w) {
  let total = 0, y = 0, x = 0;
  picture.forEach((value, k) => {
    total += value, y += value * (Math.floor(k / w) + 0.5), x += value * ((k % w) + 0.5);
  });
  return [y / total, x / total];
}

/**
 * A drawing, prepared as MNIST's digits were (LeCun et al., 1998): fitted into a box of 20 x 20,
 * its proportions kept, edges grey; its centre of mass in the middle cell, (14, 14) of 28 x 28.
 * @param gray  light ink on dark in [0, 1], [height * width]
 * @returns     Float32Array [size * size], or null if nothing is drawn
 */
export function prepare(gray, width, height, size = 28) {
  const strongest = gray.reduce((a, b) => Math.max(a, b), 0);
  const box = strongest > 0.05 ? boxOfInk(gray, width, height, strongest / 10) : null;
  if (!box) return null;
  const tall = box.bottom - box.top, broad = box.right - box.left;
  const room = Math.round((BOX * size) / 28), scale = room / Math.max(tall, broad);
  const h = Math.max(1, Math.round(tall * scale)), w = Math.max(1, Math.round(broad * scale));
  const small = resize(gray, width, box, h, w), [y, x] = centreOfMass(small, w);
  const middle = (size + 1) / 2; // of the cell (14, 14)
  const inside = (at, length) => Math.min(size - length, Math.max(0, Math.round(middle - at)));
  const top = inside(y, h), left = inside(x, w), picture = new Float32Array(size * size);
  small.forEach((value, k) => {
    picture[(top + Math.floor(k / w)) * size + left + (k % w)] = Math.min(1, value / strongest);
  });
  return picture;
}
