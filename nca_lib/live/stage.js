// The canvas: it draws a world, and turns pointer and keys into wounds and seeds.

import { MOVES, between, keepTouches } from "./controls.js";
import { drawStrokes } from "./pad.js";

export const VIEWS = {
  ink: "What you see: the ink, on living tissue",
  life: "Life: tissue that may carry ink",
  anchor: "Anchor: a mark where the growth began",
  hidden: "What cells tell each other: the mean of all hidden channels",
};
const WALL = 0.25; // how much of the grey shows where no cell lives
const TISSUE = 0.2; // how much of its colour shows under the ink
const HOLD = 300; // milliseconds: a longer press is a wound, a shorter one a tap
const SLACK = 5; // screen pixels that a tap may move

/** '#rrggbb' as [r, g, b]. */
function rgb(text) {
  return [1, 3, 5].map((k) => parseInt(text.trim().slice(k, k + 2), 16));
}

/** The colours of a canvas, out of the custom properties of its style sheet. */
export function coloursOf(element) {
  const style = getComputedStyle(element);
  const names = ["paper", "ink", "blue", "grey", "orange"];
  return Object.fromEntries(names.map((n) => [n, rgb(style.getPropertyValue(`--nca-${n}`))]));
}

/** Put `share` of a colour over what is in a pixel. */
function cover(pixels, at, colour, share) {
  for (let k = 0; k < 3; k++) pixels[at + k] += share * (colour[k] - pixels[at + k]);
}

/** Coloured ink, premultiplied by its opacity if there is a fourth channel, over a pixel. */
function coverWithColours(pixels, at, planes, cell) {
  const opacity = planes.length > 3 ? planes[3][cell] : Math.max(...planes.map((p) => p[cell]));
  for (let k = 0; k < 3; k++) {
    pixels[at + k] = pixels[at + k] * (1 - opacity) + 255 * (planes[k] ?? planes[0])[cell];
  }
}

/** Draw a world into an ImageData of its size. */
export function paint(world, view, colours, image) {
  const { grid, rule, chosen, height, width } = world, pixels = image.data;
  const values = grid.picture(view), life = grid.picture("life");
  const inks = rule.ink > 1 ? Array.from({ length: rule.ink }, (_, c) => grid.channel(c)) : null;
  const over = { ink: colours.ink, life: colours.blue, anchor: colours.orange }[view];
  for (let y = 0, k = 0; y < height; y++) {
    for (let x = 0; x < width; x++, k++) {
      const at = 4 * k, mine = grid.owner[grid.at(y, x)] === chosen;
      pixels.set(colours.paper, at);
      if (grid.walls?.[grid.at(y, x)]) cover(pixels, at, colours.grey, WALL);
      pixels[at + 3] = 255;
      if (view === "ink") cover(pixels, at, mine ? colours.blue : colours.grey, TISSUE * life[k]);
      if (view === "ink" && inks) coverWithColours(pixels, at, inks, k);
      else cover(pixels, at, over ?? colours.ink, values[k]);
    }
  }
}

export class Stage {
  /**
   * @param world     what is drawn
   * @param actions   {erase(y, x, radius), tap(y, x), moved(y, x), busy()}, called back
   */
  constructor(world, actions) {
    Object.assign(this, { world, actions, view: "ink", radius: 2.5, ring: null, pressed: null });
    this.strokes = null; // handwriting over the world, as on a pad
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("data-lm-suppress-shortcuts", "true"); // as `make` does
    this.canvas.className = "nca-stage";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application"); // keys are for the canvas, not for the reader
    this.small = document.createElement("canvas"); // a pixel a cell
    this.listen();
    this.fit();
  }

  /** As many screen pixels as there is room for, a whole number of them a cell. */
  fit() {
    const { height, width } = this.world, { canvas, small } = this;
    const room = (canvas.clientWidth || 300) * (window.devicePixelRatio || 1);
    this.scale = Math.max(1, Math.round(room / width));
    canvas.width = width * this.scale, canvas.height = height * this.scale;
    canvas.style.aspectRatio = `${width} / ${height}`;
    small.width = width, small.height = height;
    this.image = new ImageData(width, height);
    this.at ??= [height >> 1, width >> 1]; // of the ring, when keys move it
    this.at = [between(this.at[0], 0, height - 1), between(this.at[1], 0, width - 1)];
    this.colours = this.canvas.isConnected ? coloursOf(canvas) : null;
  }

