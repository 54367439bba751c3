// The list of events: remembered columns, the browser's zone, how long ago, and new events as they come.
"use strict";
(() => {
  const form = document.querySelector("form[data-events]");
  const list = () => document.querySelector("[data-rows]");
  const results = () => document.getElementById("results");

  // --- the form ---
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  function tellZone() {
    if (!form || !zone) return;
    form.elements.tz.value = zone;
    const said = form.querySelector("[data-zone]");
    if (said) said.textContent = said.textContent.replace(said.dataset.zone, zone);
    if (said) said.dataset.zone = zone;
  }
  // What is empty does not belong into the address; nor does the zone, unless there is a time.
  function shorten(parameters) {
    const timed = parameters.get("since") || parameters.get("until");
    for (const name of new Set(parameters.keys())) {
      if (parameters.getAll(name).every((value) => value === "") || (name === "tz" && !timed)) parameters.delete(name);
    }
    const chosen = parameters.getAll("col");
    if (form && chosen.join() === standard) parameters.delete("col");
  }
  const KEY = "events-columns";
  const boxes = form ? [...form.querySelectorAll("input[name=col]")] : [];
  const standard = "ago,recipient,detail,mailing,tags";
  function remember() {
    try { localStorage.setItem(KEY, boxes.filter((box) => box.checked).map((box) => box.value).join()); } catch { /* not kept */ }
  }
  function recall() {
    let kept = null;
    try { kept = localStorage.getItem(KEY); } catch { /* none */ }
    if (!form || kept === null || kept === standard || new URLSearchParams(location.search).has("col")) return;
    const chosen = kept.split(",");
    if (!boxes.some((box) => chosen.includes(box.value))) return;
    for (const box of boxes) box.checked = chosen.includes(box.value);
    window.htmx?.trigger(form, "submit");
  }
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt === form) shorten(event.detail.formData);
  });
  form?.addEventListener("submit", () => { // where the whole page is loaded
    for (const field of form.elements) {
      if (field.name && field.value === "") field.disabled = true;
    }
    setTimeout(() => { for (const field of form.elements) field.disabled = false; });
  });
  form?.addEventListener("change", (event) => { if (event.target.name === "col") remember(); });

  // --- how long ago ---
  const words = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  function ago() {
    for (const cell of document.querySelectorAll("[data-ago]")) {
      const seconds = (Number(cell.dataset.ago) - Date.now()) / 1000;
      const [unit, length] = units.find(([, one]) => Math.abs(seconds) >= one * 2) ?? units[3];
      cell.textContent = words.format(Math.round(seconds / length), unit);
    }
  }
  setInterval(() => { if (!document.hidden) ago(); }, 15000);

  // --- new events ---
  const MOST = 200; // rows that are kept
  const AGAIN = 5000; // milliseconds after which is asked again what was refused
  let source = null;
  let held = []; // rows that came while somebody pointed at the list, or marked something in it
  function pointing() {
    const rows = list();
    if (!rows) return false;
    const marked = getSelection();
    return rows.matches(":hover") || rows.contains(document.activeElement)
      || Boolean(marked && !marked.isCollapsed && rows.contains(marked.anchorNode));
  }
  function insert() {
    const rows = list();
    if (!rows || !held.length || pointing()) return;
    const part = document.createElement("template");
    part.innerHTML = held.reverse().join("");
    held = [];
    for (const row of part.content.querySelectorAll("tr")) row.dataset.new = "";
    rows.prepend(part.content);
    while (rows.rows.length > MOST) rows.lastElementChild.remove();
    document.dispatchEvent(new CustomEvent("rows-added"));
    ago();
  }
  function say(text, state) {
    const said = document.querySelector("[data-live-state]");
    if (!said) return;
    said.hidden = text === "";
    if (said.textContent !== text) said.textContent = text;
    said.dataset.state = state;
  }
  function stop() {
    source?.close();
    source = null;
    held = [];
    say("", "off");
    document.querySelector("[data-live]")?.setAttribute("aria-pressed", "false");
  }
  function start() {
    stop();
    const query = results()?.dataset.query ?? "";
    document.querySelector("[data-live]")?.setAttribute("aria-pressed", "true");
    const address = `/live/events?${query}`;
    const mine = source = new EventSource(address);
    source.addEventListener("open", () => window.ingest.ended(false));
    source.addEventListener("rows", (event) => {
      const news = JSON.parse(event.data);
      if (news.rows && !list()) { window.htmx?.trigger(form, "submit"); return; } // the first event of all
      if (news.rows) held.push(news.rows);
      if (held.length > 20) held.shift();
      insert();
      say(held.length ? document.querySelector("[data-live-state]")?.dataset.held ?? "" : news.said.trim(), news.state);
    });
    source.addEventListener("error", () => {
      say("…", "away");
      if (mine.readyState !== EventSource.CLOSED) return; // the browser asks again by itself
      window.ingest.refused(address);
      setTimeout(() => { if (source === mine) start(); }, AGAIN);
    });
  }
  function offer() {
    const button = document.querySelector("[data-live]");
    if (button) button.hidden = false;
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-live]")) (source ? stop : start)();
  });
  document.addEventListener("htmx:afterSettle", () => {
    const was = source !== null;
    offer();
    ago();
    if (was && document.querySelector("[data-live]")) start();
    else if (was) stop();
  });
  setInterval(insert, 500);
  addEventListener("pagehide", stop);

  tellZone();
  offer();
  ago();
  document.addEventListener("DOMContentLoaded", recall); // htmx knows the form by then
})();
