// A tour of ten seconds: grow, cut, heal, become another digit, write like somebody.

const HAND = [ // a slanted, open 4, in two strokes: [x, y] from 0 to 1
  [[0.46, 0.17], [0.42, 0.3], [0.36, 0.43], [0.29, 0.56], [0.3, 0.59], [0.42, 0.57], [0.56, 0.53],
    [0.7, 0.49]],
  [[0.66, 0.3], [0.61, 0.45], [0.56, 0.6], [0.52, 0.74], [0.5, 0.86]],
];
const HAND_LABEL = 4;
const HEALING = 1 / 3; // of the usual speed

/** The first `share` of the points of all strokes. */
function begun(strokes, share) {
  let left = Math.round(share * strokes.flat().length);
  return strokes.map((stroke) => {
    const part = stroke.slice(0, left);
    left = Math.max(0, left - stroke.length);
    return part;
  }).filter((stroke) => stroke.length);
}

/** More points along a stroke, so that it is written evenly. */
function refined(stroke, parts = 6) {
  return stroke.flatMap(([x, y], k) => {
    const [nextX, nextY] = stroke[k + 1] ?? [x, y];
    return Array.from({ length: k + 1 < stroke.length ? parts : 1 }, (_, i) => [
      x + ((nextX - x) * i) / parts, y + ((nextY - y) * i) / parts]);
  });
}

/**
 * A slow cut across the middle: acts of [seconds, what is done]. Time stands still meanwhile, for
 * cells heal as fast as the eye follows.
 */
function cut(live, seconds) {
  const { height, width } = live.world, points = 18;
  return Array.from({ length: points }, (_, k) => [seconds / points, () => {
    const x = (0.12 + (0.76 * k) / (points - 1)) * width, y = (0.7 - 0.3 * (x / width)) * height;
    live.stage.ring = [y, x];
    live.world.grid.erase(y, x, live.stage.radius);
    live.draw();
  }]);
}

/** Handwriting over the empty paper, and on the pad. */
function written(live, strokes, seconds) {
  const moments = 24;
  return Array.from({ length: moments }, (_, k) => [seconds / moments, () => {
    live.stage.strokes = live.pad.strokes = begun(strokes, (k + 1) / moments);
    live.pad.finished = true; // the reader's next stroke begins a drawing of its own
    live.pad.draw();
    live.draw();
  }]);
}

/** All acts in turn, [seconds, what is done] each. They last ten seconds. */
export function acts(live) {
  const first = live.name(3), second = live.name(8), strokes = HAND.map((each) => refined(each));
  const begin = () => {
    live.tempo = 1;
    live.write(new Float32Array(live.world.style.length));
    live.setCanvas("one", true);
    live.show("ink");
    live.restart(3);
    live.setPlaying(true, false);
    live.say(`One cell grows into a ${first}.`);
  };
  const stand = () => { live.tempo = 0; live.say("Time stands still. Cut it ..."); };
  const heal = () => {
    live.tempo = HEALING;
    live.stage.ring = null;
    live.draw();
    live.say("... and it heals: each cell still knows what to be.");
  };
  const become = () => {
    live.tempo = 1;
    live.tell(8, true);
    live.say(`Told to be an ${second}, it becomes one.`);
  };
  const hush = () => { live.world.clear(); live.draw(); live.say("Now somebody writes a 4 ..."); };
  const all = () => {
    live.stage.strokes = null;
    live.setCanvas("all", true);
    live.usePicture(live.pad.picture(), HAND_LABEL);
    live.say("... and all digits grow in that hand. Try yours, on the pad.");
  };
  return [
    [2.0, begin], [0.2, stand], ...cut(live, 0.9), [0.2, () => {}], [1.6, heal],
    [1.8, become], [0.2, hush], ...written(live, strokes, 1.2), [0.3, () => {}], [1.6, all],
  ];
}
