// The live rule on a page or in a notebook: a world on a stage, a panel to speak to it, a tour.
//
//   mount(element, { rules: { unified: bytes }, options: { label: 3 } })    on a page
//   export default { render }                                               for anywidget

import { parseRule } from "./rule.js";
import { inferStyle } from "./encoder.js";
import { World, costOfLabel, livable, randomStyle } from "./world.js";
import { Pad } from "./pad.js";
import { Stage, VIEWS } from "./stage.js";
import { an, button, choice, group, labelList, make, slider } from "./controls.js";
import { CSS } from "./style.js";
import { followScheme } from "./scheme.js";
import { acts } from "./tour.js";
import { connect } from "./link.js";

const RATES = [1, 2, 4, 8, 15, 30, 60, 120, 240]; // steps a second
const RATE = 30;
const BUDGET = 12; // milliseconds of a frame that steps may take: the page stays quick
const GROWN = 2; // times the steps of its training, and a growth is complete
const USUAL = 1.9; // styles longer than this, times the root of their size, are few
const MARGIN = 4; // cells between digits that are planted side by side
const HINTS = { // what to try next, until it was done
  erase: "Drag across the digit to cut it.",
  tell: "Press another digit while it lives.",
  read: "Write a digit of your own on the pad.",
  all: "Grow all of them: the last canvas.",
  plant: "On a larger canvas, tap the paper.",
  show: "See what cells tell each other: hidden.",
};
const DEAD = "Press a digit, or tap, to plant a seed.";
const STAGE_HELP = "A living picture. Drag over it to erase, tap the paper to plant a seed. " +
  "Arrow keys move a ring, with Shift further. Enter erases what is in the ring, " +
  "the space bar plants a seed there or chooses the digit.";
const STAGE_KEYS = "Arrows move, Enter erases, Space plants or chooses."; // for those who see
const PAD_HELP = "A pad to write a digit on. Arrow keys move a pen, the space bar lowers and " +
  "raises it, Enter finishes, Escape begins anew.";
const PAD_KEYS = "Arrows move, Space lowers the pen, Enter ends.";

export class Live {
  constructor(element, rule, options = {}) {
    if (rule.task !== "grow") throw new Error("this rule restores blurred pictures: it grows none");
    const [height, width] = rule.size, first = rule.known[0];
    const label = rule.known.includes(options.label) ? options.label : first;
    const calm = options.calm ?? matchMedia("(prefers-reduced-motion: reduce)").matches;
    Object.assign(this, { element, rule, options, rate: RATE, due: 0, turn: 0, playing: !calm });
    this.world = new World(rule, height, width, label);
    this.tried = new Set(); // of the hints
    this.tempo = 1; // a tour slows time down, the reader's speed stays what it is
    this.plants = null; // the label of a seed that a tap plants; null: the same as is chosen
    this.canvases = this.sizes();
    this.build();
    this.listen();
    this.restart();
    if (calm) this.ripen();
    this.draw();
    this.request = requestAnimationFrame((now) => this.frame(now));
  }

  /** The canvases to choose from, [height, width] each, in cells. */
  sizes() {
    const times = (k) => this.rule.size.map((side) => Math.round(side * k));
    const sizes = { one: times(1), two: times(2), many: times(24 / 7) };
    const count = this.shownTogether.length;
    if (count > 1) sizes.all = this.rule.size.map((side) => this.columns * (side + MARGIN));
    return sizes;
  }

  /** The labels that are planted side by side, ten at most, and how many fit into a row. */
  get shownTogether() {
    return this.rule.known.slice(0, 10);
  }

  get columns() {
    return Math.ceil(Math.sqrt(this.shownTogether.length));
  }

  // ---- what is on the page ----------------------------------------------------------------------

  build() {
    const { rule } = this;
    this.stage = new Stage(this.world, {
      erase: (y, x, radius) => this.erase(y, x, radius), tap: (y, x) => this.tap(y, x),
      moved: (y, x) => this.tellPlace(y, x), busy: () => this.interrupt(),
    });
    this.stage.canvas.setAttribute("aria-label", STAGE_HELP);
    const rows = make("div", { className: "nca-rows" },
      make("div", { className: "nca-area" }, this.picturePart(), this.labelPart()),
      make("div", { className: "nca-area" }, this.timePart(),
        ...(rule.config.style_dim > 0 ? [this.handPart()] : []), this.viewPart(),
        this.canvasPart()));
    this.element.classList.add("nca-live");
    this.element.replaceChildren(make("style", {}, CSS), rows);
    this.stage.fit();
    this.pad?.draw();
  }

