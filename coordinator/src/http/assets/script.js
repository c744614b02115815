// Renews the page when the coordinator has news: asks for it again and replaces the sections that
// have changed. Everything shown is made by the server; without this script a reload does the same.
"use strict";

(() => {
  const EVERY_MS = 1000;
  const status = document.getElementById("live");
  let isWaiting = false;
  let isHidden = false;
  let newest = 0;

  const say = (text) => {
    if (status.textContent !== text) status.textContent = text;
  };

  // The end of a trainer's log, which a worker may have to be asked for.
  const fill = async (place) => {
    const answer = await fetch(place.dataset.text);
    const log = await answer.json();
    const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 4;
    place.textContent = answer.ok ? log.text || log.source : log.error;
    if (atEnd) place.scrollTop = place.scrollHeight;
  };
  const fillAll = () =>
    document.querySelectorAll("[data-text]").forEach((place) => fill(place).catch(() => {}));

  // A focused link keeps its focus when its section is replaced.
  const replace = (old, made) => {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const href = focused && focused.getAttribute("href");
    const isRegion = focused && focused.classList.contains("scroll");
    const scrolls = [...old.querySelectorAll(".scroll")].map((it) => it.scrollLeft);
    old.replaceWith(made);
    [...made.querySelectorAll(".scroll")].forEach((it, at) => (it.scrollLeft = scrolls[at] || 0));
    const again = href
      ? [...made.querySelectorAll("a")].find((link) => link.getAttribute("href") === href)
      : isRegion && made.querySelector(".scroll");
    if (again) again.focus({ preventScroll: true });
  };

  const renew = async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const section of made.querySelectorAll("main section[id], main p[id]")) {
      if (section.querySelector("[data-text]")) continue;
      const old = document.getElementById(section.id);
      if (!old) {
        location.reload();
        return;
      }
      if (old.outerHTML !== section.outerHTML) replace(old, document.importNode(section, true));
    }
    fillAll();
  };

  // One renewal at a time, and at most one a second.
  const news = () => {
    newest += 1;
    if (isWaiting || isHidden) return;
    isWaiting = true;
    const of = newest;
    renew()
      .catch(() => {})
      .then(() => new Promise((done) => setTimeout(done, EVERY_MS)))
      .then(() => {
        isWaiting = false;
        if (newest !== of) news();
      });
  };

  document.addEventListener("visibilitychange", () => {
    isHidden = document.hidden;
    if (!isHidden) news();
  });

  fillAll();
  let isFirst = true;
  const source = new EventSource("/api/v1/events");
  source.onopen = () => say("live");
  source.onerror = () => say("no connection: trying again");
  source.onmessage = () => {
    // What comes first is what the page was made of.
    if (isFirst) isFirst = false;
    else news();
  };
  addEventListener("pagehide", () => source.close());
})();
