// A canvas that shows a picture (grey bytes, 0 is ink) and tells where the pointer erased.
function render({ model, el }) {
  const size = model.get("size");
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  canvas.className = "nca-brush";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", model.get("label"));
  canvas.title = model.get("label");
  Object.assign(canvas.style, {
    width: "280px", height: "280px", boxSizing: "border-box", imageRendering: "pixelated", border: "1px solid #ccc",
    cursor: "crosshair", touchAction: "none",
  });
  el.appendChild(canvas);
  const context = canvas.getContext("2d");
  let points = [], down = false;

  const draw = () => {
    const bytes = model.get("picture"), picture = context.createImageData(size, size);
    for (let i = 0; i < size * size; i++) {
      const grey = bytes.getUint8(i);
      picture.data.set([grey, grey, grey, 255], 4 * i);
    }
    context.putImageData(picture, 0, 0);
  };
  const touch = (x, y) => {
    points.push([x, y]);
    context.fillStyle = "#d55e00";
    context.beginPath();
    context.arc(x, y, model.get("radius"), 0, 7);
    context.fill();
  };
  const touchPointer = (event) => {
    const box = canvas.getBoundingClientRect();
    touch(((event.clientX - box.left) / box.width) * size, ((event.clientY - box.top) / box.height) * size);
  };
  const send = () => {
    if (points.length) {
      model.set("erased", points);
      model.save_changes();
      points = [];
    }
  };
  canvas.addEventListener("pointerdown", (event) => {
    down = true;
    canvas.setPointerCapture(event.pointerId);
    touchPointer(event);
  });
  canvas.addEventListener("pointermove", (event) => down && touchPointer(event));
  canvas.addEventListener("pointerup", () => { down = false; send(); });
  canvas.addEventListener("keydown", (event) => { // without a pointer: Enter erases the middle
    if (event.key === "Enter") { touch(size / 2, size / 2); send(); }
  });
  model.on("change:picture", draw);
  draw();
}
export default { render };
