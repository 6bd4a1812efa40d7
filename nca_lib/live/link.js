// What a widget and Python tell each other: the label, the style, and the cell state.

const LOOK = 250; // milliseconds between two looks at what has changed
const EVERY = 2000; // milliseconds between two states, while time runs

const same = (a, b) => a.length === b.length && a.every((value, k) => value === b[k]);

/** Join a live rule to anywidget's model. Returns how to part them. */
export function connect(model, live) {
  const now = () => ({ label: live.world.label, style: Array.from(live.world.style),
    cells: live.world.grid.read() });
  let sent = { style: [], cells: [] }, last = 0; // at first everything is new

  const send = (seen) => {
    const { height, width } = live.world;
    model.set({ label: seen.label, code: seen.style,
      seen: { size: [height, width], cells: new DataView(seen.cells.buffer) } });
    model.save_changes();
    sent = seen, last = performance.now();
  };
  const look = () => {
    if (live.playing && performance.now() - last < EVERY) return;
    const seen = now();
    const changed = seen.label !== sent.label || !same(seen.style, sent.style);
    if (changed || !same(seen.cells, sent.cells)) send(seen);
  };
  const heard = {
    "change:label": () => {
      if (model.get("label") !== live.world.label) live.tell(model.get("label"));
    },
    "change:code": () => {
      if (!same(model.get("code"), Array.from(live.world.style))) live.write(model.get("code"));
    },
    "change:told": () => {
      const { size, cells } = model.get("told"), from = cells.byteOffset;
      live.take(size, new Float32Array(cells.buffer.slice(from, from + cells.byteLength)));
    },
  };
  for (const [name, hear] of Object.entries(heard)) model.on(name, hear);
  const timer = setInterval(look, LOOK);
  return () => {
    clearInterval(timer);
    for (const [name, hear] of Object.entries(heard)) model.off(name, hear);
  };
}
