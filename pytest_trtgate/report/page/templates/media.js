"use strict";
(() => {
  for (const split of document.querySelectorAll(".split")) {
    split.addEventListener("input", () => {
      split.parentElement.style.setProperty("--split", `${split.value}%`);
    });
  }

  // A drawing or picture as large as the window. The dialog lies beside what it shows, so that the switches of pictures
  // apply to it too; Esc closes it, and the focus goes back.
  const enlarge = (drawing) => {
    const large = document.createElement("dialog");
    const close = document.createElement("button");
    const copy = drawing.cloneNode(true);
    for (const name of ["class", "tabindex", "aria-haspopup"]) copy.removeAttribute(name);
    copy.setAttribute("class", drawing.classList.contains("shot") ? "shot" : "drawn");
    close.type = "button";
    close.textContent = "Close";
    large.className = "zoom";
    large.setAttribute("aria-label", drawing.querySelector("title")?.textContent || "Enlarged");
    large.append(close, copy);
    large.addEventListener("click", () => large.close());
    large.addEventListener("close", () => large.remove());
    drawing.parentElement.append(large);
    large.showModal();
  };
  for (const drawing of document.querySelectorAll("figure > svg, .pane > svg")) {
    drawing.classList.add("opens");
    drawing.setAttribute("tabindex", "0");
    drawing.setAttribute("aria-haspopup", "dialog");
    drawing.addEventListener("click", () => enlarge(drawing));
    drawing.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge(drawing);
    });
  }
})();
