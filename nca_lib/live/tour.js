// A tour of ten seconds: grow, cut, heal, become another digit, take on a handwriting.

const DRAWING = [ // a slanted, open 4, in two strokes: [x, y] from 0 to 1
  [[0.46, 0.17], [0.42, 0.3], [0.36, 0.43], [0.29, 0.56], [0.3, 0.59], [0.42, 0.57], [0.56, 0.53],
    [0.7, 0.49]],
  [[0.66, 0.3], [0.61, 0.45], [0.56, 0.6], [0.52, 0.74], [0.5, 0.86]],
];
const DRAWN_LABEL = 4;
const HEALING = 1 / 3; // of the usual speed

/** What of a drawing is written after this share of the time. */
function begun(strokes, share) {
  let left = share * strokes.flat().length; // points
  return strokes.map((stroke) => {
    const part = stroke.slice(0, Math.floor(left)), next = stroke[part.length];
    const last = part[part.length - 1], rest = left - part.length;
    if (last && next) part.push([0, 1].map((k) => last[k] + rest * (next[k] - last[k])));
    left = Math.max(0, left - stroke.length);
    return part;
  }).filter((part) => part.length);
}

/** `seconds` in `count` equal acts; `act` gets the share of the time that has passed, up to 1. */
function gradually(seconds, count, act) {
  return Array.from({ length: count }, (_, k) => [seconds / count, () => act((k + 1) / count)]);
}

/** A slow cut across the middle. Time stands still meanwhile: cells heal as fast as eyes follow. */
function cut(live, seconds) {
  const { height, width } = live.world;
  return gradually(seconds, 18, (share) => {
    const x = (0.08 + 0.8 * share) * width, y = (0.7 - 0.3 * (x / width)) * height;
    live.stage.ring = [y, x];
    live.world.grid.erase(y, x, live.stage.radius);
    live.draw();
  });
}

/** Handwriting over the empty paper, and on the pad. */
function written(live, seconds) {
  return gradually(seconds, 24, (share) => {
    live.stage.strokes = live.pad.strokes = begun(DRAWING, share);
    live.pad.finished = true; // the reader's next stroke begins a new drawing
    live.pad.draw();
    live.draw();
  });
}

/** All acts in turn, [seconds, what is done] each. They last ten seconds. */
export function acts(live) {
  const begin = () => {
    live.tempo = 1;
    live.setStyle(new Float32Array(live.world.style.length));
    live.setCanvas("one");
    live.show("ink");
    live.restart(3);
    live.setPlaying(true);
    live.say("One cell grows into a 3.");
  };
  const stand = () => { live.tempo = 0; live.say("Time stands still. Cut it ..."); };
  const heal = () => {
    live.tempo = HEALING;
    live.stage.ring = null;
    live.draw();
    live.say("... and it heals: every cell still receives the label.");
  };
  const become = () => {
    live.tempo = 1;
    live.setLabel(8);
    live.say("With the label of an 8, it turns into one.");
  };
  const hush = () => { live.world.clear(); live.draw(); live.say("Now somebody writes a 4 ..."); };
  const all = () => {
    live.stage.strokes = null;
    live.setCanvas("all");
    live.usePicture(live.pad.picture(), DRAWN_LABEL);
    live.say("... and all digits grow in that handwriting. Try yours, on the pad.");
  };
  return [
    [2.0, begin], [0.2, stand], ...cut(live, 0.9), [0.2, () => {}], [1.6, heal],
    [1.8, become], [0.2, hush], ...written(live, 1.2), [0.3, () => {}], [1.6, all],
  ];
}
