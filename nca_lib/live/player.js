// The growth player: recorded growths, a slider that scrubs them, play, and a choice of views.
//
// All pictures are here from the start: moving the slider asks no kernel, and a page without Python
// plays as well as a notebook.

import { between, button, choice, group, make, slider } from "./controls.js";
import CSS from "./style.css";
import { followScheme } from "./scheme.js";

const SCALE = 10; // canvas pixels a cell
const PAUSE = 80; // milliseconds that a step is shown while the player plays

class Player {
  /**
   * @param recorded  names of the growths; films {view: [PNG bytes of each growth]}, all steps row
   *                  by row in one picture; views {view: what it shows}; size [height, width] of a
   *                  step in cells; steps, the number of the last picture (the first is step 0)
   * @param moved     called with the step that the reader chose
   */
  constructor(element, recorded, moved) {
    Object.assign(this, { element, ...recorded, moved, step: 0, timer: null, view: "ink" });
    this.columns = Math.ceil(Math.sqrt(this.steps + 1));
    this.build();
    this.unfollow = followScheme(element);
    this.load();
  }

  build() {
    const [height, width] = this.size, { steps, views } = this;
    this.canvases = this.names.map(() => make("canvas", {
      className: "nca-growth", role: "img", width: SCALE * width, height: SCALE * height,
    }));
    this.play = button("Play", "Play the growth from here, or stop", () => this.toggle());
    this.slider = slider("step", {
      min: 0, max: steps, step: 1, value: 0, text: (step) => `${step} of ${steps}`,
    }, (step) => { this.stop(); this.show(step); });
    const options = Object.keys(this.films).map((view) => [view, view, views[view]]);
    const look = choice("what is shown", options, this.view,
      (view) => { this.view = view; this.load(); });
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
    if (view !== this.view) return; // a different view was chosen meanwhile
    this.pictures = pictures;
    this.draw();
  }

  draw() {
    const [height, width] = this.size, { step, columns } = this;
    const x = (step % columns) * width, y = Math.floor(step / columns) * height;
    this.canvases.forEach((canvas, k) => {
      const context = canvas.getContext("2d"), name = this.names[k] || "a picture";
      context.imageSmoothingEnabled = false;
      context.drawImage(this.pictures[k], x, y, width, height, 0, 0, canvas.width, canvas.height);
      canvas.setAttribute("aria-label", `The growth of ${name} at step ${step}: ${this.view}`);
    });
  }

  show(step) {
    this.step = between(step, 0, this.steps);
    this.slider.set(this.step);
    if (this.pictures) this.draw();
    if (!this.timer) this.moved(this.step);
  }

  /** Play from the step that is shown, or from the start if it is the last. */
  toggle() {
    if (this.timer) return this.stop();
    if (this.step === this.steps) this.show(0);
    this.play.textContent = "Stop";
    this.timer = setInterval(() => {
      this.show(this.step + 1);
      if (this.step === this.steps) this.stop();
    }, PAUSE);
  }

  stop() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
    this.moved(this.step);
  }

  destroy() {
    this.stop();
    this.unfollow();
    this.element.replaceChildren();
  }
}

/** For anywidget. `recorded` says what is played, `step` where the slider is. */
function render({ model: widget, el }) {
  const element = el.appendChild(make("div"));
  const moved = (step) => { widget.set("step", step); widget.save_changes(); };
  const player = new Player(element, widget.get("recorded"), moved);
  const move = () => { if (widget.get("step") !== player.step) player.show(widget.get("step")); };
  move();
  widget.on("change:step", move);
  return () => {
    widget.off("change:step", move);
    player.destroy();
  };
}

export default { render };
