// What a live model and Python send each other: the label, the style and the cell state.

const LOOK = 250; // milliseconds between two looks at what has changed
const EVERY = 2000; // milliseconds between two states, while time runs

const same = (a, b) => a.length === b.length && a.every((value, k) => value === b[k]);

/** Connect a live model to the traits of `LiveDigit`. Returns how to disconnect. */
export function connect(widget, live) {
  let sent = { style: [], cells: [] }, last = 0; // at first everything is new
  const look = () => {
    if (live.playing && performance.now() - last < EVERY) return;
    const { label, style, grid, height, width } = live.world, cells = grid.read();
    if (label === sent.label && same(style, sent.style) && same(cells, sent.cells)) return;
    widget.set({ label, style_values: Array.from(style),
      from_browser: { size: [height, width], cells: new DataView(cells.buffer) } });
    widget.save_changes();
    sent = { label, style, cells }, last = performance.now();
  };
  const listeners = {
    "change:label": () => {
      if (widget.get("label") !== live.world.label) live.setLabel(widget.get("label"));
    },
    "change:style_values": () => {
      const style = widget.get("style_values");
      if (!same(style, live.world.style)) live.setStyle(style);
    },
    "change:from_python": () => {
      const { size, cells } = widget.get("from_python"), from = cells.byteOffset;
      live.take(size, new Float32Array(cells.buffer.slice(from, from + cells.byteLength)));
    },
  };
  for (const [name, listener] of Object.entries(listeners)) widget.on(name, listener);
  const timer = setInterval(look, LOOK);
  return () => {
    clearInterval(timer);
    for (const [name, listener] of Object.entries(listeners)) widget.off(name, listener);
  };
}
