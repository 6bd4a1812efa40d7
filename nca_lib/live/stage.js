// The canvas: it draws a world, and turns pointer and keys into damage and seeds.

import { MOVES, between, consume, make, makeCanvas } from "./controls.js";
import { drawStrokes } from "./pad.js";

export const VIEWS = {
  ink: "The ink, on living cells: what you see",
  alive: "The alive channel: cells live where it exceeds 0.1",
  origin: "The origin marker: where the growth began",
  hidden: "The hidden channels: mean of their absolute values",
};
const WALL = 0.25; // opacity of the grey where no cell can live
const TISSUE = 0.2; // opacity of living cells under the ink
const HOLD = 300; // milliseconds: a longer press erases, a shorter one is a tap
const SLACK = 5; // screen pixels that a tap may move

/** '#rrggbb' as [r, g, b]. */
function rgb(text) {
  return [1, 3, 5].map((k) => parseInt(text.trim().slice(k, k + 2), 16));
}

/** The colours of a canvas, from the custom properties of its style sheet. */
function coloursOf(element) {
  const style = getComputedStyle(element), names = ["paper", "ink", "blue", "grey", "orange"];
  return Object.fromEntries(names.map((n) => [n, rgb(style.getPropertyValue(`--nca-${n}`))]));
}

/** Put `share` of a colour over what is in a pixel. */
function cover(pixels, at, colour, share) {
  for (let k = 0; k < 3; k++) pixels[at + k] += share * (colour[k] - pixels[at + k]);
}

/** Coloured ink over a pixel, premultiplied by its opacity if there is a fourth channel. */
function coverWithColours(pixels, at, inks, cell) {
  const opacity = inks.length > 3 ? inks[3][cell] : Math.max(...inks.map((each) => each[cell]));
  for (let k = 0; k < 3; k++) {
    pixels[at + k] = pixels[at + k] * (1 - opacity) + 255 * (inks[k] ?? inks[0])[cell];
  }
}

/** Draw a world into an ImageData of its size. */
function paint(world, view, colours, image) {
  const { grid, model, chosen, width } = world, pixels = image.data;
  const values = grid.picture(view), alive = grid.picture("alive");
  const inks = model.ink > 1 && Array.from({ length: model.ink }, (_, c) => grid.channel(c));
  const over = { alive: colours.blue, origin: colours.orange }[view] ?? colours.ink;
  grid.visit(grid.whole, (cell, y, x) => {
    const k = y * width + x, at = 4 * k;
    const tissue = grid.owner[cell] === chosen ? colours.blue : colours.grey;
    pixels.set(colours.paper, at);
    pixels[at + 3] = 255;
    if (grid.walls?.[cell]) cover(pixels, at, colours.grey, WALL);
    if (view === "ink") cover(pixels, at, tissue, TISSUE * alive[k]);
    if (view === "ink" && inks) coverWithColours(pixels, at, inks, k);
    else cover(pixels, at, over, values[k]);
  });
}

export class Stage {
  /** @param actions  {erase(y, x, radius), tap(y, x), moved(y, x)}, called back */
  constructor(world, actions, label) {
    Object.assign(this, { world, actions, view: "ink", radius: 2.5, ring: null, pressed: null });
    this.strokes = null; // handwriting over the world, as on a pad
    this.canvas = makeCanvas({ className: "nca-stage", "aria-label": label }, {
      pointerdown: (event) => this.press(event), pointermove: (event) => this.move(event),
      pointerup: (event) => this.release(event), pointercancel: () => this.leave(),
      pointerleave: () => { if (!this.pressed) this.leave(); },
      contextmenu: (event) => { if (this.pressed) event.preventDefault(); }, // a long press
      keydown: (event) => this.key(event), blur: () => this.leave(),
      focus: () => { if (this.canvas.matches(":focus-visible")) this.pointAt(this.at); },
    });
    this.small = make("canvas"); // a pixel a cell
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
    this.at = this.within(this.at);
    this.colours = null;
  }

  /** The nearest cell of the grid. */
  within([y, x]) {
    const { height, width } = this.world;
    return [between(Math.round(y), 0, height - 1), between(Math.round(x), 0, width - 1)];
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
    const [y, x] = this.ring, { canvas, scale } = this;
    context.strokeStyle = `rgb(${this.colours.orange})`;
    context.lineWidth = (2 * canvas.width) / (canvas.clientWidth || canvas.width);
    context.beginPath();
    context.arc((x + 0.5) * scale, (y + 0.5) * scale, this.radius * scale, 0, 7);
    context.stroke();
  }

  /** Where an event is, [y, x] in cells; whole numbers are the middles of cells. */
  locate({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect(), { height, width } = this.world;
    return [
      ((clientY - box.top) / box.height) * height - 0.5,
      ((clientX - box.left) / box.width) * width - 0.5,
    ];
  }

  /** Show the ring there. */
  pointAt(cell) {
    this.ring = cell;
    this.draw();
  }

  leave() {
    this.ring = this.pressed = null;
    this.draw();
  }

  press(event) {
    if (event.button || !event.isPrimary) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.ring = this.locate(event);
    const pressed = { x: event.clientX, y: event.clientY, last: this.ring, cuts: false };
    this.pressed = pressed;
    setTimeout(() => { if (this.pressed === pressed) this.cut(); }, HOLD);
    this.draw();
  }

  move(event) {
    if (!event.isPrimary) return;
    this.ring = this.locate(event);
    const { pressed } = this;
    const far = pressed && Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > SLACK;
    if (pressed?.cuts || far) this.cut();
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
    if (pressed && !pressed.cuts) this.actions.tap(...this.within(pressed.last));
    this.draw();
  }

  /** Arrow keys move the ring (with shift by five cells), Enter erases, the space bar taps. */
  key(event) {
    const move = MOVES[event.key], by = event.shiftKey ? 5 : 1, [y, x] = this.at;
    if (!move && event.key !== "Enter" && event.key !== " ") return;
    consume(event);
    if (move) {
      this.at = this.within([y + by * move[0], x + by * move[1]]);
      this.actions.moved(...this.at);
    } else if (event.key === "Enter") {
      this.actions.erase(y, x, this.radius);
    } else {
      this.actions.tap(y, x);
    }
    this.pointAt(this.at);
  }
}
