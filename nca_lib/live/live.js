// The live model on a page or in a notebook: a world on a stage, and a panel around it.
//
//   mount(element, bytes, { label: 3 })    on a page: the bytes of a model's file
//   export default { render }              for anywidget

import { Model } from "./model.js";
import { inferStyle } from "./encoder.js";
import { World, costOfLabel, shortened } from "./world.js";
import { Stage, VIEWS } from "./stage.js";
import { an, make } from "./controls.js";
import { prepare } from "./photo.js";
import { pixelsOf } from "./upload.js";
import { RATE, RATES, panel } from "./panel.js";
import CSS from "./style.css";
import { followScheme } from "./scheme.js";
import { acts } from "./tour.js";
import { connect } from "./link.js";

const BUDGET = 12; // milliseconds of a frame that steps may take: the page stays quick
const GROWN = 2; // times the steps of training, and a growth is complete
const USUAL = 1.9; // styles longer than this, times the root of their size, are rare
const MARGIN = 4; // cells between digits that are planted side by side
const HINTS = { // what to try next, until it was done
  erase: "Drag across the digit to cut it.",
  label: "Press another digit while it lives.",
  read: "Write a digit of your own on the pad.",
  all: "Grow all of them: the last canvas.",
  plant: "On a larger canvas, tap the paper.",
  show: "Look at what you can't see: hidden.",
};
const DEAD = "Press a digit, or tap, to plant a seed.";
const STAGE_HELP = "A living picture. Drag over it to erase, tap the paper to plant a seed. " +
  "Arrow keys move a ring, with Shift further. Enter erases what is in the ring, " +
  "the space bar plants a seed there or selects the digit.";

export class Live {
  constructor(element, model, { label: asked, directions = [] } = {}) {
    const { ink, size, task, tensors, trainedLabels } = model;
    if (!task.fromSeed) throw new Error(`this model ${task.does}: give one that grows pictures`);
    const label = trainedLabels.includes(asked) ? asked : trainedLabels[0];
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    Object.assign(this, { element, model, rate: RATE, due: 0, turn: 0, playing: !calm });
    this.directions = directions; // in the space of styles: {name, axis [S]} each
    this.canRead = ink === 1 && size[0] === size[1] && "encoder.code.weight" in tensors;
    this.tried = new Set(); // of the hints
    this.leaving = new AbortController(); // ends what listens outside the element
    this.tempo = 1; // a tour slows time down, the reader's speed stays what it is
    this.plants = null; // the label of a seed that a tap plants; null: that of the selected digit
    this.together = trainedLabels.slice(0, 10); // labels that are planted side by side
    this.columns = Math.ceil(Math.sqrt(this.together.length));
    const times = (k) => size.map((side) => Math.round(side * k)); // [height, width], in cells
    this.canvases = { one: times(1), two: times(2), many: times(24 / 7) };
    if (this.columns > 1) this.canvases.all = size.map((side) => this.columns * (side + MARGIN));
    this.world = new World(model, ...size, label);
    this.stage = new Stage(this.world, {
      erase: (y, x, radius) => this.erase(y, x, radius), tap: (y, x) => this.tap(y, x),
      moved: (y, x) => this.describe(y, x),
    }, STAGE_HELP);
    element.classList.add("nca-live");
    element.replaceChildren(make("style", {}, CSS), panel(this));
    this.listen();
    this.restart();
    if (calm) this.ripen();
    this.request = requestAnimationFrame((now) => this.frame(now));
  }

  listen() {
    const acted = ({ target }) => {
      if (target.matches("button, input, select, canvas")) this.interrupt();
    };
    for (const name of ["pointerdown", "keydown", "input"]) {
      this.element.addEventListener(name, acted, true);
    }
    this.resized = new ResizeObserver(() => this.redraw()); // it may be shown later than made
    this.resized.observe(this.stage.canvas);
    this.visible = new IntersectionObserver((entries) => {
      this.shown = entries[entries.length - 1].isIntersecting;
    });
    this.visible.observe(this.stage.canvas);
    this.unfollow = followScheme(this.element, () => this.redraw());
  }

