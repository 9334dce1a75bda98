"use strict";
// Brings the pieces of the page up to date. All HTML in them was escaped by the server.
(() => {
  const live = document.getElementById("live");
  const events = new EventSource("/events");
  const say = (text, on) => { live.textContent = text; live.classList.toggle("on", on); };
  const busy = () => document.querySelector("details[open]") || document.activeElement?.closest("main form");
  events.addEventListener("open", () => say("live", true));
  events.addEventListener("error", () => say("not live", false));
  events.addEventListener("layout", (e) => {
    if (e.data === document.body.dataset.layout) return;
    if (busy()) document.getElementById("stale").hidden = false; // a form is being filled in
    else location.reload();
  });
  events.addEventListener("pieces", (e) => {
    for (const [id, html] of Object.entries(JSON.parse(e.data))) {
      const old = document.getElementById(id);
      if (!old) continue;
      const box = document.createElement("template");
      box.innerHTML = html;
      const now = box.content.firstElementChild;
      if (!now || now.isEqualNode(old)) continue;
      const focused = old === document.activeElement;
      old.replaceWith(now);
      if (focused) now.focus();
    }
  });
})();
