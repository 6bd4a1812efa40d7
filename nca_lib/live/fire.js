// Which cells update in a step, drawn from a counter: the masks of rollout/fire.py, bit for bit.

const GOLDEN = 0x9e3779b9; // 2**32 / golden ratio

/** Scramble a 32-bit integer: the finaliser of MurmurHash3. */
function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The two 32-bit halves of an RNG seed, a number or BigInt from 0 to 2**63 - 1. */
export function halves(seed) {
  const whole = BigInt(seed);
  return [Number(whole & 0xffffffffn), Number(whole >> 32n)];
}

/** One 32-bit key for a step, from the halves of an RNG seed. */
export function stepKey([low, high], step) {
  return mix(mix(mix(low) + Math.imul(step, GOLDEN)) ^ high);
}

/** Whether a cell fires; its number is y * width + x. */
export function fires(key, cell, fireRate) {
  return mix(key + Math.imul(cell, GOLDEN)) < Math.round(fireRate * 2 ** 32);
}
