/* The page of the free-feature simulator: sliders -> prototype_dynamics.js -> numbers and two drawings. */
"use strict";

(() => {
  const form = document.getElementById("simulator");
  const paper = JSON.parse(document.getElementById("paper-lines").textContent);
  const { inputs: INPUTS, stride: STRIDE, epochs: EPOCHS, steps: STEPS } = paper.effort;
  const WEIGHTS = [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
  const percents = Array.from({ length: 80 }, (_, k) => k + 20);
  const SLIDERS = [
    ["lambda_dpp", "weight of the pull, λ<sub>DPP</sub>", WEIGHTS, 0.1],
    ["lambda_dnp", "push between rivals, λ<sub>DNP</sub>", [...WEIGHTS, 2, 5], 0.1],
    ["radius", "radius α of the sphere", [1, 2, 5, 10, 20, 30, 40, 60, 80, 160], 40],
    ["clean", "accuracy on clean inputs (%)", percents, Math.round(100 * paper.clean)],
    ["adversarial", "accuracy under attack (%)", percents, Math.round(100 * paper.adversarial)],
  ];
  const PULLS = { sum: "sum, as Eq. (3) prints it", mean: "mean over the coordinates", norm: "norm, without its square" };

  form.innerHTML =
    '<div class="knobs">' +
    `<label>reduction of the pull <select name="pull">${Object.entries(PULLS).map(([value, text]) =>
      `<option value="${value}"${value === "mean" ? " selected" : ""}>${text}</option>`).join("")}</select></label>` +
    SLIDERS.map(([name, text, values, start]) =>
      `<label><span>${text}: <output name="${name}_shown"></output></span>` +
      `<input type="range" name="${name}" min="0" max="${values.length - 1}" value="${values.indexOf(start)}"></label>`).join("") +
    '<label class="check"><input type="checkbox" name="lock" checked> lock: only clean inputs move the prototypes</label>' +
    '<label class="check"><input type="checkbox" name="relu" checked> features end in a ReLU, so none is negative</label>' +
    '<p><button type="button" name="again">Another random start</button> <button type="reset">Reset</button></p></div>' +
    '<div class="shown"><p class="state" role="status"></p>' +
    '<figure><svg class="angles" viewBox="0 0 420 250" role="img"></svg>' +
    "<figcaption>Angle to the nearest rival over the epochs, in degrees</figcaption></figure>" +
    '<figure><svg class="ratios" viewBox="0 0 420 110" role="img"></svg>' +
    "<figcaption>Distance over norm of inputs that the prototypes never saw</figcaption></figure>" +
    '<div class="table-wrapper"><table class="plain"><thead><tr><th scope="col">quantity</th><th scope="col">here</th><th scope="col">paper</th></tr>' +
    '</thead><tbody></tbody></table></div></div>';

  const by = (selector) => form.querySelector(selector);
  let seed = 1, task = 0;

  const valueOf = (name) => SLIDERS.find((slider) => slider[0] === name)[2][Number(form.elements[name].value)];

  function settings() {
    for (const [name] of SLIDERS) {
      form.elements[`${name}_shown`].value = valueOf(name);
      form.elements[name].setAttribute("aria-valuetext", valueOf(name));
    }
    return {
      pull: form.elements.pull.value, lambda_dpp: valueOf("lambda_dpp"), lambda_dnp: valueOf("lambda_dnp"),
      radius: valueOf("radius"), lock_prototypes: form.elements.lock.checked, last_relu: form.elements.relu.checked,
    };
  }

  // The whole computation, in pieces: yields what is known so far
  function* work(S) {
    const { SETTING, normals, scaled, predict, freshInputs } = prototypeDynamics, M = SETTING.classes;
    const start = scaled(normals(M * SETTING.features, seed), M, SETTING.features, S.radius);
    const noise = [normals(INPUTS * M, seed + 1000), normals(INPUTS * M, seed + 2000)];
    const accuracies = { clean: valueOf("clean") / 100, adversarial: valueOf("adversarial") / 100 };
    const found = { rows: [], clean: null, adversarial: null };
    for (const row of predict(S, { ...accuracies, start, noise, epochs: EPOCHS, stride: STRIDE })) {
      if (row) found.rows.push(row);
      yield found;
    }
    const c = found.rows.at(-1).prototypes, unseen = normals(INPUTS * M, seed + 3000);
    for (const side of ["clean", "adversarial"]) {
      for (const fresh of freshInputs(c, S, { accuracy: accuracies[side], noise: unseen, steps: STEPS })) {
        found[side] = fresh;
        yield found;
      }
    }
  }

  function run() {
    const mine = ++task, pieces = work(settings());
    let shown = -1, found = null;
    form.dataset.done = "";
    by(".state").textContent = "computing …";
    const slice = () => {
      if (mine !== task) return;
      const until = performance.now() + 25;
      let piece = { done: false };
      while (!piece.done && performance.now() < until) {
        piece = pieces.next();
        if (!piece.done) found = piece.value;
      }
      const last = found.rows.at(-1);
      if (last && ![last.mean_sep, last.distance_over_norm].every(Number.isFinite)) {
        by(".state").textContent = "The steps are too large for these settings: the prototypes have left for infinity.";
        form.dataset.done = "diverged";
        return;
      }
      if (found.rows.length !== shown || piece.done) draw(found);
      shown = found.rows.length;
      if (!piece.done) return setTimeout(slice);
      by(".state").textContent = `${EPOCHS} epochs done.`;
      form.dataset.done = "yes";
    };
    setTimeout(slice);
  }

  // --- Drawings
  const line = (x1, y1, x2, y2, kind) => `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" class="${kind}"/>`;
  const text = (x, y, words, kind = "") => `<text x="${x}" y="${y}" class="${kind}">${words}</text>`;

  function draw(found) {
    const last = found.rows.at(-1);
    drawAngles(found.rows);
    drawRatios(found);
    const number = (value, digits) => (value == null ? "–" : value.toFixed(digits));
    const rows = [
      ["MeanSep (°)", last?.mean_sep, paper.mean_sep, 1],
      ["MinSep (°)", last?.min_sep, paper.min_sep, 1],
      ["distance over norm, clean", found.clean?.distance_over_norm, paper.distance_clean, 3],
      ["distance over norm, under attack", found.adversarial?.distance_over_norm, paper.distance_adv, 3],
    ];
    by("tbody").innerHTML = rows.map(([name, ours, theirs, digits]) =>
      `<tr><th scope="row">${name}</th><td>${number(ours, digits)}</td><td>${number(theirs, digits)}</td></tr>`).join("");
  }

  function drawAngles(rows) {
    const lowest = Math.min(60, ...rows.map((row) => row.min_sep)), floor = Math.max(0, 10 * Math.floor(lowest / 10));
    const x = (epoch) => 46 + (epoch / (EPOCHS - 1)) * 270, y = (angle) => 216 - ((angle - floor) / (100 - floor)) * 200;
    let marks = "";
    for (let angle = floor; angle <= 100; angle += floor < 40 ? 20 : 10)
      marks += line(46, y(angle), 316, y(angle), "grid") + text(38, y(angle) + 5, angle, "end");
    marks += text(181, 244, "epoch", "middle") + text(46, 236, "0", "middle") + text(316, 236, EPOCHS - 1, "middle");
    marks += line(46, y(paper.mean_sep), 316, y(paper.mean_sep), "paper first");
    marks += line(46, y(paper.min_sep), 316, y(paper.min_sep), "paper second");
    marks += text(322, y(paper.mean_sep) - 2, "paper", "first");
    const ends = [["mean_sep", "Mean", "first"], ["min_sep", "Min", "second"]];
    let below = y(paper.mean_sep) + 16; // labels never lie over each other
    for (const [key, name, kind] of ends) {
      const points = rows.map((row) => `${x(row.epoch).toFixed(1)},${y(row[key]).toFixed(1)}`);
      marks += `<polyline points="${points.join(" ")}" class="${kind}"/>`;
      if (!rows.length) continue;
      const at = Math.min(216, Math.max(below, y(rows.at(-1)[key]) + 5));
      marks += text(322, at, `${name} ${rows.at(-1)[key].toFixed(1)}`, kind);
      below = at + 18;
    }
    const svg = by(".angles");
    svg.innerHTML = marks;
    const last = rows.at(-1);
    svg.setAttribute("aria-label", last
      ? `MeanSep goes to ${last.mean_sep.toFixed(1)} and MinSep to ${last.min_sep.toFixed(1)} degrees; ` +
        `the paper's are ${paper.mean_sep.toFixed(1)} and ${paper.min_sep.toFixed(1)}.`
      : "Nothing is computed yet.");
  }

  function drawRatios(found) {
    const sides = [["clean", "clean", paper.distance_clean], ["adversarial", "attack", paper.distance_adv]];
    const most = Math.max(1.2, ...sides.map(([key]) => found[key]?.distance_over_norm ?? 0)), x = (ratio) => 66 + (ratio / most) * 330;
    let marks = "", label = "";
    for (const ratio of [0, 0.5, 1]) marks += line(x(ratio), 8, x(ratio), 84, "grid") + text(x(ratio), 104, ratio, "middle");
    sides.forEach(([key, name, theirs], k) => {
      const y = 28 + 36 * k, ours = found[key]?.distance_over_norm;
      marks += text(58, y + 5, name, "end") + line(x(theirs), y - 14, x(theirs), y + 14, "paper first");
      if (ours != null) marks += `<circle cx="${x(ours)}" cy="${y}" r="7" class="${k ? "second" : "first"}"/>`;
      label += ours != null ? `${name}: ${ours.toFixed(3)}, the paper's ${theirs.toFixed(3)}. ` : "";
    });
    const svg = by(".ratios");
    svg.innerHTML = marks;
    svg.setAttribute("aria-label", label || "Nothing is computed yet.");
  }

  let pause = 0;
  form.addEventListener("input", () => {
    settings();
    clearTimeout(pause);
    pause = setTimeout(run, 150); // while a slider moves, only its last place counts
  });
  form.addEventListener("reset", () => setTimeout(run));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.again.addEventListener("click", () => { seed += 1; run(); });
  run();
})();
