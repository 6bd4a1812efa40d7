// Names, keys, elements and controls of which the panel is made.

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
 * Fingers on this element are ours alone. Otherwise a quick stroke counts as a scroll that glides
 * on, and the next tap, on a button, only stops it.
 */
export function keepTouches(element) {
  element.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
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

/** A slider with its name and what it stands at; `text` says a value in words. */
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

/** Buttons of which one is pressed: `options` are [value, text, title]. */
export function choice(name, options, value, chosen, className = "nca-choice") {
  const element = make("div", { className, role: "group", "aria-label": name });
  const buttons = options.map(([own, text, title]) => {
    const button = make("button", { type: "button", title: title ?? "" }, text);
    button.addEventListener("click", () => { set(own); chosen(own); });
    return [own, button];
  });
  const set = (value) => {
    for (const [own, button] of buttons) button.setAttribute("aria-pressed", own === value);
  };
  element.append(...buttons.map(([, button]) => button));
  set(value);
  return { element, set, buttons: new Map(buttons) };
}

export function button(text, title, pressed) {
  const element = make("button", { type: "button", title }, text);
  element.addEventListener("click", pressed);
  return element;
}

export function group(name, ...children) {
  return make("fieldset", {}, make("legend", {}, name), ...children);
}

/** A list to choose a label of the rule from; `first` are options before its classes. */
export function labelList(rule, title, ...first) {
  const options = rule.known.map((label) => make("option", { value: label }, rule.classes[label]));
  return make("select", { title }, ...first, ...options);
}
