// A drawing, prepared as MNIST's digits were (LeCun et al., 1998).

const BOX = 20; // MNIST's digits fit into 20 x 20 of the 28 x 28 cells

/** The smallest box around all ink, {top, bottom, left, right}; null for an empty drawing. */
function boxOfInk(gray, width, least) {
  const box = { top: Infinity, bottom: 0, left: width, right: 0 };
  gray.forEach((value, k) => {
    if (value < least) return;
    const y = Math.floor(k / width), x = k % width;
    box.top = Math.min(box.top, y), box.bottom = y + 1;
    box.left = Math.min(box.left, x), box.right = Math.max(box.right, x + 1);
  });
  return box.bottom ? box : null;
}

/** The box of a picture, made h x w pixels by averaging areas: Float32Array [h * w]. */
function resize(gray, width, { top, bottom, left, right }, h, w) {
  const dy = (bottom - top) / h, dx = (right - left) / w, least = 1e-9; // of what rounding leaves
  const overlap = (i, from, length) => Math.min(i + 1, from + length) - Math.max(i, from);
  return Float32Array.from({ length: h * w }, (_, k) => {
    const y = top + Math.floor(k / w) * dy, x = left + (k % w) * dx;
    let sum = 0;
    for (let i = Math.floor(y); i < y + dy - least; i++) {
      for (let j = Math.floor(x); j < x + dx - least; j++) {
        sum += overlap(i, y, dy) * overlap(j, x, dx) * gray[i * width + j];
      }
    }
    return sum / (dy * dx);
  });
}

/** The centre of mass of a picture [h * w], [y, x], from 0 to h or w. */
function centreOfMass(picture, w) {
  let total = 0, y = 0, x = 0;
  picture.forEach((value, k) => {
    total += value, y += value * (Math.floor(k / w) + 0.5), x += value * ((k % w) + 0.5);
  });
  return [y / total, x / total];
}

/**
 * Fit a drawing into a box of 20 x 20, keeping its proportions, with grey edges; its centre of mass
 * falls into the middle cell, (14, 14) of 28 x 28; in proportion for pictures of another size.
 * @param gray  light ink on dark in [0, 1], [height * width]
 * @returns     Float32Array [size * size], or null if nothing is drawn
 */
export function prepare(gray, width, size) {
  const strongest = gray.reduce((a, b) => Math.max(a, b), 0);
  const box = strongest > 0.05 ? boxOfInk(gray, width, strongest / 10) : null;
  if (!box) return null;
  const tall = box.bottom - box.top, broad = box.right - box.left;
  const scale = Math.round((BOX * size) / 28) / Math.max(tall, broad);
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