  destroy() {
    this.turn++;
    this.leaving.abort();
    cancelAnimationFrame(this.request);
    this.resized.disconnect();
    this.visible.disconnect();
    this.unfollow();
    this.element.replaceChildren();
  }

  // ---- time -------------------------------------------------------------------------------------

  frame(now) {
    this.request = requestAnimationFrame((next) => this.frame(next));
    const passed = Math.min(0.1, (now - (this.last ?? now)) / 1000);
    this.last = now;
    const cutting = this.stage.pressed?.cuts; // a cut would heal under the brush, unseen
    if (!this.playing || !this.shown || cutting) return;
    this.due += passed * this.rate * this.tempo;
    const until = performance.now() + BUDGET, before = this.world.grid.steps;
    for (; this.due >= 1 && performance.now() < until; this.due--) this.world.step();
    this.due = Math.min(this.due, 1); // too slow to keep pace: what is missed is not made up
    if (this.world.grid.steps > before) this.draw();
  }

  draw() {
    this.stage.draw();
    this.count.textContent = `step ${this.world.grid.steps}`;
  }

  /** Draw in a new size or in new colours. */
  redraw() {
    this.stage.fit();
    this.draw();
    this.pad?.draw();
  }

  setPlaying(playing) {
    this.playing = playing;
    this.play.textContent = playing ? "Pause" : "Play";
    this.play.title = playing ? "Stop the time" : "Let time run";
    this.say(playing ? "Time runs." : "Time stands still.");
  }

  stepOnce() {
    if (this.playing) this.setPlaying(false);
    this.world.step();
    this.draw();
    this.say(`Step ${this.world.grid.steps}.`);
  }

  /** Steps until what was planted is grown, at once. */
  ripen() {
    for (let k = 0; k < GROWN * this.model.steps; k++) this.world.step();
    this.draw();
    this.say(`A grown ${this.name()}. Press Play to let it live.`);
  }

  /** Ten seconds of what a model of all digits can do; whatever the reader does ends them. */
  async tour() {
    this.interrupt();
    const turn = this.turn;
    this.touring = true;
    this.suggest();
    this.rate = RATE;
    this.speed.set(RATES.indexOf(RATE));
    let due = performance.now();
    for (const [seconds, act] of acts(this)) {
      act();
      due += 1000 * seconds;
      while (performance.now() < due) {
        await new Promise(requestAnimationFrame);
        if (turn !== this.turn) return this.endTour();
      }
    }
    this.endTour();
  }

  /** The reader takes over, also while time stands or the paper is empty for handwriting. */
  endTour() {
    this.tempo = 1;
    this.touring = false;
    this.stage.ring = null;
    if (!this.world.digits.length) this.restart();
    this.suggest();
  }

  // ---- messages ---------------------------------------------------------------------------------

  name(label = this.world.label) {
    return this.model.classes[label];
  }

  say(text) {
    this.status.textContent = text;
  }

  /** What happens to cells is only seen while time runs. */
  sayOfCells(text) {
    this.say(this.playing ? text : `${text} Press Play to see it.`);
  }

  describe(y, x) {
    const what = this.world.grid.isAlive(y, x) ? "a living cell" : "empty";
    this.say(`Row ${y + 1}, column ${x + 1}: ${what}.`);
  }

  /** The reader has tried something: the hint makes room for the next. */
  did(what) {
    if (!this.touring) this.tried.add(what);
    this.suggest();
  }

  suggest() {
    const next = Object.keys(HINTS).find((what) => (
      !this.tried.has(what) && (what !== "read" || this.canRead)
      && (what !== "all" || this.canvases.all)));
    const dead = this.world.grid.steps > 0 && !this.world.alive;
    this.hint.textContent = this.touring ? "" : dead ? DEAD : HINTS[next] ?? "";
  }

  // ---- what the reader does ---------------------------------------------------------------------

