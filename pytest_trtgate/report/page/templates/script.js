"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  root.classList.add("has-js");

  // Storage may be forbidden, as on some file: pages; the choice then lasts as long as the page.
  const stored = (value) => {
    try {
      if (value) localStorage.setItem("trtgate-theme", value);
      return localStorage.getItem("trtgate-theme");
    } catch {
      return null;
    }
  };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  };
  apply(stored());
  const dark = () =>
    (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = document.querySelector(".theme");
  const name = () => {
    button.textContent = dark() ? "Light" : "Dark";
  };
  name();
  button.addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    apply(theme);
    stored(theme);
    name();
  });

  const selected = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };
  for (const copy of all(".copy")) {
    copy.addEventListener("click", async () => {
      const code = copy.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        copy.textContent = "Copied";
      } catch {
        selected(code);
        copy.textContent = "Selected";
      }
      setTimeout(() => {
        copy.textContent = "Copy";
      }, 1600);
    });
  }

  const cells = all("details.cell");
  const filter = document.querySelector(".filter");
  const found = document.querySelector(".found");
  const narrow = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const cell of cells) {
      const text = cell.dataset.words.toLowerCase();
      cell.hidden = !words.every((word) => text.includes(word));
      shown += cell.hidden ? 0 : 1;
    }
    found.textContent = words.length ? `${shown} of ${cells.length}` : "";
  };
  if (filter) filter.addEventListener("input", narrow);
  for (const fold of all(".fold")) {
    fold.addEventListener("click", () => {
      for (const cell of cells) cell.open = Boolean(fold.dataset.open);
    });
  }

  // The text of a cell as a number, where it is one; a dash sorts last in both directions.
  const key = (row, column) => {
    const text = row.cells[column].firstChild ? row.cells[column].firstChild.textContent : "";
    const number = parseFloat(text.replace("\u2212", "-").replace(/[,\u00a0]/g, ""));
    return Number.isNaN(number) ? (/^[\u2013\s]*$/.test(text) ? null : text.toLowerCase()) : number;
  };
  for (const table of all("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const press = document.createElement("button");
      press.type = "button";
      press.className = "sort";
      press.append(...head.childNodes);
      head.append(press);
      press.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
        const body = table.tBodies[0];
        const rows = Array.from(body.rows).map((row) => [key(row, column), row]);
        rows.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return a === b ? 0 : (a < b) === (up > 0) ? -1 : 1;
        });
        body.append(...rows.map(([, row]) => row));
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
      });
    });
  }

  // A link into a folded cell opens it, also in browsers that do not do so by themselves.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const cell = target && target.closest("details.cell");
    if (!cell) return;
    cell.hidden = false;
    cell.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all(".cell:not([open]), .told:not([open])");
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });
})();
