// How the live rule looks. The colours are custom properties: a page may set its own.

export const CSS = `
.nca-live {
  --nca-paper: #fdfcf9; --nca-ink: #1d1f24; --nca-blue: #0072b2; --nca-orange: #d55e00;
  --nca-grey: #9a9a94; --nca-text: #1d1f24; --nca-quiet: #5d6167; --nca-line: #dcd8cf;
  --nca-button: #ffffff; --nca-accent: #0067a3; --nca-on-accent: #ffffff;
  container-type: inline-size; color: var(--nca-text); color-scheme: light;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
.nca-live[data-scheme="dark"] {
  --nca-paper: #1b1d21; --nca-ink: #f3f0e8; --nca-blue: #3d9fd6; --nca-orange: #f08a3c;
  --nca-grey: #7d8087; --nca-text: #ebe9e4; --nca-quiet: #a3a6ab; --nca-line: #3a3d43;
  --nca-button: #25282d; --nca-accent: #7cc0ea; --nca-on-accent: #101214; color-scheme: dark;
}
.nca-live *, .nca-live *::before { box-sizing: border-box; }
.nca-rows { display: grid; gap: 20px; }
.nca-rows > * { min-width: 0; }
@container (min-width: 700px) {
  .nca-rows { /* the picture is as large as the window lets labels below it be seen */
    grid-template-columns: minmax(0, clamp(300px, 100vh - 322px, 54cqw)) minmax(340px, 1fr);
    gap: 36px;
  }
}
.nca-stage {
  display: block; width: 100%; border: 1px solid var(--nca-line); border-radius: 10px;
  background: var(--nca-paper); cursor: crosshair; touch-action: none; user-select: none;
  -webkit-user-select: none; -webkit-touch-callout: none; image-rendering: pixelated;
}
.nca-live :focus-visible { outline: 3px solid var(--nca-accent); outline-offset: 2px; }
.nca-live p { margin: 0; }
.nca-said { margin-top: 8px; min-height: 4.35em; } /* three lines: no button moves with the words */
.nca-hint { min-height: 1.45em; font-weight: 600; color: var(--nca-accent); }
.nca-under { display: flex; gap: 12px; justify-content: space-between; }
.nca-status { color: var(--nca-quiet); }
.nca-steps { white-space: nowrap; color: var(--nca-quiet); font-variant-numeric: tabular-nums; }
.nca-area { display: grid; gap: 18px; align-content: start; container-type: inline-size; }
.nca-area fieldset { display: grid; gap: 8px; margin: 0; padding: 0; border: 0; min-width: 0; }
.nca-area legend { padding: 0 0 6px; font-weight: 600; }
.nca-line { display: flex; flex-wrap: wrap; gap: 8px; }
.nca-line > button { flex: 1 1 auto; }
.nca-labels { display: grid; grid-template-columns: repeat(5, 1fr); gap: 6px; }
.nca-labels.nca-names { grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); }
@container (min-width: 430px) {
  .nca-labels:not(.nca-names) { grid-template-columns: repeat(10, 1fr); }
}
.nca-live button, .nca-live select {
  min-height: 40px; padding: 0 12px; border: 1px solid var(--nca-line); border-radius: 8px;
  background: var(--nca-button); color: inherit; font: inherit; cursor: pointer;
}
.nca-live .nca-labels button { padding: 0; font-size: 18px; }
.nca-live .nca-names button { padding: 0 8px; font-size: 15px; }
.nca-live button:hover, .nca-live select:hover { border-color: var(--nca-accent); }
.nca-live button[aria-pressed="true"] {
  border-color: var(--nca-accent); color: var(--nca-accent); font-weight: 600;
  background: color-mix(in srgb, var(--nca-accent) 12%, var(--nca-button));
}
.nca-live .nca-labels button[aria-pressed="true"] {
  background: var(--nca-accent); color: var(--nca-on-accent);
}
.nca-live button:disabled { opacity: 0.4; cursor: default; }
.nca-choice { display: flex; }
.nca-choice button { flex: 1 1 0; min-width: 0; padding: 0 6px; border-radius: 0; }
.nca-choice button + button { margin-left: -1px; }
.nca-choice button:first-child { border-radius: 8px 0 0 8px; }
.nca-choice button:last-child { border-radius: 0 8px 8px 0; }
.nca-choice button[aria-pressed="true"] { position: relative; }
.nca-slider {
  display: grid; grid-template-columns: 4.6em minmax(0, 1fr) 6.4em; gap: 10px; align-items: center;
}
.nca-slider span { color: var(--nca-quiet); }
.nca-value { white-space: nowrap; font-variant-numeric: tabular-nums; text-align: right; }
.nca-slider input { width: 100%; height: 28px; margin: 0; accent-color: var(--nca-accent); }
.nca-keys { display: none; } /* shown in place of the hint while keys are for a canvas */
.nca-stage:focus-visible ~ .nca-said .nca-keys, .nca-hand:has(.nca-pad:focus-visible) .nca-keys {
  display: block;
}
.nca-stage:focus-visible ~ .nca-said .nca-hint, .nca-hand:has(.nca-pad:focus-visible) .nca-invitation {
  display: none;
}
.nca-hand {
  display: grid; gap: 8px 14px;
  grid: "pad words" auto "others others" auto / 150px minmax(0, 1fr);
}
.nca-words { grid-area: words; min-height: 40px; }
.nca-others { grid-area: others; display: grid; gap: 8px; align-content: start; }
.nca-live .nca-others button { padding: 0 6px; }
@container (min-width: 336px) {
  .nca-hand { grid: "words words" auto "pad others" auto / 150px minmax(0, 1fr); }
  .nca-others .nca-slider { grid-template-columns: 3.6em minmax(0, 1fr) 2.2em; }
}
.nca-live [hidden] { display: none; }
.nca-pad {
  grid-area: pad; display: block; width: 150px; height: 150px; border: 1px dashed var(--nca-quiet);
  border-radius: 10px; background: var(--nca-paper); color: var(--nca-ink); cursor: crosshair;
  touch-action: none;
}
.nca-words p { color: var(--nca-quiet); }
.nca-read { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
.nca-read canvas { width: 40px; height: 40px; border-radius: 4px; image-rendering: pixelated; }
.nca-field { display: flex; gap: 10px; align-items: center; justify-content: space-between; }
.nca-field > span { color: var(--nca-quiet); }
.nca-problem { padding: 12px; border: 1px solid var(--nca-orange); border-radius: 8px; }
.nca-growths { display: flex; flex-wrap: wrap; gap: 16px; margin-bottom: 12px; }
.nca-growths figure { margin: 0; max-width: 100%; }
.nca-growths figcaption { margin-bottom: 6px; font-weight: 600; }
.nca-growth { display: block; max-width: 100%; border: 1px solid var(--nca-line); border-radius: 8px; }
.nca-player { max-width: 600px; }
.nca-player .nca-film { display: grid; grid-template-columns: 88px minmax(0, 1fr); margin-bottom: 12px; }
.nca-player .nca-slider { grid-template-columns: auto minmax(0, 1fr) 5.6em; }
.nca-player .nca-views { max-width: 320px; }
`;
