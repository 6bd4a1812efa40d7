// A picture from a file, from a drop or from the clipboard, and its pixels.

import { button, make } from "./controls.js";

const MOST_SIDE = 1024; // a picture is reduced until no side has more pixels
const MOST_PIXELS = 89_478_485; // as many as Pillow unpacks
const PROBE = [40, 80, 160, 255];

function sheet(width, height) {
  return make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
}

/** Some browsers falsify what is read back from a canvas, so that nobody is recognised by it. */
function refuseFalsified() {
  const context = sheet(8, 8);
  context.fillStyle = `rgb(${PROBE.slice(0, 3)})`;
  context.fillRect(0, 0, 8, 8);
  const { data } = context.getImageData(0, 0, 8, 8);
  if (data.every((value, k) => Math.abs(value - PROBE[k % 4]) < 9)) return;
  throw new Error("this browser hides its pixels from pages: allow canvas data, or use the pad");
}

/**
 * The pixels of a picture, upright, with no side above `MOST_SIDE`: [ImageData, by how much it was
 * reduced]. Throws an Error of one line. Nothing in a picture is run or loaded.
 */
export async function pixelsOf(file) {
  refuseFalsified();
  const image = new Image(), src = URL.createObjectURL(file);
  try {
    const loaded = await new Promise((done) => {
      Object.assign(image, { onload: () => done(true), onerror: () => done(false), src });
    });
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!loaded || !width || file.type.includes("svg")) {
      throw new Error("it can't be read (damaged, or no picture): save it as PNG or JPG");
    }
    if (width * height > MOST_PIXELS) throw new Error("it has too many pixels: make it smaller");
    const factor = Math.ceil(Math.max(width, height) / MOST_SIDE);
    const size = [width, height].map((side) => Math.ceil(side / factor)), context = sheet(...size);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, ...size);
    return [context.getImageData(0, 0, ...size), factor];
  } finally {
    URL.revokeObjectURL(src);
  }
}

/** A button for a file; a file dropped on `place`, or pasted anywhere, is taken, too. */
export function fileControl(place, signal, take) {
  const some = (event, { files }) => {
    if (!files.length) return;
    event.preventDefault();
    take(files[0]);
  };
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault(); // never leave the page for what was dropped
    some(event, event.dataTransfer);
  });
  document.addEventListener("paste", (event) => { // into an editor it is the editor's
    const { defaultPrevented, target, clipboardData } = event;
    if (!defaultPrevented && !target.isContentEditable) some(event, clipboardData);
  }, { signal });
  const input = make("input", { type: "file", accept: "image/*", hidden: true });
  input.addEventListener("change", (event) => { some(event, input); input.value = ""; });
  const choose = button("or use a picture", "A picture or photograph of one digit, as a file; or " +
    "drop it on the pad, or paste it", () => input.click());
  return make("div", { className: "nca-line nca-file" }, input, choose);
}
