// Brings a chapter's widgets to life without a kernel: what Jupyter saves of each, and a stand-in for
// its model. make_site.py puts this module into the page.

/** Takes the place of anywidget's model; whatever is set stays on the page. */
class PageModel extends EventTarget {
  constructor(state) {
    super();
    Object.assign(this, {
      state, on: this.addEventListener, off: this.removeEventListener, save_changes() {},
    });
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    const changes = typeof name === "object" ? name : { [name]: value };
    Object.assign(this.state, changes);
    for (const key in changes) this.dispatchEvent(new Event(`change:${key}`));
  }
}

/** Show a widget whose module imports nothing: `saved` has its state, and buffers in base64. */
export async function mountSaved(element, esm, { state, buffers = [] }) {
  for (const { path, data } of buffers) {
    const owner = path.slice(0, -1).reduce((part, key) => part[key], state);
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    owner[path[path.length - 1]] = new DataView(bytes.buffer);
  }
  const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const { default: widget } = await import(address);
  URL.revokeObjectURL(address);
  const model = new PageModel(state);
  await widget.render({ model, el: element });
  return model;
}

const scripts = document.getElementById("nca-scripts"); // of all widgets on this page

for (const place of scripts ? document.querySelectorAll(".nca-saved") : []) {
  const { script, ...saved } = JSON.parse(place.querySelector("script").textContent);
  place.replaceChildren();
  mountSaved(place, JSON.parse(scripts.textContent)[script], saved);
}
