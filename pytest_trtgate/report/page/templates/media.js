"use strict";
(() => {
  for (const split of document.querySelectorAll(".split")) {
    split.addEventListener("input", () => {
      split.parentElement.style.setProperty("--split", `${split.value}%`);
    });
  }
})();
