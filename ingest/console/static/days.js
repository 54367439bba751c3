// The calendar by keyboard: arrows walk through its days, Page Up and Page Down through its pages.
"use strict";
(() => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };
  const links = () => [...document.querySelectorAll("[data-calendar] a[data-day]")];
  const day = (link) => Date.parse(`${link.pathname.split("/").pop()}T00:00:00Z`) / 86400000;

  function walk(link, step) {
    const wanted = day(link) + step;
    const next = links().find((other) => day(other) === wanted);
    if (next) next.focus();
    return Boolean(next);
  }
  function turn(selector) {
    const link = document.querySelector(selector);
    if (link) location.assign(link.href);
    return Boolean(link);
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest?.("[data-calendar] a[data-day]");
    let done = false;
    if (link && event.key in steps) done = walk(link, steps[event.key]);
    else if (link && event.key === "PageUp") done = turn("a[data-earlier]");
    else if (link && event.key === "PageDown") done = turn("a[data-later]");
    if (done) event.preventDefault();
  });
})();