  /** Whatever the reader does ends a tour. */
  interrupt() {
    this.turn++;
    this.touring = false;
    this.stage.strokes = null;
  }

  /** Seeds as the canvas wants them: one in the middle, or one of every digit. */
  restart(label = this.world.label) {
    const all = this.size === "all";
    if (all) this.plantAll(label);
    else this.world.restart(label);
    this.labels.set(this.world.label);
    this.say(all ? "All digits grow, from a single cell each."
      : `A single cell grows into ${an(this.name())}.`);
    this.suggest();
    this.draw();
  }

  /**
   * One seed of every digit, in rows of about the same length: ten are three, four and three.
   * Each has a sheet of its own, as in training: neighbours would grow into each other in the end.
   * The one with this label is selected.
   */
  plantAll(label) {
    const { world, columns, together: labels } = this, { height, width } = world;
    const rows = Math.ceil(labels.length / columns), [high, wide] = this.model.size, sheets = [];
    const upTo = (row) => Math.round((labels.length * row) / rows);
    world.clear();
    for (let row = 0; row < rows; row++) {
      const inRow = labels.slice(upTo(row), upTo(row + 1));
      inRow.forEach((each, k) => {
        const x = Math.floor(width / 2 + ((k + 0.5 - inRow.length / 2) * width) / columns);
        const y = Math.floor(((row + 0.5) * height) / rows);
        const top = y - (high >> 1), left = x - (wide >> 1);
        sheets.push({ top, bottom: top + high, left, right: left + wide });
        world.plant(y, x, each);
      });
    }
    world.grid.wallAround(sheets);
    world.chosen = Math.max(0, world.digits.findIndex((digit) => digit.label === label));
    world.label = world.digits[world.chosen].label;
  }

  setCanvas(key) {
    this.size = key;
    if (key === "all") this.did("all");
    this.canvas.set(key);
    this.world.clear(...this.canvases[key]);
    this.stage.fit();
    this.restart();
    if (!this.playing) this.ripen();
  }

  setLabel(label) {
    if (label !== this.world.label) this.did("label");
    if (!this.world.alive) return this.restart(label);
    this.world.setLabel(label);
    this.labels.set(label);
    this.sayOfCells(`From now on it is ${an(this.name())}.`);
  }

  /** Take a style, [S]; the sliders show it. */
  setStyle(style) {
    this.world.setStyle(style);
    const dot = (axis) => axis.reduce((sum, value, k) => sum + value * style[k], 0);
    this.directions.forEach(({ axis }, k) => this.axes[k].set(dot(axis)));
  }

  /** Move the style along one axis, of length 1, to a value. */
  lean(axis, value) {
    const { style } = this.world;
    const by = value - axis.reduce((sum, each, k) => sum + each * style[k], 0);
    this.world.setStyle(style.map((each, k) => each + by * axis[k]));
  }

  /** A state from Python, [C, H, W], lives on here under the label that is selected. */
  take([height, width], state) {
    this.world.take(height, width, state);
    this.redraw();
    this.say(`A state from Python lives on as ${an(this.name())}.`);
  }

  /** On a phone what is pressed may be far below the picture. */
  lookAt() {
    this.stage.canvas.scrollIntoView({ block: "nearest" });
  }

  show(view) {
    this.stage.view = view;
    this.views.set(view);
    this.draw();
    this.say(`${VIEWS[view]}.`);
  }

  erase(y, x, radius) {
    this.lost = (this.lost ?? 0) + this.world.grid.erase(y, x, radius);
    clearTimeout(this.saying);
    this.saying = setTimeout(() => { // once a stroke, not once a point
      if (this.lost) this.did("erase");
      if (this.world.alive) this.sayOfCells(`Erased ${this.lost} living cells.`);
      else this.say("All cells are dead.");
      this.lost = 0;
      this.suggest();
    }, 250);
  }