  picturePart() {
    this.status = make("p", { className: "nca-status", role: "status" });
    this.count = make("span", { className: "nca-steps" });
    this.hint = make("p", { className: "nca-hint" });
    this.suggest();
    return make("div", { className: "nca-picture" }, this.stage.canvas, make("div",
      { className: "nca-said" }, this.keys(STAGE_KEYS), this.hint,
      make("div", { className: "nca-under" }, this.status, this.count)));
  }

  /** What the keys do, shown to who comes with the keyboard; a screen reader knows it already. */
  keys(text) {
    return make("p", { className: "nca-keys", "aria-hidden": "true" }, text);
  }

  labelPart() {
    const { classes, known } = this.rule;
    const names = classes.some((name) => name.length > 1);
    const options = classes.map((name, label) => [label, name, `Become ${an(name)}`]);
    this.labels = choice("which digit to become", options, this.world.label,
      (label) => this.tell(label), names ? "nca-labels nca-names" : "nca-labels");
    for (const [label, each] of this.labels.buttons) each.disabled = !known.includes(label);
    return group("Tell the cells to become a", this.labels.element);
  }

  timePart() {
    this.play = button("", "", () => this.setPlaying(!this.playing));
    this.play.className = "nca-play";
    const one = button("One step", "Stop, and make a single step", () => this.stepOnce());
    const anew = button("Restart", "Begin anew with a single cell", () => this.again());
    this.speed = slider("speed", {
      min: 0, max: RATES.length - 1, step: 1, value: RATES.indexOf(RATE),
      text: (k) => `${RATES[k]} steps/s`,
    }, (k) => { this.interrupt(); this.rate = RATES[k]; });
    const fire = slider("fire rate", {
      min: 0.1, max: 1, step: 0.05, value: this.world.fireRate,
      text: (rate) => `${Math.round(100 * rate)} % act`,
    }, (rate) => { this.interrupt(); this.world.fireRate = rate; });
    fire.element.title = "The share of living cells that update in a step";
    this.setPlaying(this.playing, false);
    return group("Time", make("div", { className: "nca-line" }, this.play, one, anew),
      this.speed.element, fire.element);
  }

  viewPart() {
    const options = Object.entries(VIEWS).map(([view, title]) => [view, view, title]);
    this.views = choice("what is shown", options, "ink", (view) => {
      this.interrupt();
      this.did("show");
      this.show(view);
      this.lookAt();
    });
    return group("Look at", this.views.element);
  }

  /** The reader's own hand, those of others, and directions from one to another. */
  handPart() {
    const parts = make("div", { className: "nca-hand" });
    if (this.canRead()) parts.append(this.wordsPart(), this.padPart());
    parts.append(this.othersPart());
    return group("Handwriting", parts);
  }

  othersPart() {
    const average = button("Average", "Write as people do on average", () => {
      this.interrupt();
      this.write(new Float32Array(this.world.style.length));
      this.say("The average hand.");
    });
    const another = button("Random", "Write as somebody else might", () => {
      this.interrupt();
      this.write(randomStyle(this.rule));
      this.say("Somebody else's hand.");
    });
    this.axes = this.directions().map(({ name, axis }, k) => slider(name, {
      min: -2, max: 2, step: 0.1, value: 0, text: (value) => value.toFixed(1),
    }, (value) => { this.lean(axis, value); this.say(`A hand with ${name} ${value}.`); }));
    return make("div", { className: "nca-others" },
      make("div", { className: "nca-line" }, average, another),
      ...this.axes.map((axis) => axis.element));
  }

  /** Directions in the space of styles, {name, axis [S]} each; unless told, its first axes. */
  directions() {
    const size = this.rule.config.style_dim, { directions } = this.options;
    const unit = (k) => Float32Array.from({ length: size }, (_, i) => +(i === k));
    if (directions?.length) return directions;
    return Array.from({ length: Math.min(3, size) }, (_, k) => (
      { name: `direction ${k + 1}`, axis: unit(k) }));
  }

  /** Whether a drawing of somebody's is a picture of the kind that the rule knows. */
  canRead() {
    const { ink, size, tensors } = this.rule;
    return ink === 1 && size[0] === size[1] && "encoder.code.weight" in tensors;
  }

