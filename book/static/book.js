/* Films with controls, tables that sort, pictures that open in full size, one button that opens all code of a page.
   Without this script all is readable. */
"use strict";

(() => {
  // --- Films: a sheet of frames, moved behind a window. It plays once when it comes into sight, unless motion is unwanted
  function film(figure) {
    const picture = figure.querySelector(".picture"), controls = figure.querySelector(".controls");
    const [button, slider] = [controls.querySelector("button"), controls.querySelector("input")];
    const last = Number(slider.max);
    let timer = 0;
    const show = (frame) => {
      slider.value = frame;
      slider.setAttribute("aria-valuetext", `frame ${frame + 1} of ${last + 1}`);
      picture.style.backgroundPosition = `0 ${(100 * frame) / last}%`;
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      button.textContent = "Play";
    };
    const play = () => {
      if (Number(slider.value) === last) show(0);
      button.textContent = "Pause";
      timer = setInterval(() => {
        show(Number(slider.value) + 1);
        if (Number(slider.value) === last) stop();
      }, Number(figure.dataset.wait));
    };
    button.addEventListener("click", () => (timer ? stop() : play()));
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    controls.hidden = false;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const seen = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      seen.disconnect();
      play();
    }, { threshold: 0.6 });
    seen.observe(picture);
  }

  // --- Tables: a button in each head sorts by its column, down, up, and back
  const number = (text) => {
    const found = text.replace(/−/g, "-").replace(/,(?=\d{3})/g, "").match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
    return found ? Number(found[0]) : NaN;
  };

  function sortable(table) {
    const head = table.tHead, body = table.tBodies[0];
    if (!head || head.rows.length !== 1 || !body || body.rows.length < 3) return;
    const original = [...body.rows];
    if (original.some((row) => row.cells.length !== head.rows[0].cells.length)) return;
    [...head.rows[0].cells].forEach((cell, column) => {
      if (!cell.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const order = { none: "descending", descending: "ascending", ascending: "none" }[cell.ariaSort ?? "none"];
        for (const other of head.rows[0].cells) other.ariaSort = null;
        cell.ariaSort = order === "none" ? null : order;
        body.append(...(order === "none" ? original : sorted(together(original), column, order).flat()));
      });
    });
  }

  // A row of the paper's numbers stays below the row that it belongs to
  function together(rows) {
    const groups = [];
    for (const row of rows) {
      if (groups.length && row.cells[0].textContent.trim() === "the paper") groups.at(-1).push(row);
      else groups.push([row]);
    }
    return groups;
  }

  function sorted(rows, column, order) {
    const text = ([row]) => row.cells[column].textContent.trim(), sign = order === "ascending" ? 1 : -1;
    const values = new Map(rows.map((row) => [row, number(text(row))]));
    const numeric = rows.filter((row) => !Number.isNaN(values.get(row))).length > rows.length / 2;
    if (!numeric) return [...rows].sort((a, b) => sign * text(a).localeCompare(text(b)));
    const missing = rows.filter((row) => Number.isNaN(values.get(row))); // a dash is neither large nor small
    const there = rows.filter((row) => !missing.includes(row));
    return [...there.sort((a, b) => sign * (values.get(a) - values.get(b))), ...missing];
  }

  // A picture leads to itself in full size, unless it leads elsewhere
  function enlargeable(image) {
    if (image.closest("a")) return;
    const link = document.createElement("a");
    link.href = image.src;
    link.title = "full size";
    image.replaceWith(link);
    link.append(image);
  }

  // What scrolls can be reached with the keyboard
  function reachable() {
    for (const box of document.querySelectorAll(".table-wrapper, .drawing, pre")) {
      if (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  function codeButton() {
    const folded = [...document.querySelectorAll("article details.hide")];
    const title = document.querySelector("article h1");
    if (folded.length < 2 || !title) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "all-code";
    const name = () => { button.textContent = folded.every((one) => one.open) ? "Hide all code" : "Show all code"; };
    button.addEventListener("click", () => {
      const open = !folded.every((one) => one.open);
      for (const one of folded) one.open = open;
      name();
    });
    name();
    title.after(button);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("figure.film").forEach(film);
    document.querySelectorAll("article table:not(.plain)").forEach(sortable);
    document.querySelectorAll("article div.cell_output img, article p > img").forEach(enlargeable);
    codeButton();
    reachable();
    addEventListener("resize", reachable);
  });
})();
