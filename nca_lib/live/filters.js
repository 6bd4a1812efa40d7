// What NumPy, SciPy and Pillow do for nca_lib/data/handwriting.py. A picture is {height, width,
// data}, row by row; a mask is a picture of 0 and 1.

export const clip = (value) => Math.min(1, Math.max(0, value));

/** Plain loops where all pixels pass through: they are many times as quick as `reduce`. */
export function sum(values) {
  let total = 0;
  for (let k = 0; k < values.length; k++) total += values[k];
  return total;
}

export const highest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
export const lowest = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);

export const MAX = 1, MIN = -1; // what a filter takes

export const blank = (height, width) => ({ height, width, data: new Float32Array(height * width) });

/** A function of values, and of their places, gives a picture of the same size. */
export const map = (picture, make) => ({ ...picture, data: picture.data.map(make) });

/** The values where a mask isn't 0. */
export const within = ({ data }, mask) => data.filter((_, k) => mask.data[k]);

/** The value below which a share of all values lies, between two of them in proportion. */
export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort(), at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)], high = sorted[Math.ceil(at)];
  return low + (at % 1) * (high - low);
}

/** Mean and standard deviation. */
export function spread(values) {
  const mean = sum(values) / values.length;
  return [mean, Math.sqrt(values.reduce((all, v) => all + (v - mean) ** 2, 0) / values.length)];
}

/** The part [top, left, bottom, right] of a picture; beyond it all is `value`, or the edge. */
export function crop({ height, width, data }, [top, left, bottom, right], value) {
  const part = blank(bottom - top, right - left), at = (k, most) => Math.min(most, Math.max(0, k));
  return map(part, (_, k) => {
    const y = top + Math.floor(k / part.width), x = left + (k % part.width);
    const inside = value === undefined || (y >= 0 && y < height && x >= 0 && x < width);
    return inside ? data[at(y, height - 1) * width + at(x, width - 1)] : value;
  });
}

/** With so many pixels more on each side, fewer if negative. */
export function pad(picture, by, value) {
  return crop(picture, [-by, -by, picture.height + by, picture.width + by], value);
}

export function turned({ height, width, data }) {
  const out = blank(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) out.data[x * height + y] = data[y * width + x];
  }
  return out;
}

/** Averaged over squares of so many pixels a side. */
export function reduce(picture, factor) {
  const { height, width, data } = picture;
  const out = blank(Math.ceil(height / factor), Math.ceil(width / factor));
  const count = blank(out.height, out.width);
  data.forEach((value, k) => {
    const y = Math.floor(Math.floor(k / width) / factor), x = Math.floor((k % width) / factor);
    out.data[y * out.width + x] += value, count.data[y * out.width + x]++;
  });
  return map(out, (value, k) => value / count.data[k]);
}

/** Rows scaled to a width, by a triangle at least as wide as a pixel; the result is turned. */
function scaledRows({ height, width, data }, wanted) {
  const step = width / wanted, wide = Math.max(1, step), out = blank(wanted, height);
  for (let i = 0; i < wanted; i++) {
    const middle = (i + 0.5) * step, first = Math.max(0, Math.floor(middle - wide + 0.5));
    const last = Math.min(width, Math.floor(middle + wide + 0.5));
    const weights = Array.from({ length: last - first }, (_, k) => (
      Math.max(0, 1 - Math.abs(first + k + 0.5 - middle) / wide)));
    const total = sum(weights);
    for (let y = 0; y < height; y++) {
      let all = 0;
      for (let k = 0; k < weights.length; k++) all += weights[k] * data[y * width + first + k];
      out.data[i * height + y] = all / total;
    }
  }
  return out;
}

/** Scaled to [height, width], as Pillow does. */
export function scaled(picture, [height, width]) {
  return scaledRows(scaledRows(picture, width), height);
}

/** The maximum in a window along each row, or the minimum if `sign` is -1; edges continue. */
function filteredRows({ height, width, data }, window, sign) {
  const out = blank(height, width), reach = window >> 1, row = new Float32Array(width + 2 * reach);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < row.length; x++) {
      row[x] = sign * data[y * width + Math.min(width - 1, Math.max(0, x - reach))];
    }
    let span = 1; // pixels that each value stands for
    for (; 2 * span <= window; span *= 2) {
      for (let x = 0; x + span < row.length; x++) row[x] = Math.max(row[x], row[x + span]);
    }
    for (let x = 0; x < width; x++) {
      out.data[y * width + x] = sign * Math.max(row[x], row[x + window - span]);
    }
  }
  return out;
}

