// A canvas that shows a picture (three bytes a cell: red, green, blue) and tells where it was erased, by pointer
// or by keys. A ring shows what the brush would erase.
const SCALE = 10; // screen pixels a cell
const ORANGE = "#d55e00";
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function render({ model, el }) {
  const [height, width] = model.get("size");
  const canvas = document.createElement("canvas");
  canvas.width = width * SCALE;
  canvas.height = height * SCALE;
  canvas.className = "nca-brush";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application"); // keys are for the canvas, not for the reader
  canvas.setAttribute("aria-label", model.get("label"));
  canvas.title = model.get("label");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // nor for JupyterLab
  Object.assign(canvas.style, {
    width: `${width * SCALE}px`, border: "1px solid #bbb", margin: "2px",
    cursor: "crosshair", touchAction: "none",
  });
  el.appendChild(canvas);

  const small = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  let points = []; // of the stroke that is being drawn, [x, y] in cells
  let pointer = null; // where it is, if it is over the canvas
  let down = false;

  const circle = ([x, y]) => {
    context.beginPath();
    context.arc(x * SCALE, y * SCALE, model.get("radius") * SCALE, 0, 7);
  };
  const target = () => [model.get("x") + 0.5, model.get("y") + 0.5]; // the middle of that cell
  const draw = () => {
    const bytes = model.get("picture"), picture = new ImageData(width, height);
    for (let i = 0; 3 * i < bytes.byteLength; i++) {
      const colour = [0, 1, 2].map((k) => bytes.getUint8(3 * i + k));
      picture.data.set([...colour, 255], 4 * i);
    }
    small.getContext("2d").putImageData(picture, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    context.fillStyle = context.strokeStyle = ORANGE;
    context.lineWidth = 2;
    for (const point of points) { circle(point); context.fill(); }
    circle(pointer ?? target());
    context.stroke();
  };
  const send = () => {
    if (!points.length) return;
    model.set("stroke", { number: (model.get("stroke").number ?? 0) + 1, points });
    model.save_changes();
    points = [];
  };
  const follow = (event) => {
    const box = canvas.getBoundingClientRect(), before = pointer;
    pointer = [
      ((event.clientX - box.left) / box.width) * width,
      ((event.clientY - box.top) / box.height) * height,
    ];
    if (down) { // a quick pointer jumps: fill the gap
      const from = points.length ? before : pointer;
      const far = Math.hypot(pointer[0] - from[0], pointer[1] - from[1]);
      const parts = Math.max(1, Math.ceil(far));
      for (let k = 1; k <= parts; k++) {
        points.push([0, 1].map((i) => from[i] + ((pointer[i] - from[i]) * k) / parts));
      }
    }
    draw();
  };
  const release = () => { down = false; send(); };

  canvas.addEventListener("pointerdown", (event) => {
    down = true;
    canvas.setPointerCapture(event.pointerId);
    follow(event);
  });
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { pointer = null; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault(); // no scrolling
    event.stopPropagation();
    pointer = null;
    if (move) {
      const to = (name, by, size) => Math.min(size - 1, Math.max(0, model.get(name) + by));
      model.set({ x: to("x", move[0], width), y: to("y", move[1], height) });
      model.save_changes();
    } else {
      points = [target()];
      draw();
      send();
    }
  });
  model.on("change:rounds change:x change:y change:radius", draw);
  draw();
}
export default { render };
