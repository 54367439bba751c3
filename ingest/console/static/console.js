// What pages do beyond reading and sending forms; without it, all of them still work.
"use strict";
(() => {
  const root = document.documentElement;

  // --- times, in the browser's zone and the page's language ---
  const locale = root.lang === "nl" ? "nl-NL" : "en-GB";
  const format = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
  function localTimes(within) {
    for (const time of within.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) time.textContent = (time.dataset.show === "clock" ? clock : format).format(at);
      time.dataset.local = "";
    }
  }

  // --- times that are typed: in the browser's zone, unless they came with another one that the page names ---
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const typed = (at) => new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
  function localFields() {
    for (const field of document.querySelectorAll("input[data-tz]")) {
      const times = [...field.form.querySelectorAll("input[type=datetime-local]")];
      if (!zone || times.some((one) => one.value && !one.dataset.at)) continue;
      for (const one of times) if (one.dataset.at) one.value = typed(new Date(one.dataset.at));
      field.value = zone;
      const said = document.querySelector("[data-zone]");
      if (said) said.textContent = said.textContent.replace(said.dataset.zone, zone);
    }
  }

  // --- light and dark ---
  function isDark() {
    if (root.dataset.theme) return root.dataset.theme === "dark";
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function themeChanged() { document.dispatchEvent(new CustomEvent("theme-changed")); }
  function otherTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* until the page is left */ }
    themeChanged();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themeChanged);

  // --- a session that ends while its page is open: nothing that is live comes any more, and no browser says why ---
  function ended(is) {
    const said = document.querySelector("[data-ended]");
    if (!said) return;
    said.querySelector("a").href = `/login?ended=1&next=${encodeURIComponent(location.pathname + location.search)}`;
    if (said.hidden === is) said.hidden = !is;
  }
  async function refused(url) {
    try { ended((await fetch(url, { method: "HEAD" })).status === 401); } catch { /* it is away: that is said elsewhere */ }
  }

  // --- what is live: one connection for each page, and only while it is seen, since a browser has six for all ---
  function source(url) {
    const listening = [];
    const outer = { onopen: null, onerror: null, addEventListener, removeEventListener, close };
    let real = null, closed = false;
    Object.defineProperty(outer, "readyState", { get: () => (real ? real.readyState : closed ? 2 : 0) });
    function addEventListener(name, act) {
      listening.push([name, act]);
      if (real) real.addEventListener(name, act);
    }
    function removeEventListener(name, act) {
      const at = listening.findIndex((one) => one[0] === name && one[1] === act);
      if (at >= 0) listening.splice(at, 1);
      if (real) real.removeEventListener(name, act);
    }
    function open() {
      if (closed || real || document.hidden) return;
      real = new EventSource(url);
      for (const [name, act] of listening) real.addEventListener(name, act);
      real.onopen = (event) => { ended(false); if (outer.onopen) outer.onopen(event); };
      real.onerror = (event) => {
        if (real?.readyState === EventSource.CLOSED) refused(url);
        if (outer.onerror) outer.onerror(event);
      };
    }
    function pause() { if (real) { real.close(); real = null; } }
    function seen() { if (document.hidden) pause(); else open(); }
    function close() { closed = true; pause(); document.removeEventListener("visibilitychange", seen); }
    document.addEventListener("visibilitychange", seen);
    window.addEventListener("pagehide", pause);
    window.addEventListener("pageshow", open);
    open();
    return outer;
  }
  if (window.htmx) htmx.createEventSource = source;

  // For what draws charts: a colour by its name in console.css, as it is in the theme of this moment.
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  window.ingest = { colour, ended, locale, localTimes, refused, source };

  // --- keys ---
  function typing(target) {
    return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
  }
  function walk(step) {
    const rows = [...document.querySelectorAll("a[data-open]")];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(Math.max(at + step, 0), rows.length - 1)].focus();
  }
  function help() {
    const dialog = document.querySelector("dialog[data-help]");
    if (dialog && !dialog.open) dialog.showModal();
  }
  let going = 0; // since when `g` has been pressed
  function go(key) {
    for (const link of document.querySelectorAll(".side a[data-key]")) {
      if (link.dataset.key === key) location.assign(link.href);
    }
  }
  const actions = { j: () => walk(1), k: () => walk(-1), "?": help, t: otherTheme, g: () => { going = Date.now(); } };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const search = document.querySelector("[data-search]");
    if (Date.now() - going < 1500) { going = 0; go(event.key); return; }
    if (event.key === "/" && search) { event.preventDefault(); search.focus(); search.select(); return; }
    if (Object.hasOwn(actions, event.key)) actions[event.key]();
  });

  function offer(selector, act) {
    const button = document.querySelector(selector);
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", act);
  }
  document.addEventListener("DOMContentLoaded", () => {
    localTimes(document);
    localFields();
    offer("[data-theme-switch]", otherTheme);
    offer("[data-help-button]", help);
  });
  document.addEventListener("keydown", (event) => {
    const menu = document.querySelector("details.menu[open]");
    if (event.key === "Escape" && menu) { menu.open = false; menu.querySelector("summary").focus(); }
  });
  document.addEventListener("htmx:afterSettle", (event) => localTimes(event.target));
  document.addEventListener("htmx:sseMessage", (event) => localTimes(event.target));
  // What a script asked for did not come: say so, as nothing else would.
  function failed() {
    const said = document.querySelector("[data-failed]");
    if (said) said.hidden = false;
  }
  for (const name of ["htmx:responseError", "htmx:sendError"]) document.addEventListener(name, failed);
})();
