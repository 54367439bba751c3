// Charts of mailings since sending, and a page that looks for more while a mailing lands. Each chart has its table.
"use strict";
(() => {
  const HEIGHT = 260, EVERY = 10000;
  const WHOLE = [1, 2, 3, 6, 12, 24, 48, 72, 96, 168, 336, 720, 1440, 2880, 8640]; // hours between two marks
  const DAY = 24, LONG = 72; // hours; a longer chart counts days
  const number = new Intl.NumberFormat(window.ingest.locale, { maximumFractionDigits: 0 });
  const tenths = new Intl.NumberFormat(window.ingest.locale, { maximumFractionDigits: 1 });
  const short = new Intl.NumberFormat(window.ingest.locale, { notation: "compact", maximumFractionDigits: 2 });
  const charts = new Map();

  function since(box, hours, inDays) {
    return (inDays ? box.dataset.days : box.dataset.hours).replace("#", inDays ? tenths.format(hours / 24) : number.format(hours));
  }
  function axis(values, size) {
    const line = { stroke: window.ingest.colour("line"), width: 1 };
    return { stroke: window.ingest.colour("quiet"), grid: line, ticks: line, values, size, font: "12px system-ui, sans-serif" };
  }
  function draw(box) {
    const given = JSON.parse(box.dataset.chart);
    if (charts.has(box)) charts.get(box).destroy();
    charts.delete(box);
    if (!window.uPlot || !given.hours.length) return;
    const readout = document.createElement("p");
    readout.className = "quiet small";
    readout.setAttribute("aria-hidden", "true");
    box.textContent = "";
    // A line begins at its sending, with nothing.
    const data = [[0, ...given.hours], ...given.lines.map((line) => [0, ...line])];
    const inDays = given.hours[given.hours.length - 1] > LONG;
    const dashes = [undefined, [8, 4], [3, 3], [10, 3, 2, 3]]; // not told apart by colour alone
    const series = given.lines.map((_line, at) => ({
      stroke: window.ingest.colour(`series-${at + 1}`), width: 2, dash: dashes[at], points: { show: data[0].length < 3 },
    }));
    const chart = new window.uPlot({
      width: box.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: false }, y: { range: (_u, _low, high) => [0, Math.max(1, high * 1.05)] } },
      axes: [
        { ...axis((_u, values) => values.map((value) => since(box, value, inDays)), 30), incrs: inDays ? WHOLE.filter((step) => step >= DAY) : WHOLE },
        axis((_u, values) => values.map((value) => (Number.isInteger(value) ? short.format(value) : "")), 56),
      ],
      series: [{}, ...series],
      hooks: { setCursor: [(u) => {
        const at = u.cursor.idx;
        readout.textContent = at == null ? "\u00a0" : [since(box, data[0][at], data[0][at] > LONG),
          ...given.names.map((name, line) => `${name} ${number.format(data[line + 1][at])}`)].join(" · ");
      }] },
    }, data, box);
    readout.textContent = "\u00a0";
    box.append(readout);
    charts.set(box, chart);
  }
  function drawAll() { for (const box of document.querySelectorAll("[data-chart]")) draw(box); }
  function fit() {
    for (const [box, chart] of charts) {
      if (!box.isConnected) { chart.destroy(); charts.delete(box); }
      else if (box.clientWidth !== chart.width) chart.setSize({ width: box.clientWidth, height: HEIGHT });
    }
  }

  // --- while it lands ---
  function isRead(part) {
    const selection = document.getSelection();
    return part.contains(document.activeElement) || part.querySelector("details[open]") !== null
      || (!selection.isCollapsed && part.contains(selection.anchorNode));
  }
  function look() {
    const part = document.querySelector("#figures[data-alive]");
    if (part && !document.hidden && !isRead(part) && window.htmx) window.htmx.trigger(part, "refresh");
  }
  document.addEventListener("DOMContentLoaded", () => {
    drawAll();
    window.addEventListener("resize", fit);
    setInterval(look, EVERY);
  });
  document.addEventListener("theme-changed", drawAll);
  document.addEventListener("htmx:afterSettle", () => { fit(); drawAll(); });
})();
