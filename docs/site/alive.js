// Brings a chapter's widgets to life. make_site.py puts it behind page_model.js into the page.

const scripts = JSON.parse(document.getElementById("nca-scripts").textContent);

for (const place of document.querySelectorAll(".nca-saved")) {
  const { script, ...saved } = JSON.parse(place.querySelector("script").textContent);
  place.replaceChildren();
  mountSaved(place, scripts[script], saved);
}
