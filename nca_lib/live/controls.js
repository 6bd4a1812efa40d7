// Elements and controls that the panel, the canvases and the player are made of.

/** Where the arrow keys go, [down, right]. */
export const MOVES = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
};

export const between = (value, least, most) => Math.min(most, Math.max(least, value));

/** A name with its article. */
export function an(name) {
  return `${/^(8|11$|18$|[aeio])/i.test(name) ? "an" : "a"} ${name}`;
}

/**
 * An element with properties and children; names with a hyphen are attributes.
 * Keys pressed in it are its own: JupyterLab would take arrows and Enter for its shortcuts.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/**
 * A canvas that takes pointer and keys; `on` are functions for its events. Touches don't scroll:
 * otherwise a quick stroke counts as a scroll that glides on, and the next tap only stops it.
 */
export function makeCanvas(properties, on) {
  const canvas = make("canvas", { tabIndex: 0, role: "application", ...properties });
  canvas.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  for (const [name, handle] of Object.entries(on)) canvas.addEventListener(name, handle);
  return canvas;
}

/** Keep a key press from scrolling the page, and from a notebook's shortcuts. */
export function consume(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** A slider with its name and its value; `text` puts a value into words. */
export function slider(name, { min, max, step, value, text }, changed) {
  const input = make("input", { type: "range", min, max, step, value });
  const shown = make("span", { className: "nca-value", "aria-hidden": "true" });
  const show = () => {
    shown.textContent = text(+input.value);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { show(); changed(+input.value); });
  const element = make("label", { className: "nca-slider" }, make("span", {}, name), input, shown);
  show();
  return { element, set(value) { input.value = value; show(); } };
}

export function button(text, title, pressed) {
  const element = make("button", { type: "button", title }, text);
  element.addEventListener("click", pressed);
  return element;
}

/** Buttons of which one is pressed: `options` are [value, text, title]. */
export function choice(name, options, value, chosen, className = "nca-choice") {
  const buttons = new Map(options.map(([own, text, title = ""]) => (
    [own, button(text, title, () => { set(own); chosen(own); })])));
  const set = (value) => {
    for (const [own, each] of buttons) each.setAttribute("aria-pressed", own === value);
  };
  set(value);
  const properties = { className, role: "group", "aria-label": name };
  return { element: make("div", properties, ...buttons.values()), set, buttons };
}

export function group(name, ...children) {
  return make("fieldset", {}, make("legend", {}, name), ...children);
}

/** A list of the model's labels; `first` are options before them. */
export function labelList(model, title, ...first) {
  const option = (label) => make("option", { value: label }, model.classes[label]);
  return make("select", { title }, ...first, ...model.trainedLabels.map(option));
}
