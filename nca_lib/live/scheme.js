// Light or dark: as the page around the widget says, and where none does, as the system says.

/** The scheme in a body's data: of JupyterLab, an editor, this project's site; or the system's. */
function schemeOf({ jpThemeLight, vscodeThemeKind, theme }, system) {
  if (jpThemeLight) return jpThemeLight === "true" ? "light" : "dark";
  if (vscodeThemeKind) return vscodeThemeKind.endsWith("dark") ? "dark" : "light";
  return theme === "light" || theme === "dark" ? theme : system;
}

/** Keep an element's `data-scheme` up to date; `changed` is called after. Returns how to stop. */
export function followScheme(element, changed = () => {}) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const update = () => {
    element.dataset.scheme = schemeOf(document.body.dataset, dark.matches ? "dark" : "light");
    changed();
  };
  const observer = new MutationObserver(update);
  observer.observe(document.body, { attributes: true });
  dark.addEventListener("change", update);
  update();
  return () => {
    observer.disconnect();
    dark.removeEventListener("change", update);
  };
}
