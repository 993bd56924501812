"use strict";
/* Keeps the figures of a page fresh while somebody looks at it; without it, the page is as it was when it was loaded. */
(() => {
  const script = document.currentScript;
  const places = document.querySelectorAll("[data-live]");
  const table = document.querySelector("[data-live-calls]");
  if (!script || !window.EventSource || !(places.length || table)) return;
  let source = null;

  const fill = (row, call) => {
    for (const cell of row.querySelectorAll("[data-part]")) {
      const part = cell.dataset.part;
      const text = part === "at" ? moment(call.at) : String(call[part] ?? "");
      const link = cell.querySelector("a");
      if (link && part === "user" && call.user) {
        const url = new URL(link.href);
        url.searchParams.set("value", call.user);
        link.href = url.pathname + url.search;
      } else if (link && part === "user") {
        cell.textContent = "without a user";
        cell.className = "soft";
        continue;
      }
      (cell.querySelector("bdi") || link || cell).textContent = text;
    }
    row.dataset.id = call.id;
  };

  const moment = (at) =>
    new Intl.DateTimeFormat("sv-SE", { timeZone: table.dataset.zone, dateStyle: "short", timeStyle: "medium" }).format(at);

  const showCalls = (calls) => {
    const model = document.getElementById("live-call");
    if (!model) return;
    const seen = new Set([...table.querySelectorAll("tr[data-id]")].map((row) => row.dataset.id));
    for (const call of calls.filter((each) => !seen.has(each.id)).reverse()) {
      const row = document.importNode(model.content.firstElementChild, true);  // its links are relative to this page
      fill(row, call);
      table.prepend(row);
    }
    const rows = table.querySelectorAll("tr[data-id]");
    for (let at = Number(table.dataset.most || 100); at < rows.length; at += 1) rows[at].remove();
  };

  const take = (event) => {
    const said = JSON.parse(event.data);
    for (const place of places) {
      const text = said.live[place.dataset.live];
      if (text !== undefined && place.textContent !== text) place.textContent = text;
    }
    if (table) showCalls(said.calls);
  };

  /* A browser has few connections to one host: a page that nobody sees holds none. */
  const follow = () => {
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else if (!source) {
      source = new EventSource(script.dataset.events);
      source.addEventListener("message", take);
    }
  };
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => { if (source) source.close(); source = null; });
  window.addEventListener("pageshow", follow);
  follow();
})();
