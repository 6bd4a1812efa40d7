// A pad to write on with pointer, pen or finger.

import { prepare } from "./encoder.js";

const SIDE = 224; // pixels of the drawing, whatever the screen shows
const PEN = 0.085; // width of a stroke, of the side
const LEAST = 0.12; // the longer side of a drawing has to be at least that much of the pad
const PAUSE = 700; // milliseconds without a stroke: the drawing is finished

/** Smooth strokes through the middles between their points, [x, y] from 0 to 1, on a square. */
export function drawStrokes(context, strokes, colour) {
  const side = context.canvas.height;
  Object.assign(context, { strokeStyle: colour, lineWidth: PEN * side });
  Object.assign(context, { lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x * side, y * side]);
    context.beginPath();
    context.moveTo(...points[0]);
    for (let k = 1; k < points.length; k++) {
      const [x, y] = points[k - 1], [nextX, nextY] = points[k];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...points[points.length - 1]);
    context.stroke();
  }
}

export class Pad {
  /** @param drawn  called with the picture [28 * 28] when a drawing is finished */
  constructor(drawn, label) {
    this.canvas = document.createElement("canvas");
    Object.assign(this.canvas, { className: "nca-pad", width: SIDE, height: SIDE });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    Object.assign(this, { drawn, strokes: [], stroke: null, timer: 0 });
    const on = (name, handle) => this.canvas.addEventListener(name, handle);
    on("pointerdown", (event) => this.begin(event));
    on("pointermove", (event) => this.follow(event));
    on("pointerup", () => this.end());
    on("pointercancel", () => this.end());
  }

  /** Where an event is, [x, y] from 0 to 1. */
  place({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    if (this.finished) this.clear();
    clearTimeout(this.timer);
    this.stroke = [this.place(event)];
    this.strokes.push(this.stroke);
    this.draw();
  }

  follow(event) {
    if (!this.stroke) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) this.stroke.push(this.place(part));
    this.draw();
  }

  end() {
    if (!this.stroke) return;
    this.stroke = null;
    this.timer = setTimeout(() => this.finish(), PAUSE);
  }

  clear() {
    clearTimeout(this.timer);
    Object.assign(this, { strokes: [], stroke: null, finished: false });
    this.draw();
  }

  /** Hand the drawing over, prepared; the next stroke begins a new one. */
  finish() {
    clearTimeout(this.timer);
    this.finished = true;
    const picture = this.picture();
    if (picture) this.drawn(picture);
  }

  /** The drawing as MNIST would have it, or null if there is hardly any. */
  picture() {
    const points = this.strokes.flat();
    const length = (k) => {
      const values = points.map((point) => point[k]);
      return Math.max(...values) - Math.min(...values);
    };
    if (!points.length || Math.max(length(0), length(1)) < LEAST) return null;
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = SIDE;
    const context = sheet.getContext("2d", { willReadFrequently: true });
    drawStrokes(context, this.strokes, "#000");
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    const gray = Float32Array.from({ length: SIDE * SIDE }, (_, k) => data[4 * k + 3] / 255);
    return prepare(gray, SIDE, SIDE);
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    drawStrokes(context, this.strokes, getComputedStyle(this.canvas).color);
  }
}