  padPart() {
    this.pad = new Pad({
      drawn: (picture) => this.read(picture), busy: () => this.interrupt(),
      say: (text) => this.say(text),
    }, PAD_HELP);
    return this.pad.canvas;
  }

  /** What is said above the pad: first what it is for, then what was read on it. */
  wordsPart() {
    this.thumb = make("canvas", { width: this.rule.size[1], height: this.rule.size[0] });
    this.thumb.setAttribute("role", "img");
    this.thumb.setAttribute("aria-label", "Your drawing, as the encoder sees it");
    this.thumb.title = "Your drawing, as the encoder sees it";
    this.reading = labelList(this.rule, "Which digit did you write?");
    this.reading.addEventListener("change", () => this.useHand(+this.reading.value));
    const name = `Grow all ${this.shownTogether.length}`;
    const all = button(name, "All digits side by side, in your hand", () => {
      this.setPlaying(true);
      this.setCanvas("all");
      this.did("all");
      this.lookAt();
      this.say("All digits, in your hand.");
    });
    all.hidden = !this.canvases.all;
    this.verdict = make("div", { className: "nca-read", hidden: true },
      this.thumb, make("label", {}, "This is a ", this.reading), all);
    this.invitation = make("p", { className: "nca-invitation" },
      "Write a digit on the pad: all others follow your hand.");
    return make("div", { className: "nca-words" }, this.keys(PAD_KEYS), this.invitation,
      this.verdict);
  }

  canvasPart() {
    const { canvases } = this, name = ([height, width]) => (
      height === width ? `${height}` : `${height} x ${width}`);
    const options = Object.entries(canvases).map(([key, size]) => (
      key === "all" ? [key, `all ${this.rule.known.length}`, "All digits side by side"]
        : [key, name(size), `A canvas of ${size[0]} x ${size[1]} cells`]));
    this.canvas = choice("canvas", options, "one", (key) => {
      this.setCanvas(key);
      if (key === "all") this.did("all");
      this.lookAt();
    });
    const brush = slider("brush", {
      min: 0.5, max: 8, step: 0.5, value: this.stage.radius, text: (r) => `${2 * r} cells`,
    }, (radius) => { this.stage.radius = radius; });
    const same = make("option", { value: "" }, "the same digit");
    const seeds = labelList(this.rule, "What a tap on the paper plants", same);
    seeds.addEventListener("change", () => {
      this.plants = seeds.value === "" ? null : +seeds.value;
    });
    const planting = make("label", { className: "nca-field" },
      make("span", {}, "a tap on the paper plants"), seeds);
    return group("Canvas, in cells", this.canvas.element, brush.element, planting);
  }

  listen() {
    this.resized = new ResizeObserver(() => { // a notebook shows it later than it is made
      this.stage.fit();
      this.draw();
      this.pad?.draw();
    });
    this.resized.observe(this.stage.canvas);
    this.seen = new IntersectionObserver((entries) => {
      this.shown = entries[entries.length - 1].isIntersecting;
    });
    this.seen.observe(this.stage.canvas);
    this.unfollow = followScheme(this.element, () => {
      this.stage.colours = null;
      this.draw();
      this.pad?.draw();
    });
  }

  destroy() {
    this.turn++;
    cancelAnimationFrame(this.request);
    this.resized.disconnect();
    this.seen.disconnect();
    this.unfollow();
    this.element.replaceChildren();
  }

  // ---- time -------------------------------------------------------------------------------------

  frame(now) {
    this.request = requestAnimationFrame((next) => this.frame(next));
    const passed = Math.min(0.1, (now - (this.last ?? now)) / 1000);
    this.last = now;
    const cutting = this.stage.pressed?.cuts; // a wound would heal under the brush, unseen
    if (!this.playing || !this.shown || cutting) return;
    this.due += passed * this.rate * this.tempo;
    const until = performance.now() + BUDGET, before = this.world.grid.steps;
    for (; this.due >= 1 && performance.now() < until; this.due--) this.world.step();
    this.due = Math.min(this.due, 1); // too slow to keep pace: what is missed is not made up
    if (this.world.grid.steps > before) this.draw();
  }

  draw() {
    this.stage.draw();
    const text = `step ${this.world.grid.steps}`;
    if (this.count.textContent !== text) this.count.textContent = text;
  }

