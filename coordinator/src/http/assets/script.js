// Renews the page when the coordinator has news: asks for it again and replaces the sections that
// have changed. Everything shown is made by the server; without this script a reload does the same.
"use strict";

(() => {
  const EVERY_MS = 1000;
  const status = document.getElementById("live");

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
    let above = null;
    for (const section of made.querySelectorAll("main section[id], main p[id]")) {
      const old = document.getElementById(section.id);
      if (!old) {
        const added = document.importNode(section, true);
        if (above) above.after(added);
        else document.querySelector("main").append(added);
      } else if (!section.querySelector("[data-text]") && old.outerHTML !== section.outerHTML) {
        replace(old, document.importNode(section, true));
      }
      above = document.getElementById(section.id);
    }
    fillAll();
  };

  // One renewal at a time, the slower the rarer; and one more after the last news, for what was
  // not stored yet or was made for another reader before them.
  let wanted = 0;
  let isRenewing = false;
  const news = async () => {
    wanted = 2;
    if (isRenewing) return;
    isRenewing = true;
    while (wanted > 0 && !document.hidden) {
      wanted -= 1;
      const begun = performance.now();
      await renew().catch(() => {});
      const rest = Math.max(EVERY_MS, 3 * (performance.now() - begun));
      await new Promise((done) => setTimeout(done, rest));
    }
    isRenewing = false;
  };

  // A page that nobody sees holds no connection: a browser has six for all its windows.
  let source = null;
  const listen = () => {
    if (source) source.close();
    source = null;
    if (document.hidden) return;
    source = new EventSource("/api/v1/events");
    source.onopen = () => say("live");
    source.onerror = () => say("no connection: trying again");
    source.onmessage = news;
  };
  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());

  fillAll();
  listen();
})();
