// Ticks all boxes of a list at once; without a script they are ticked one by one.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const all = document.querySelector("[data-choose-all]");
  if (!all) return;
  const boxes = () => document.querySelectorAll("input[name='letter']");
  all.hidden = false;
  all.addEventListener("change", () => { for (const box of boxes()) box.checked = all.checked; });
  document.addEventListener("change", (event) => {
    if (event.target.name !== "letter") return;
    const ticked = [...boxes()].filter((box) => box.checked).length;
    all.checked = ticked === boxes().length;
    all.indeterminate = ticked > 0 && !all.checked;
  });
});
