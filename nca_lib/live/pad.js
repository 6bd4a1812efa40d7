// A pad to write on with pointer, pen, finger or keys.

import { prepare } from "./prepare.js";
import { MOVES, between, consume, make, makeCanvas } from "./controls.js";

const SIDE = 224; // pixels of the drawing, whatever the screen shows
const PEN = 0.085; // width of a stroke, of the side
const LEAST = 0.12; // the longer side of a drawing, of the side of the pad
const REST = 700; // milliseconds without a stroke end a drawing
const COLUMNS = 20; // an arrow key moves the pen by one of so many columns or rows

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
  /**
   * `strokes`: the drawing, points [x, y] of each; `stroke`: the one that is being drawn.
   * @param size     of the picture that is made of a drawing, in cells a side
   * @param actions  {drawn(picture [size * size]), say(text)}, called back
   */
  constructor(size, actions, label) {
    Object.assign(this, { size, actions, strokes: [], stroke: null, timer: 0, finished: false });
    Object.assign(this, { pen: [0.5, 0.5], keyed: false, pressed: new Set() });
    const look = { className: "nca-pad", width: SIDE, height: SIDE, "aria-label": label };
    this.canvas = makeCanvas(look, {
      pointerdown: (event) => this.begin(event), pointermove: (event) => this.follow(event),
      pointerup: () => this.end(), pointercancel: () => this.end(),
      keydown: (event) => this.key(event), keyup: (event) => this.pressed.delete(event.key),
      focus: () => this.showPen(this.canvas.matches(":focus-visible")),
      blur: () => { this.stroke = null; this.showPen(false); },
    });
  }

  /** Where an event is, [x, y] from 0 to 1. */
  locate({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  }

  begin(event) {
    const point = this.locate(event);
    const outside = point.some((value) => value < 0 || value > 1); // a broad finger's middle
    if (event.button || !event.isPrimary || outside) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.keyed = false;
    this.lower(point);
  }

  /** A stroke begins, of a new drawing if the last was finished. */
  lower(point) {
    if (this.finished) this.clear();
    clearTimeout(this.timer);
    this.stroke = [point];
    this.strokes.push(this.stroke);
    this.draw();
  }

  follow(event) {
    if (!this.stroke || this.keyed || !event.isPrimary) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) this.stroke.push(this.locate(part));
    this.draw();
  }

  end() {
    if (!this.stroke || this.keyed) return;
    this.stroke = null;
    this.timer = setTimeout(() => this.finish(), REST);
  }

  clear() {
    clearTimeout(this.timer);
    Object.assign(this, { strokes: [], stroke: null, finished: false });
    this.draw();
  }

  showPen(shown) {
    this.keyed = shown;
    this.pressed.clear();
    this.draw();
  }

  /** Arrow keys move the pen, the space bar lowers and raises it, Enter finishes, Escape clears. */
  key(event) {
    const { key } = event;
    if (!(key in MOVES) && ![" ", "Enter", "Escape"].includes(key)) return;
    consume(event);
    this.keyed = true;
    if (key in MOVES) return this.move(key);
    if (event.repeat) return;
    if (key === " ") this.lowerOrRaise();
    else if (key === "Enter") this.finish();
    else this.clear();
  }

  /** Two arrow keys pressed together move the pen diagonally. */
  move(key) {
    this.pressed.add(key);
    const by = (k) => [...this.pressed].reduce((sum, each) => sum + MOVES[each][k], 0) / COLUMNS;
    const [x, y] = this.pen;
    this.pen = [between(x + by(1), 0, 1), between(y + by(0), 0, 1)];
    this.stroke?.push(this.pen);
    this.draw();
    const [column, row] = this.pen.map((at) => Math.round(at * COLUMNS));
    this.actions.say(`Pen ${this.stroke ? "down" : "up"}: column ${column}, row ${row}.`);
  }

  lowerOrRaise() {
    if (this.stroke) this.stroke = null;
    else this.lower(this.pen);
    this.draw();
    this.actions.say(this.stroke ? "Pen down." : "Pen up. Enter ends the drawing.");
  }

  /** Pass the drawing on, prepared; the next stroke begins a new one. */
  finish() {
    clearTimeout(this.timer);
    Object.assign(this, { finished: true, stroke: null });
    const picture = this.picture();
    if (picture) this.actions.drawn(picture);
    else this.actions.say("That is too small to read: please write it larger.");
  }

  /** The drawing as MNIST would have it, or null if it is too small. */
  picture() {
    const points = this.strokes.flat();
    const length = (k) => {
      const values = points.map((point) => point[k]);
      return Math.max(...values) - Math.min(...values);
    };
    if (!points.length || Math.max(length(0), length(1)) < LEAST) return null;
    const sheet = make("canvas", { width: SIDE, height: SIDE });
    const context = sheet.getContext("2d", { willReadFrequently: true });
    drawStrokes(context, this.strokes, "#000");
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    const gray = Float32Array.from({ length: SIDE * SIDE }, (_, k) => data[4 * k + 3] / 255);
    return prepare(gray, SIDE, this.size);
  }

  draw() {
    const context = this.canvas.getContext("2d"), style = getComputedStyle(this.canvas);
    context.clearRect(0, 0, SIDE, SIDE);
    if (!this.strokes.length && !this.keyed) this.invite(context, style);
    drawStrokes(context, this.strokes, style.color);
    if (this.keyed) this.drawPen(context, style);
  }

  /** An empty pad says what it is for. */
  invite(context, style) {
    const size = 0.11 * SIDE, font = `${size}px ${style.fontFamily}`;
    const fillStyle = style.getPropertyValue("--nca-quiet");
    Object.assign(context, { font, fillStyle, textAlign: "center" });
    context.fillText("write", SIDE / 2, SIDE / 2 - 0.2 * size);
    context.fillText("a digit here", SIDE / 2, SIDE / 2 + size);
  }

  /** A ring where the pen is, filled while it is down. */
  drawPen(context, style) {
    const colour = style.getPropertyValue("--nca-orange"), [x, y] = this.pen;
    Object.assign(context, { fillStyle: colour, strokeStyle: colour, lineWidth: 4 });
    context.beginPath();
    context.arc(x * SIDE, y * SIDE, (PEN * SIDE) / 2 + 2, 0, 7);
    if (this.stroke) context.fill();
    context.stroke();
  }
}
