"use strict";
// Brings the pieces of the page up to date. All HTML in them was escaped by the server.
(() => {
  const retry = 3000; // milliseconds
  const live = document.getElementById("live"), stale = document.getElementById("stale");
  const rooms = () => document.getElementById("rooms");
  const say = (text, on) => { live.textContent = text; live.classList.toggle("on", on); };
  const busy = () => document.querySelector("details[open]") || document.activeElement?.closest("main form");
  const parse = (html) => {
    const box = document.createElement("template");
    box.innerHTML = html;
    return box.content.firstElementChild;
  };
  // What the events do not carry is asked for as a whole; the end of the session ends the page.
  const renew = async () => {
    const answer = await fetch("/live");
    if (answer.status === 401) location.assign("/login");
    else if (answer.ok) rooms().replaceWith(parse(await answer.text()));
  };
  const pieces = (list) => {
    for (const [id, html] of Object.entries(list)) {
      const old = document.getElementById(id), now = parse(html);
      if (!old || !now || now.isEqualNode(old)) continue;
      const focused = old === document.activeElement;
      old.replaceWith(now);
      if (focused) now.focus();
    }
  };
  const watch = () => {
    const events = new EventSource("/events");
    events.addEventListener("open", () => say("live", true));
    events.addEventListener("error", () => {
      say("not live", false);
      if (events.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      // Another answer than events, such as that of a proxy while the server restarts.
      setTimeout(() => renew().catch(() => {}).finally(watch), retry);
    });
    events.addEventListener("layout", (e) => {
      if (e.data === rooms().dataset.layout) stale.hidden = true;
      else if (busy()) stale.hidden = false; // a form is being filled in
      else renew().catch(() => { stale.hidden = false; });
    });
    events.addEventListener("pieces", (e) => pieces(JSON.parse(e.data)));
  };
  watch();
})();
