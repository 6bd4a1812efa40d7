// A pad to write on with pointer, pen, finger or keys.

import { blank, clip } from "./filters.js";
import { intoTheField, withFirmStrokes } from "./prepare.js";
import { MOVES, between, consume, makeCanvas } from "./controls.js";

const SIDE = 224; // pixels of the drawing, whatever the screen shows
const PEN = 0.085; // width of a stroke, of the side
const BROADEST = 0.13; // width of a stroke, of the longer side of a small drawing: MNIST's mean
const LEAST = 0.12; // the longer side of a drawing, of the side of the pad
const PARTS = 4; // straight lines from the middle between two points to the next middle
const REST = 700; // milliseconds without a stroke end a drawing
const COLUMNS = 20; // an arrow key moves the pen by one of so many columns or rows

/** A stroke [x, y]... smoothed: curves through the middles between its points, as points. */
function smooth(stroke) {
  const line = [stroke[0]];
  for (let k = 1; k < stroke.length; k++) {
    const from = line[line.length - 1], by = stroke[k - 1], next = stroke[k];
    for (let part = 1; part <= PARTS; part++) {
      const t = part / PARTS;
      line.push([0, 1].map((i) => (
        (1 - t) ** 2 * from[i] + 2 * t * (1 - t) * by[i] + (t * t * (by[i] + next[i])) / 2)));
    }
  }
  return [...line, stroke[stroke.length - 1]];
}

/** Draw strokes, [x, y] from 0 to 1, on a square. */
export function drawStrokes(context, strokes, colour) {
  const side = context.canvas.height;
  Object.assign(context, { strokeStyle: colour, lineWidth: PEN * side });
  Object.assign(context, { lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    context.beginPath();
    for (const [x, y] of smooth(stroke)) context.lineTo(x * side, y * side);
    context.stroke();
  }
}

/** A round pen of this width, in pixels, from one point to another, over a picture. */
function ink({ height, width, data }, pen, [fromX, fromY], [toX, toY]) {
  const dx = toX - fromX, dy = toY - fromY, square = dx * dx + dy * dy || 1, reach = pen / 2 + 1;
  const from = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - reach));
  const to = (a, b, most) => Math.min(most, Math.max(a, b) + reach);
  for (let y = from(fromY, toY); y < to(fromY, toY, height); y++) {
    for (let x = from(fromX, toX); x < to(fromX, toX, width); x++) {
      const px = x + 0.5 - fromX, py = y + 0.5 - fromY; // the pixel's centre
      const along = clip((px * dx + py * dy) / square);
      const away = Math.hypot(px - along * dx, py - along * dy);
      data[y * width + x] = Math.max(data[y * width + x], clip(pen / 2 + 0.5 - away));
    }
  }
}

/**
 * The ink of strokes, cropped, on `side` pixels; an Error if they are too small to read. The pen is
 * broad for a small drawing: there it is made as thin as in a large one.
 */
function rasterise(strokes, side) {
  const lines = strokes.map(smooth), points = lines.flat();
  const extreme = (most, sign) => [0, 1].map((k) => (
    points.reduce((value, point) => sign * Math.max(sign * value, sign * point[k]), most)));
  const low = extreme(Infinity, -1), long = extreme(-Infinity, 1).map((high, k) => high - low[k]);
  const longer = Math.max(...long), pen = Math.min(PEN, BROADEST * longer);
  if (!(longer >= LEAST)) throw new Error("it is too small to read, please write it larger");
  const scale = side / (longer + pen), place = (at, k) => (at - low[k] + pen / 2) * scale;
  const [width, height] = long.map((part) => Math.ceil((part + pen) * scale - 1e-6));
  const sheet = blank(height, width);
  for (const line of lines) {
    const at = line.map((point) => point.map(place));
    at.forEach((point, k) => ink(sheet, pen * scale, at[Math.max(0, k - 1)], point));
  }
  return sheet;
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
    let picture;
    try {
      picture = this.picture();
    } catch (error) {
      return this.actions.say(`The drawing: ${error.message}.`);
    }
    this.actions.drawn(picture);
  }

  /** The drawing as MNIST would have it; throws an Error if it can't be read. */
  picture() {
    return intoTheField(withFirmStrokes(rasterise(this.strokes, SIDE))[0], this.size);
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
