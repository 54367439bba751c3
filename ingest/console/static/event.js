// Copying from the page of one event; without a script, everything can be selected or downloaded.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  if (!navigator.clipboard) return;
  const told = document.querySelector("[data-copied]");
  let forgetting;
  async function copy(button, text) {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(await text());
    } catch { return; }
    if (told) told.hidden = false;
    button.textContent = `${before} ✓`;
    clearTimeout(forgetting);
    forgetting = setTimeout(() => { button.textContent = before; if (told) told.hidden = true; }, 2000);
  }
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button, async () => document.querySelector(button.dataset.copy).textContent));
  }
  for (const button of document.querySelectorAll("[data-fetch]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button, async () => {
      const answer = await fetch(button.dataset.fetch);
      if (!answer.ok) throw new Error(answer.statusText);
      return answer.text();
    }));
  }
});
