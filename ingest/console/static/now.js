// The page Now, while somebody looks: its parts as they change, and the chart. Without it the page is one moment.
"use strict";
(() => {
  const KEPT = 900; // seconds of the chart
  const data = [[], [], []]; // seconds since 1970, taken, stored
  let chart = null;

  // --- the chart ---
  const clock = new Intl.DateTimeFormat(window.ingest.locale, { hour: "2-digit", minute: "2-digit" });
  const exact = new Intl.DateTimeFormat(window.ingest.locale, { timeStyle: "medium" });
  const number = new Intl.NumberFormat(window.ingest.locale, { maximumFractionDigits: 1 });
  const place = () => document.getElementById("chart");

  function line(series) {
    const colour = window.ingest.colour(`series-${series}`);
    return { stroke: colour, width: 2, points: { show: false }, fill: series === 1 ? `${colour}22` : undefined };
  }
  function axis(values, size) {
    const quiet = window.ingest.colour("quiet"), grid = { stroke: window.ingest.colour("line"), width: 1 };
    return { stroke: quiet, grid, ticks: grid, values, size, font: "12px system-ui, sans-serif" };
  }
  function readOut(u) {
    const at = u.cursor.idx;
    for (const one of document.querySelectorAll("[data-value]")) {
      const value = at == null ? null : data[one.dataset.value][at];
      one.textContent = value == null ? "" : `${number.format(value)} · ${exact.format(data[0][at] * 1000)}`;
    }
  }
  function draw() {
    const box = place();
    if (!box || !window.uPlot) return;
    if (chart) chart.destroy();
    chart = null;
    box.textContent = "";
    if (data[0].length < 2) {
      box.append(Object.assign(document.createElement("p"), { textContent: box.dataset.empty }));
      return;
    }
    chart = new window.uPlot({
      width: box.clientWidth, height: 220, legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { range: () => span() }, y: { range: (_u, _low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [
        axis((_u, times) => times.map((time) => clock.format(time * 1000)), 30),
        axis((_u, values) => values.map((value) => number.format(value)), 52),
      ],
      series: [{}, line(1), line(2)],
      hooks: { setCursor: [readOut] },
    }, data, box);
  }
  function span() {
    const last = data[0][data[0].length - 1];
    return [last - KEPT, last];
  }
  function add(points, afresh) {
    if (afresh) for (const column of data) column.length = 0;
    for (const point of points) for (let i = 0; i < 3; i++) data[i].push(point[i]);
    const first = data[0].findIndex((at) => at >= data[0][data[0].length - 1] - KEPT);
    if (first > 0) for (const column of data) column.splice(0, first);
    if (chart) chart.setData(data); else draw();
  }

  // --- parts of the page ---
  const waiting = new Map(); // what somebody is reading or about to press is not replaced under their hands
  function isInUse(part) {
    const selection = document.getSelection();
    return part.contains(document.activeElement) || (!selection.isCollapsed && part.contains(selection.anchorNode))
      || part.querySelector("details[open]") !== null;
  }
  function put(name, text) {
    const part = document.getElementById(`now-${name}`);
    if (!part) return;
    if (isInUse(part)) { waiting.set(name, text); return; }
    waiting.delete(name);
    const scrolled = [...part.querySelectorAll(".table")].map((one) => one.scrollLeft);
    part.innerHTML = text; // ours, and escaped by the server
    part.querySelectorAll(".table").forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
    window.ingest.localTimes(part);
    if (name === "warnings") say(part);
  }
  function say(part) {
    const said = document.getElementById("said");
    const text = [...part.querySelectorAll("li")].map((one) => one.textContent.trim().split("\n")[0]).join(", ")
      || part.textContent.trim();
    if (said && said.dataset.text !== text.replace(/\d+/g, "")) {
      if (said.dataset.text !== undefined) said.textContent = text;
      said.dataset.text = text.replace(/\d+/g, ""); // numbers alone are no news
    }
  }
  function retry() { for (const [name, text] of [...waiting]) put(name, text); }

  // --- live ---
  function state(on) {
    const shown = document.getElementById("live");
    shown.dataset.state = on ? "on" : "off";
    const text = on ? shown.dataset.on : shown.dataset.off;
    if (shown.textContent !== text) shown.textContent = text;
  }
  function listen() {
    const source = window.ingest.source(document.getElementById("live").dataset.live);
    source.onopen = () => state(true);
    source.onerror = () => {
      state(false);
      if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(listen, 5000); }
    };
    source.addEventListener("history", (event) => add(JSON.parse(event.data), true));
    source.addEventListener("points", (event) => add(JSON.parse(event.data), false));
    for (const part of document.querySelectorAll("[id^='now-']")) {
      const name = part.id.slice("now-".length);
      source.addEventListener(name, (event) => put(name, event.data));
    }
  }
  document.addEventListener("DOMContentLoaded", () => {
    draw();
    say(document.getElementById("now-warnings"));
    listen();
    setInterval(retry, 1000);
    new ResizeObserver(() => {
      if (chart && place().clientWidth !== chart.width) chart.setSize({ width: place().clientWidth, height: 220 });
    }).observe(place());
  });
  document.addEventListener("theme-changed", draw);
})();