  setPlaying(playing, speak = true) {
    if (speak) this.interrupt();
    this.playing = playing;
    this.play.textContent = playing ? "Pause" : "Play";
    this.play.title = playing ? "Stop the time" : "Let the cells live";
    if (speak) this.say(playing ? "Time runs." : "Time stands still.");
  }

  stepOnce() {
    if (this.playing) this.setPlaying(false);
    this.world.step();
    this.draw();
    this.say(`Step ${this.world.grid.steps}.`);
  }

  /** Steps until what was planted is grown, at once. */
  ripen() {
    for (let k = 0; k < GROWN * this.rule.trainedSteps; k++) this.world.step();
    this.say(`A grown ${this.name()}. Press Play to let it live.`);
  }

  /** Ten seconds that show what there is; whatever the reader does ends them. */
  async tour() {
    this.interrupt();
    if (![3, 4, 8].every((label) => this.rule.known.includes(label)) || !this.pad) {
      return this.say("The tour needs a rule that knows all digits and styles.");
    }
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

  // ---- what is said to the cells, and about them ------------------------------------------------

  name(label = this.world.label) {
    return this.rule.classes[label];
  }

  say(text) {
    this.status.textContent = text;
  }

  /** What happens to cells is only seen while time runs. */
  sayOfCells(text) {
    this.say(this.playing ? text : `${text} Press Play to see it.`);
  }

  /** The reader has tried something: the hint makes room for the next. */
  did(what) {
    this.tried.add(what);
    this.suggest();
  }

  suggest() {
    const next = Object.keys(HINTS).find((what) => (
      !this.tried.has(what) && (what !== "read" || this.canRead())
      && (what !== "all" || this.canvases.all)));
    const dead = this.world.grid.steps > 0 && !this.world.alive;
    this.hint.textContent = this.touring ? "" : dead ? DEAD : HINTS[next] ?? "";
  }

  /** Whatever the reader does ends a tour. */
  interrupt() {
    this.turn++;
    this.stage.strokes = null;
  }

  again() {
    this.interrupt();
    this.restart();
    if (!this.playing) this.setPlaying(true, false);
  }

  /** Seeds as the canvas wants them: one in the middle, or one of every digit. */
  restart(label = this.world.label) {
    const { world, canvases } = this, all = this.size === "all";
    all ? this.plantAll(label) : world.restart(label);
    this.labels.set(world.label);
    this.say(all ? "A single cell each grows into all digits."
      : `A single cell grows into ${an(this.name())}.`);
    this.suggest();
    this.draw();
  }

  /**
   * One seed of every digit, in rows of about the same length: ten are three, four and three.
   * Each has a sheet of its own, as in the training: neighbours would grow into each other in the
   * end. The one of this label is chosen.
   */
  plantAll(label) {
    const { world, columns, shownTogether: labels } = this, { height, width } = world;
    const rows = Math.ceil(labels.length / columns), [high, wide] = this.rule.size, sheets = [];
    world.clear();
    for (let row = 0; row < rows; row++) {
      const upTo = (k) => Math.round((labels.length * k) / rows);
      const inRow = labels.slice(upTo(row), upTo(row + 1));
      inRow.forEach((each, k) => {
        const x = Math.floor(width / 2 + ((k + 0.5 - inRow.length / 2) * width) / columns);
        const y = Math.floor(((row + 0.5) * height) / rows);
        sheets.push({ top: y - (high >> 1), left: x - (wide >> 1), height: high, width: wide });
        world.plant(y, x, each);
      });
    }
    world.grid.wallAround(sheets);
    world.chosen = Math.max(0, world.digits.findIndex((digit) => digit.label === label));
    world.label = world.digits[world.chosen].label;
  }

  setCanvas(key, inTour = false) {
    if (!inTour) this.interrupt();
    this.size = key;
    this.canvas.set(key);
    const [height, width] = this.canvases[key];
    this.world.clear(height, width);
    this.stage.fit();
    this.restart();
    if (!this.playing) this.ripen();
    this.draw();
  }

  tell(label, inTour = false) {
    if (!inTour) this.interrupt();
    if (!inTour && label !== this.world.label) this.did("tell");
    const before = this.name();
    if (!this.world.alive) return this.restart(label);
    this.world.tell(label);
    this.labels.set(label);
    this.sayOfCells(this.name() === before ? `It is told to be ${an(before)}.`
      : `The ${before} is told to become ${an(this.name())}.`);
  }

  /** Take a style, [S]; the sliders show it. */
  write(style) {
    this.world.write(style);
    const dot = (axis) => axis.reduce((sum, value, k) => sum + value * style[k], 0);
    this.directions().forEach(({ axis }, k) => this.axes?.[k]?.set(dot(axis)));
  }

  /** Move the style along one axis, of length 1, to a value. */
  lean(axis, value) {
    this.interrupt();
    const { style } = this.world;
    const by = value - axis.reduce((sum, each, k) => sum + each * style[k], 0);
    this.world.write(style.map((each, k) => each + by * axis[k]));
  }

  /** A state from elsewhere, as planes [C, H, W], lives on here as the label that is chosen. */
  take([height, width], planes) {
    this.interrupt();
    this.world.take(height, width, planes);
    this.stage.fit();
    this.draw();
    this.say(`A state from outside lives on as ${an(this.name())}.`);
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
      this.labels.set(this.world.label);
      this.say(`This ${this.name()} is the one you speak to.`);
    } else if (this.world.plant(y, x, this.plants ?? this.world.label)) {
      this.labels.set(this.world.label);
      this.did("plant");
      this.sayOfCells(`A seed of ${an(this.name())}.`);
    } else {
      this.say("No seed fits here.");
    }
    this.draw();
  }

