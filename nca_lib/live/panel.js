// What stands around the picture: its parts, and what each control does to the live model.

import { VIEWS } from "./stage.js";
import { Pad } from "./pad.js";
import { an, button, choice, group, labelList, make, slider } from "./controls.js";
import { randomStyle } from "./world.js";
import { fileControl } from "./upload.js";

export const RATES = [1, 2, 4, 8, 15, 30, 60, 120, 240]; // steps a second
export const RATE = 30;
const STAGE_KEYS = "Arrows move, Enter erases, Space plants or selects."; // for those who see
const PAD_HELP = "A pad to write a digit on. Arrow keys move a pen, the space bar lowers and " +
  "raises it, Enter finishes, Escape begins anew.";
const PAD_KEYS = "Arrows move, Space lowers the pen, Enter ends.";

/** All parts of the panel; the controls that change later become properties of `live`. */
export function panel(live) {
  return make("div", { className: "nca-rows" },
    make("div", { className: "nca-area" }, picturePart(live), labelPart(live)),
    make("div", { className: "nca-area" }, timePart(live),
      ...(live.model.config.style_dim > 0 ? [stylePart(live)] : []), viewPart(live),
      canvasPart(live)));
}

/** What the keys do, shown to those who use the keyboard; a screen reader reads the label. */
function keys(text) {
  return make("p", { className: "nca-keys", "aria-hidden": "true" }, text);
}

function picturePart(live) {
  live.status = make("p", { className: "nca-status", role: "status" });
  live.count = make("span", { className: "nca-steps" });
  live.hint = make("p", { className: "nca-hint" });
  return make("div", { className: "nca-picture" }, live.stage.canvas, make("div",
    { className: "nca-messages" }, keys(STAGE_KEYS), live.hint,
    make("div", { className: "nca-under" }, live.status, live.count)));
}

function labelPart(live) {
  const { classes, trainedLabels } = live.model;
  const options = classes.map((name, label) => [label, name, `Become ${an(name)}`]);
  const look = classes.some((name) => name.length > 1) ? "nca-labels nca-names" : "nca-labels";
  live.labels = choice("label", options, live.world.label, (label) => live.setLabel(label), look);
  for (const [label, each] of live.labels.buttons) each.disabled = !trainedLabels.includes(label);
  return group("Turn it into a", live.labels.element);
}

function timePart(live) {
  live.play = button("", "", () => live.setPlaying(!live.playing));
  live.play.className = "nca-play";
  const one = button("One step", "Stop, and make a single step", () => live.stepOnce());
  const anew = button("Restart", "Start again from a single cell", () => {
    live.setPlaying(true);
    live.restart();
  });
  live.speed = slider("speed", {
    min: 0, max: RATES.length - 1, step: 1, value: RATES.indexOf(RATE),
    text: (k) => `${RATES[k]} steps/s`,
  }, (k) => { live.rate = RATES[k]; });
  const fire = slider("fire rate", {
    min: 0.1, max: 1, step: 0.05, value: live.world.fireRate,
    text: (rate) => `${Math.round(100 * rate)} %`,
  }, (rate) => { live.world.fireRate = rate; });
  fire.element.title = "The share of living cells that update in a step";
  live.setPlaying(live.playing);
  return group("Time", make("div", { className: "nca-line" }, live.play, one, anew),
    live.speed.element, fire.element);
}

/** The reader's own handwriting, random styles, and directions of style. */
function stylePart(live) {
  const parts = make("div", { className: "nca-styles" });
  const drawn = (picture) => live.read(picture), say = (text) => live.say(text);
  live.pad = live.canRead ? new Pad(live.model.size[0], { drawn, say }, PAD_HELP) : null;
  if (live.pad) {
    const file = fileControl(live.element, live.leaving.signal, (file) => live.readFile(file));
    parts.append(readPart(live), live.pad.canvas, file);
  }
  parts.append(slidersPart(live));
  return group("Handwriting", parts);
}

/** Above the pad: first what it is for, then what was read on it. */
function readPart(live) {
  const title = "Your drawing, as the encoder sees it", [height, width] = live.model.size;
  live.thumb = make("canvas", { width, height, role: "img", "aria-label": title, title });
  live.reading = labelList(live.model, "Which digit did you write?");
  live.reading.addEventListener("change", () => live.useDrawing(+live.reading.value));
  const all = button(`Grow all ${live.together.length}`, "All digits side by side", () => {
    live.setPlaying(true);
    live.setCanvas("all");
    live.lookAt();
    live.say("All digits in your handwriting.");
  });
  all.hidden = !live.canvases.all;
  live.verdict = make("div", { className: "nca-read", hidden: true },
    live.thumb, make("label", {}, "This is a ", live.reading), all);
  live.invitation = make("p", { className: "nca-invitation" },
    "Write a digit on the pad: all digits take on your handwriting.");
  return make("div", { className: "nca-words" }, keys(PAD_KEYS), live.invitation, live.verdict);
}

function slidersPart(live) {
  const mean = button("Mean", "The mean style of the training pictures", () => {
    live.setStyle(new Float32Array(live.world.style.length));
    live.say("The mean style.");
  });
  const random = button("Random", "A random style", () => {
    live.setStyle(randomStyle(live.model));
    live.say("A random style.");
  });
  live.axes = live.directions.map(({ name, axis }) => slider(name, {
    min: -2, max: 2, step: 0.1, value: 0, text: (value) => value.toFixed(1),
  }, (value) => { live.lean(axis, value); live.say(`A style with ${name} ${value}.`); }));
  const buttons = make("div", { className: "nca-line" }, mean, random);
  const sliders = live.axes.map((axis) => axis.element);
  return make("div", { className: "nca-others" }, buttons, ...sliders);
}

function viewPart(live) {
  const options = Object.entries(VIEWS).map(([view, title]) => [view, view, title]);
  live.views = choice("what is shown", options, "ink", (view) => {
    live.did("show");
    live.show(view);
    live.lookAt();
  });
  return group("Look at", live.views.element);
}

function canvasPart(live) {
  const options = Object.entries(live.canvases).map(([key, [height, width]]) => (
    key === "all" ? [key, `all ${live.model.trainedLabels.length}`, "All digits side by side"]
      : [key, height === width ? `${height}` : `${height} x ${width}`,
        `A canvas of ${height} x ${width} cells`]));
  live.canvas = choice("canvas", options, "one", (key) => {
    live.setCanvas(key);
    live.lookAt();
  });
  const brush = slider("brush", {
    min: 0.5, max: 8, step: 0.5, value: live.stage.radius, text: (r) => `${2 * r} cells`,
  }, (radius) => { live.stage.radius = radius; });
  const same = make("option", { value: "" }, "the same digit");
  const seeds = labelList(live.model, "What a tap on the paper plants", same);
  seeds.addEventListener("change", () => {
    live.plants = seeds.value === "" ? null : +seeds.value;
  });
  const planting = make("label", { className: "nca-field" },
    make("span", {}, "a tap on the paper plants"), seeds);
  return group("Canvas, in cells", live.canvas.element, brush.element, planting);
}