  draw() {
    this.colours ??= coloursOf(this.canvas);
    const context = this.canvas.getContext("2d"), { canvas, small } = this;
    paint(this.world, this.view, this.colours, this.image);
    small.getContext("2d").putImageData(this.image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (this.strokes) drawStrokes(context, this.strokes, `rgb(${this.colours.orange})`);
    if (this.ring) this.drawRing(context);
  }

  drawRing(context) {
    const [y, x] = this.ring, unit = canvasUnit(this.canvas);
    context.strokeStyle = `rgb(${this.colours.orange})`;
    context.lineWidth = 2 * unit;
    context.beginPath();
    context.arc((x + 0.5) * this.scale, (y + 0.5) * this.scale, this.radius * this.scale, 0, 7);
    context.stroke();
  }

  /** Where an event is, [y, x] in cells; whole numbers are the middles of cells. */
  place({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect(), { height, width } = this.world;
    return [
      ((clientY - box.top) / box.height) * height - 0.5,
      ((clientX - box.left) / box.width) * width - 0.5,
    ];
  }

  listen() {
    const on = (name, handle) => this.canvas.addEventListener(name, handle);
    keepTouches(this.canvas);
    on("pointerdown", (event) => this.press(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.release(event));
    on("pointercancel", () => this.leave());
    on("pointerleave", () => { if (!this.pressed) this.leave(); });
    on("contextmenu", (event) => { if (this.pressed) event.preventDefault(); }); // a long press
    on("keydown", (event) => this.key(event));
    on("focus", () => { if (this.canvas.matches(":focus-visible")) this.pointAt(this.at); });
    on("blur", () => this.leave());
  }

  /** Show the ring there. */
  pointAt(place) {
    this.ring = place;
    this.draw();
  }

  leave() {
    this.ring = this.pressed = null;
    this.draw();
  }

  press(event) {
    if (event.button || !event.isPrimary) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.ring = this.place(event);
    this.pressed = { x: event.clientX, y: event.clientY, last: this.ring, cuts: false };
    const pressed = this.pressed;
    setTimeout(() => { if (this.pressed === pressed) this.cut(); }, HOLD);
    this.actions.busy();
    this.draw();
  }

  move(event) {
    if (!event.isPrimary) return;
    this.ring = this.place(event);
    const { pressed } = this;
    if (pressed && !pressed.cuts) {
      const far = Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y);
      if (far > SLACK) this.cut();
    } else if (pressed) {
      this.cut();
    }
    this.draw();
  }

  /** Erase from where the pointer was to where it is: a quick pointer jumps. */
  cut() {
    const { pressed, ring } = this, [fromY, fromX] = pressed.last, [toY, toX] = ring;
    const parts = Math.max(1, Math.ceil(Math.hypot(toY - fromY, toX - fromX)));
    for (let k = 0; k <= parts; k++) {
      const share = k / parts;
      this.actions.erase(fromY + share * (toY - fromY), fromX + share * (toX - fromX), this.radius);
    }
    Object.assign(pressed, { last: ring, cuts: true });
    this.draw();
  }

  release(event) {
    const { pressed } = this;
    this.pressed = null;
    if (event.pointerType !== "mouse") this.ring = null;
    if (pressed && !pressed.cuts) this.tap(pressed.last);
    this.draw();
  }

  tap([y, x]) {
    const { height, width } = this.world;
    this.actions.tap(between(Math.round(y), 0, height - 1), between(Math.round(x), 0, width - 1));
  }

  /** Arrow keys move the ring (with shift by five cells), Enter erases, the space bar taps. */
  key(event) {
    const move = MOVES[event.key], { height, width } = this.world;
    if (!move && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault(); // no scrolling
    event.stopPropagation(); // nor anything that a notebook does
    this.actions.busy();
    const by = event.shiftKey ? 5 : 1, [y, x] = this.at;
    if (move) {
      this.at = [between(y + by * move[0], 0, height - 1), between(x + by * move[1], 0, width - 1)];
      this.actions.moved(...this.at);
    } else if (event.key === "Enter") {
      this.actions.erase(y, x, this.radius);
    } else {
      this.tap(this.at);
    }
    this.pointAt(this.at);
  }
}

/** Canvas pixels in a pixel of the style sheet. */
function canvasUnit(canvas) {
  return canvas.width / (canvas.clientWidth || canvas.width);
}