/** The maximum or minimum in a square window, or in one along an axis: 0 is down, 1 across. */
export function filtered(picture, window, sign, axis) {
  const rows = axis === 0 ? picture : filteredRows(picture, window, sign);
  return axis === 1 ? rows : turned(filteredRows(turned(rows), window, sign));
}

function averagedRows({ height, width, data }, window) {
  const out = blank(height, width), reach = window >> 1;
  const at = (y, x) => data[y * width + Math.min(width - 1, Math.max(0, x))];
  for (let y = 0; y < height; y++) {
    let total = 0;
    for (let x = -reach; x <= reach; x++) total += at(y, x);
    for (let x = 0; x < width; x++) {
      out.data[y * width + x] = total / window;
      total += at(y, x + reach + 1) - at(y, x - reach);
    }
  }
  return out;
}

/** The mean of a square window around each pixel; edges continue. */
export function averaged(picture, window) {
  return turned(averagedRows(turned(averagedRows(picture, window)), window));
}

/** The median of the 3 x 3 pixels around each; edges continue. */
export function medians(picture) {
  const { height, width } = picture, wide = pad(picture, 1);
  const shifted = [0, 1, 2].flatMap((y) => [0, 1, 2].map((x) => (
    crop(wide, [y, x, y + height, x + width]).data)));
  return map(picture, (_, k) => quantile(shifted.map((data) => data[k]), 0.5));
}

/** Pieces of a mask, numbered from 1 as one meets them, and how many; `corners`: corners join. */
export function label(mask, corners) {
  const { height, width, data } = mask, out = blank(height, width);
  let count = 0;
  const visit = (from) => {
    const todo = [from];
    out.data[from] = count;
    for (let at; (at = todo.pop()) !== undefined;) {
      for (let k = 0; k < 9; k++) {
        const dy = Math.floor(k / 3) - 1, dx = (k % 3) - 1, x = (at % width) + dx;
        const next = at + dy * width + dx;
        const joined = (corners || !dy || !dx) && x >= 0 && x < width;
        if (!joined || !data[next] || out.data[next]) continue;
        out.data[next] = count;
        todo.push(next);
      }
    }
  };
  data.forEach((value, k) => { if (value && !out.data[k]) count++, visit(k); });
  return [out, count];
}

/** The smallest box [top, left, bottom, right] around all that isn't 0, so much wider. */
export function boxAround({ height, width, data }, more = 0) {
  const box = [height, width, 0, 0];
  data.forEach((value, k) => {
    if (!value) return;
    const y = Math.floor(k / width), x = k % width;
    box[0] = Math.min(box[0], y), box[1] = Math.min(box[1], x);
    box[2] = Math.max(box[2], y + 1), box[3] = Math.max(box[3], x + 1);
  });
  const [top, left, bottom, right] = box;
  return [Math.max(0, top - more), Math.max(0, left - more), Math.min(height, bottom + more),
    Math.min(width, right + more)];
}

/** Where a mask isn't 0: the distance to the nearest 0; those above `most` are `most`. */
export function distances({ height, width, data }, most = height + width) {
  const down = Float32Array.from(data, (value) => (value ? most : 0)), out = blank(height, width);
  for (let k = width; k < down.length; k++) down[k] = Math.min(down[k], down[k - width] + 1);
  for (let k = down.length - 1 - width; k >= 0; k--) {
    down[k] = Math.min(down[k], down[k + width] + 1);
  }
  for (let k = 0; k < down.length; k++) {
    const x = k % width;
    let best = down[k] ** 2;
    for (let far = 1; far * far < best; far++) {
      if (far <= x) best = Math.min(best, far * far + down[k - far] ** 2);
      if (x + far < width) best = Math.min(best, far * far + down[k + far] ** 2);
    }
    out.data[k] = Math.sqrt(best);
  }
  return out;
}