  tap(y, x) {
    if (this.world.choose(y, x) !== null) {
      this.say(`This ${this.name()} is selected.`);
    } else if (this.world.plant(y, x, this.plants ?? this.world.label)) {
      this.did("plant");
      this.sayOfCells(`A seed of ${an(this.name())}.`);
    } else {
      this.say("No seed fits here.");
    }
    this.labels.set(this.world.label);
    this.draw();
  }

  // ---- the reader's own handwriting -------------------------------------------------------------

  /** Find the digit in a picture's file and read it, or say why not. */
  async readFile(file) {
    this.interrupt();
    this.pad.clear();
    this.say("Looking for the digit ...");
    try {
      const { picture, found } = prepare(...await pixelsOf(file), this.model.size[0]);
      await this.read(picture, ` The picture: ${found}.`);
    } catch (error) {
      this.say(`The picture: ${error.message}.`);
      this.status.scrollIntoView({ block: "nearest" }); // on a phone it is far above the pad
    }
  }

  /** Read a drawing: the label that explains it best, then its style. `found`: said with it. */
  async read(picture, found = "") {
    Object.assign(this, { picture, found });
    this.say(`Reading what you wrote ...${found}`);
    const costs = [];
    for (const label of this.model.trainedLabels) { // a label a frame: the page stays quick
      const style = inferStyle(this.model, picture, label);
      costs.push(costOfLabel(this.model, style, picture, label));
      await new Promise(requestAnimationFrame);
      if (picture !== this.picture) return; // there is a newer drawing
    }
    this.useDrawing(this.model.trainedLabels[costs.indexOf(Math.min(...costs))]);
  }

  /** Grow the drawing under this label: the one we read, or the one that the reader says. */
  useDrawing(label) {
    this.did("read");
    if (!this.playing) this.setPlaying(true);
    const style = this.usePicture(this.picture, label);
    const rare = Math.hypot(...style) > USUAL * Math.sqrt(style.length);
    const what = rare ? `Hardly ${an(this.name(label))}: this is the nearest style that grows.`
      : `This is ${an(this.name(label))} in your handwriting.`;
    this.say(what + this.found);
    this.lookAt();
  }

  /** Use the style of a picture with this label from now on. Returns the style as inferred. */
  usePicture(picture, label) {
    const style = inferStyle(this.model, picture, label);
    if (picture !== this.picture) this.found = "";
    this.picture = picture;
    this.drawThumb(picture);
    this.reading.value = label;
    this.verdict.hidden = false;
    this.invitation.hidden = true;
    this.setStyle(shortened(style));
    this.restart(label);
    return style;
  }

  drawThumb(picture) {
    const { width, height } = this.thumb, image = new ImageData(width, height);
    const { paper, ink } = this.stage.colours;
    picture.forEach((value, k) => {
      const mixed = paper.map((each, c) => each + value * (ink[c] - each));
      image.data.set([...mixed, 255], 4 * k);
    });
    this.thumb.getContext("2d").putImageData(image, 0, 0);
  }
}

/**
 * Show a live model in an element. Returns the Live.
 * @param bytes    of its .safetensors file, a Uint8Array or DataView
 * @param options  label; directions [{name, axis}] in the space of styles, for sliders
 */
export function mount(element, bytes, options = {}) {
  try {
    element.live = new Live(element, new Model(bytes), options); // also for tests and the curious
    return element.live;
  } catch (error) {
    const problem = make("p", { className: "nca-problem", role: "alert" }, error.message);
    element.classList.add("nca-live");
    element.replaceChildren(make("style", {}, CSS), problem);
    throw error;
  }
}

/** For anywidget: Python's `LiveDigit` has the file of the model, the label and the style. */
function render({ model: widget, el }) {
  const [label, directions] = [widget.get("label"), widget.get("directions")];
  const live = mount(el.appendChild(make("div")), widget.get("file"), { label, directions });
  live.setStyle(widget.get("style_values"));
  const disconnect = connect(widget, live);
  return () => { disconnect(); live.destroy(); };
}

export default { render };