  tellPlace(y, x) {
    const what = this.world.grid.lives(y, x) ? "living tissue" : "paper";
    this.say(`Row ${y + 1}, column ${x + 1}: ${what}.`);
  }

  // ---- the reader's own hand --------------------------------------------------------------------

  /** Read a drawing: the label under which it is explained best, then its style. */
  async read(picture) {
    this.interrupt();
    this.picture = picture;
    this.say("Reading what you wrote ...");
    const costs = [];
    for (const label of this.rule.known) { // a label a frame, so that the page stays quick
      const style = inferStyle(this.rule, picture, label);
      costs.push(costOfLabel(this.rule, style, picture, label));
      await new Promise(requestAnimationFrame);
      if (picture !== this.picture) return; // there is a newer drawing
    }
    this.useHand(this.rule.known[costs.indexOf(Math.min(...costs))]);
  }

  /** The reader says what the drawing shows; or we do, who have read it. */
  useHand(label) {
    this.interrupt();
    this.did("read");
    this.usePicture(this.picture, label);
    if (!this.playing) this.setPlaying(true, false);
    const style = inferStyle(this.rule, this.picture, label);
    const few = Math.hypot(...style) > USUAL * Math.sqrt(style.length);
    this.say(few ? `Hardly ${an(this.name(label))}: the nearest hand that cells can write.`
      : `This is ${an(this.name(label))} in your hand.`);
    this.lookAt();
  }

  /** Write from now on in the hand of a picture, which shows this label. */
  usePicture(picture, label) {
    this.picture = picture;
    this.drawThumb(picture);
    this.reading.value = label;
    this.verdict.hidden = false;
    this.invitation.hidden = true;
    this.write(livable(inferStyle(this.rule, picture, label)));
    this.restart(label);
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

/** The bytes of a rule as an ArrayBuffer, in whatever they come. */
function asBuffer(bytes) {
  if (!ArrayBuffer.isView(bytes)) return bytes;
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

/**
 * Show a live rule in an element. Returns {live, destroy}.
 * @param rules    {name: bytes of a .safetensors file}; the first is shown
 * @param options  label; directions [{name, axis}]; calm: begin grown and at rest
 */
export function mount(element, { rules, options = {} }) {
  try {
    const live = new Live(element, parseRule(asBuffer(Object.values(rules)[0])), options);
    element.live = live; // for the curious in the console, and for tests
    return { live, destroy: () => live.destroy() };
  } catch (error) {
    const problem = make("p", { className: "nca-problem", role: "alert" }, error.message);
    element.classList.add("nca-live");
    element.replaceChildren(make("style", {}, CSS), problem);
    throw error;
  }
}

/** For anywidget: Python's `LiveDigit` says what the model holds. */
function render({ model, el }) {
  const element = el.appendChild(make("div"));
  const options = { label: model.get("label"), directions: model.get("directions") };
  const { live, destroy } = mount(element, { rules: { rule: model.get("file") }, options });
  live.write(model.get("code"));
  const part = connect(model, live);
  return () => { part(); destroy(); };
}

export default { render };
