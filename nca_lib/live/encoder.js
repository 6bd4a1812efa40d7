// From a picture to its style, as StyleEncoder and Conditioning.style_of in conditioning.py.

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
  const at = (i, y, x) => (y < 0 || y >= H || x < 0 || x >= W ? 0 : data[(i * H + y) * W + x]);
  for (let k = 0; k < out.length; k++) {
    const o = Math.floor(k / (h * w)), y = 2 * (Math.floor(k / w) % h) - 1, x = 2 * (k % w) - 1;
    let sum = bias[o];
    for (let j = 0; j < 9 * I; j++) { // i, then row and column in the 3x3
      const i = Math.floor(j / 9), row = Math.floor((j % 9) / 3), column = j % 3;
      sum += weight[o * 9 * I + j] * at(i, y + row, x + column);
    }
    out[k] = Math.max(0, sum);
  }
  return { data: out, shape: [O, h, w] };
}

/** The mean code of a picture, Float32Array [S]; picture: Float32Array [ink, H, W] in [0, 1]. */
export function encode(model, picture, label) {
  const size = model.config.style_dim;
  let x = { data: picture, shape: [model.ink, ...model.size] };
  for (const name of ["encoder.conv1", "encoder.conv2", "encoder.conv3"]) {
    const bias = model.tensors[`${name}.bias`];
    const weight = model.tensor(`${name}.weight`, bias.shape[0], x.shape[0], 3, 3);
    x = convolve(x, weight, bias.data);
  }
  const n = x.data.length, rows = 2 * size; // half of the rows give the mean, half its variance
  const weight = model.tensor("encoder.code.weight", rows, n);
  const bias = model.tensor("encoder.code.bias", rows);
  const ofLabel = model.tensor("encoder.label.weight", model.classes.length, rows);
  return Float32Array.from({ length: size }, (_, r) => {
    let sum = bias[r] + ofLabel[label * rows + r];
    for (let k = 0; k < n; k++) sum += weight[r * n + k] * x.data[k];
    return sum;
  });
}

/** The style of a picture, Float32Array [S]. */
export function inferStyle(model, picture, label) {
  return model.styleOf(encode(model, picture, label), label);
}
