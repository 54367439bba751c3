// What pages do beyond reading and sending forms; without it, all of them still work.
"use strict";
(() => {
  const root = document.documentElement;

  // --- times, in the browser's zone and the page's language ---
  const options = { dateStyle: "medium", timeStyle: "medium" };
  const format = new Intl.DateTimeFormat(root.lang === "nl" ? "nl-NL" : "en-GB", options);
  function localTimes(within) {
    for (const time of within.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) time.textContent = format.format(at);
      time.dataset.local = "";
    }
  }

  // --- light and dark ---
  function isDark() {
    if (root.dataset.theme) return root.dataset.theme === "dark";
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function themeSwitch() {
    const button = document.querySelector("[data-theme-switch]");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* until the page is left */ }
      document.dispatchEvent(new CustomEvent("theme-changed"));
    });
  }

  // --- keys: / searches, j and k walk through rows, Enter opens one, ? lists them ---
  function typing(target) {
    return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
  }
  function walk(step) {
    const rows = [...document.querySelectorAll("[data-row] a[data-open], a[data-open]")];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(Math.max(at + step, 0), rows.length - 1)].focus();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
    const search = document.querySelector("[data-search]");
    const help = document.querySelector("dialog[data-help]");
    if (event.key === "/" && search) { event.preventDefault(); search.focus(); search.select(); }
    else if (event.key === "j") walk(1);
    else if (event.key === "k") walk(-1);
    else if (event.key === "?" && help) help.showModal();
  });

  document.addEventListener("DOMContentLoaded", () => {
    localTimes(document);
    themeSwitch();
  });
  document.addEventListener("htmx:afterSettle", (event) => localTimes(event.target));
  document.addEventListener("htmx:sseMessage", (event) => localTimes(event.target));
})();
