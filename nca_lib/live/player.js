// The growth player: recorded growths, a slider that scrubs them, play, and a choice of views.
//
// All pictures are here from the beginning: moving the slider asks nobody, and a page without
// Python plays as well as a notebook.

import { button, choice, group, make, slider } from "./controls.js";
import { CSS } from "./style.js";
import { followScheme } from "./scheme.js";

const SCALE = 10; // canvas pixels a cell
const PAUSE = 80; // milliseconds that a step is shown when they are played

export class Player {
  /**
   * @param names  what stands above each growth
   * @param films  {view: [PNG bytes of each growth]}: all its steps, row by row in one picture
   * @param size   [height, width] of a step, in cells
   * @param steps  of the last picture; the first is step 0
   */
  constructor(element, { names, films, views, size, steps }, told = () => {}) {
    Object.assign(this, { element, films, views, size, steps, told, step: 0, playing: false });
    this.columns = Math.ceil(Math.sqrt(steps + 1));
    this.view = Object.keys(films)[0];
    this.names = names;
    this.build();
    this.unfollow = followScheme(element);
    this.load();
  }

  build() {
    const [height, width] = this.size;
    this.canvases = this.names.map(() => make("canvas", {
      className: "nca-growth", role: "img", width: SCALE * width, height: SCALE * height,
    }));
    this.play = button("Play", "Play the growth from here, or stop", () => this.toggle());
    this.slider = slider("step", {
      min: 0, max: this.steps, step: 1, value: 0, text: (step) => `${step} of ${this.steps}`,
    }, (step) => { this.stop(); this.show(step); });
    const names = Object.keys(this.films);
    const look = choice("what is shown", names.map((view) => [view, view, this.views[view]]),
      this.view, (view) => { this.view = view; this.load(); });
    const growths = this.canvases.map((canvas, k) => (
      make("figure", {}, make("figcaption", {}, this.names[k]), canvas)));
    this.element.classList.add("nca-live", "nca-player");
    this.element.replaceChildren(make("style", {}, CSS),
      make("div", { className: "nca-growths" }, ...growths),
      make("div", { className: "nca-line nca-film" }, this.play, this.slider.element),
      make("div", { className: "nca-area nca-views" }, group("Look at", look.element)));
  }

  /** Decode the films of a view; the old pictures stay until the new ones are there. */
  async load() {
    const view = this.view, blobs = this.films[view].map((bytes) => new Blob([bytes]));
    const pictures = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
    if (view !== this.view) return; // another one was chosen meanwhile
    this.pictures = pictures;
    this.draw();
  }

  draw() {
    const [height, width] = this.size, { step, columns } = this;
    const x = (step % columns) * width, y = Math.floor(step / columns) * height;
    this.canvases.forEach((canvas, k) => {
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(this.pictures[k], x, y, width, height, 0, 0, canvas.width, canvas.height);
      const name = this.names[k] || "a picture";
      canvas.setAttribute("aria-label", `The growth of ${name} at step ${step}: ${this.view}`);
    });
  }

  show(step) {
    this.step = Math.min(Math.max(0, step), this.steps);
    this.slider.set(this.step);
    if (this.pictures) this.draw();
    if (!this.playing) this.told(this.step);
  }

  /** Play from the step that is shown, or from the beginning if it is the last. */
  toggle() {
    if (this.playing) return this.stop();
    if (this.step === this.steps) this.show(0);
    this.playing = true;
    this.play.textContent = "Stop";
    this.timer = setInterval(() => {
      this.show(this.step + 1);
      if (this.step === this.steps) this.stop();
    }, PAUSE);
  }

  stop() {
    if (!this.playing) return;
    clearInterval(this.timer);
    this.playing = false;
    this.play.textContent = "Play";
    this.told(this.step);
  }

  destroy() {
    this.stop();
    this.unfollow();
    this.element.replaceChildren();
  }
}

/** For anywidget. The model's `films` say what is played, `step` is the slider's place. */
function render({ model, el }) {
  const element = el.appendChild(make("div"));
  const told = (step) => { model.set("step", step); model.save_changes(); };
  let player;
  const build = () => {
    player?.destroy();
    player = new Player(element, model.get("recorded"), told);
    player.show(model.get("step"));
  };
  const moved = () => { if (model.get("step") !== player.step) player.show(model.get("step")); };
  build();
  model.on("change:recorded", build);
  model.on("change:step", moved);
  return () => {
    model.off("change:recorded", build);
    model.off("change:step", moved);
    player.destroy();
  };
}

export default { render };
