// A widget on a page without a kernel: what Jupyter saves of it, and a stand-in for its model.

/** Takes the place of anywidget's model; whatever is set stays on the page. */
export class PageModel {
  constructor(state) {
    this.state = state;
    this.heard = new Map(); // event -> functions
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    const changes = typeof name === "object" ? name : { [name]: value };
    Object.assign(this.state, changes);
    for (const key in changes) this.heard.get(`change:${key}`)?.forEach((hear) => hear());
  }

  on(event, hear) {
    this.heard.set(event, [...(this.heard.get(event) ?? []), hear]);
  }

  off(event, hear) {
    this.heard.set(event, (this.heard.get(event) ?? []).filter((each) => each !== hear));
  }

  save_changes() {} // there is nobody to tell
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
