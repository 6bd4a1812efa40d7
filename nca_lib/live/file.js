// Reads a model's .safetensors file, as checkpoint.py does: 8 bytes of length, a JSON header, then
// the raw numbers.

const KIND = "nca_lib model";
const VERSION = "3";
const READERS = { // type of a tensor: bytes of a number, and how to read the k-th one
  F32: [4, (view, k) => view.getFloat32(4 * k, true)],
  F16: [2, (view, k) => half(view.getUint16(2 * k, true))],
};

/** The number that 16 bits encode: a sign, 5 bits of exponent, 10 of fraction. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The header of a file and the bytes behind it. */
function readHeader(buffer) {
  try {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const text = new TextDecoder().decode(new Uint8Array(buffer, 8, length));
    return [JSON.parse(text), buffer.slice(8 + length)];
  } catch (error) {
    throw new Error(`the file is damaged or no safetensors file (${error.message})`);
  }
}

/** One tensor, {shape, data: Float32Array}, from its entry in the header. */
function readTensor(name, { dtype, shape, data_offsets: [from, to] }, numbers) {
  if (!(dtype in READERS)) throw new Error(`tensor ${name} is ${dtype}: F32 and F16 can be read`);
  const [size, read] = READERS[dtype], length = shape.reduce((a, b) => a * b, 1);
  if (!(from >= 0) || to - from !== length * size || to > numbers.byteLength) {
    throw new Error(`the file is damaged: tensor ${name} does not lie inside it`);
  }
  const view = new DataView(numbers, from, to - from);
  const data = Float32Array.from({ length }, (_, k) => read(view, k));
  if (!data.every(Number.isFinite)) throw new Error(`tensor ${name} holds NaN or infinity`);
  return { shape, data };
}

/** A file's configuration and its tensors by name. `bytes`: a Uint8Array or DataView. */
export function readFile(bytes) {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const [{ __metadata__: header = {}, ...entries }, numbers] = readHeader(buffer);
  if (header.kind !== KIND) {
    throw new Error(`the file holds '${header.kind ?? "something else"}': give an '${KIND}'`);
  }
  if (header.version !== VERSION) {
    throw new Error(`the file has version ${header.version}: this page reads version ${VERSION}`);
  }
  const config = JSON.parse(header.config ?? "null");
  if (!config) throw new Error("the file has no configuration");
  if (config.class) throw new Error(`the file holds a ${config.class}: this page runs only NCA`);
  const tensors = {};
  for (const name in entries) tensors[name] = readTensor(name, entries[name], numbers);
  return { config, tensors };
}
