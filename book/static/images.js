/* The page of the image browser: two defenses and an attack -> paired.js -> counts, squares and the interval. */
"use strict";

(() => {
  const form = document.getElementById("images");
  const blocks = JSON.parse(document.getElementById("flags").textContent);
  const KINDS = { both: "both right", won: "won", lost: "lost", neither: "both wrong" };

  form.innerHTML =
    '<div class="knobs">' +
    [["block", "data set"], ["ours", "first"], ["theirs", "second"], ["attack", "attack"], ["seed", "seed in the picture"]]
      .map(([name, text]) => `<label>${text} <select name="${name}"></select></label>`).join("") +
    '<p><button type="button" name="swap">Swap the two</button></p></div>' +
    '<div class="shown"><p class="state" role="status"></p>' +
    '<figure><svg class="interval" viewBox="0 0 420 70" role="img"></svg><figcaption></figcaption></figure>' +
    '<div class="table-wrapper"><table class="plain"><thead><tr><th scope="col">images</th>' +
    Object.values(KINDS).map((name) => `<th scope="col">${name}</th>`).join("") +
    '</tr></thead><tbody></tbody></table></div>' +
    '<figure><svg class="squares" role="img"></svg><figcaption class="legend"></figcaption></figure>' +
    '<details><summary>Which images: their numbers in the test set</summary><dl class="numbers"></dl></details></div>';

  const by = (selector) => form.querySelector(selector), field = (name) => form.elements[name];

  function offer(name, options, preferred) {
    const kept = field(name).value;
    field(name).replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    const values = options.map(([value]) => value);
    field(name).value = [kept, preferred, values[0]].find((value) => values.includes(value)) ?? "";
  }

  const block = () => blocks[Number(field("block").value)];
  const seedsUnder = (row, attack) => Object.keys(block().rows[row]).filter((seed) => attack in block().rows[row][seed]);
  const common = (attack) => seedsUnder(field("ours").value, attack)
    .filter((seed) => seedsUnder(field("theirs").value, attack).includes(seed));

  // {seed: flags} of one row under the chosen attack
  function flags(row) {
    const attack = field("attack").value;
    return Object.fromEntries(seedsUnder(row, attack).map((seed) => [seed, paired.unpack(block().rows[row][seed][attack])]));
  }

  function update() {
    const rows = Object.keys(block().rows).map((row) => [row, row]);
    offer("ours", rows, "Adv-DPNP");
    offer("theirs", rows, "AT");
    offer("attack", Object.entries(block().attacks).filter(([name]) => common(name).length), "aa");
    const seeds = common(field("attack").value);
    offer("seed", seeds.map((seed) => [seed, seed]), seeds[0]);
    if (!seeds.length) {
      by(".state").textContent = "No seed of these two was measured under the same attack.";
      by(".shown").classList.add("empty");
      return;
    }
    by(".shown").classList.remove("empty");
    show(flags(field("ours").value), flags(field("theirs").value));
  }

  function show(ours, theirs) {
    const result = paired.pairedDifference(ours, theirs, block().spread), seed = field("seed").value;
    const split = paired.outcomes(ours[seed], theirs[seed]);
    const names = [field("ours").value, field("theirs").value];
    const right = [result.ours, result.theirs].map((value) => paired.fixed(value, 2));
    const [difference, low, high] = [result.difference, result.low, result.high].map(paired.tenths);
    const told = paired.fixed(result.low, 2) > 0 ? "ahead" : paired.fixed(result.high, 2) < 0 ? "behind" : "cannot be told apart";
    const seeds = `${result.seeds} seed${result.seeds > 1 ? "s" : ""}`;
    const sentence = `${names[0]} ${right[0]} %, ${names[1]} ${right[1]} %: difference ${difference} [${low}, ${high}] points ` +
      `on ${result.images} images, ${seeds}: ${told === "cannot be told apart" ? told : `${names[0]} is ${told}`}.`;
    by(".state").textContent = sentence;
    form.dataset.result = JSON.stringify(result);
    drawInterval(result, sentence);
    by("tbody").innerHTML = `<tr><th scope="row">seed ${seed}</th>` +
      Object.keys(KINDS).map((kind) => `<td>${split[kind].length}</td>`).join("") + "</tr>";
    drawSquares(split, seed);
    by(".numbers").innerHTML = ["won", "lost"].map((kind) =>
      `<dt>${KINDS[kind]}</dt><dd>${split[kind].join(", ") || "none"}</dd>`).join("");
  }

  function drawInterval({ difference, low, high }, sentence) {
    const most = Math.max(5, 5 * Math.ceil(Math.max(Math.abs(low), Math.abs(high)) / 5)), x = (value) => 210 + (value / most) * 190;
    const tick = (value) => `<line x1="${x(value)}" y1="6" x2="${x(value)}" y2="44" class="grid"/>` +
      `<text x="${x(value)}" y="63" class="middle">${value > 0 ? "+" : ""}${value}</text>`;
    by(".interval").innerHTML = [-most, 0, most].map(tick).join("") +
      `<line x1="${x(low)}" y1="25" x2="${x(high)}" y2="25" class="bar"/>` +
      `<circle cx="${x(difference)}" cy="25" r="7" class="first"/>`;
    by(".interval").setAttribute("aria-label", sentence);
    by("figcaption").textContent = "First minus second, in points: right of zero the first is ahead (95 % interval)";
  }

  function drawSquares(split, seed) {
    const total = Object.values(split).reduce((sum, list) => sum + list.length, 0);
    const across = total > 2000 ? 125 : 50;
    const squares = Object.entries(split).flatMap(([kind, list]) => list.map((i) =>
      `<rect x="${(i % across) * 8}" y="${Math.floor(i / across) * 8}" width="7" height="7" class="${kind}"/>`));
    const svg = by(".squares");
    svg.setAttribute("viewBox", `0 0 ${8 * across} ${8 * Math.ceil(total / across)}`);
    svg.setAttribute("aria-label", `Each test image as a square: ${Object.entries(KINDS).map(([kind, name]) =>
      `${split[kind].length} ${name}`).join(", ")}.`);
    svg.innerHTML = squares.join("");
    by(".legend").innerHTML = `Seed ${seed}, ` + Object.entries(KINDS).map(([kind, name]) =>
      `<span class="key"><svg viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" class="${kind}"/></svg> ${name}</span>`).join(" ");
  }

  offer("block", blocks.map((each, k) => [String(k), each.label]), "0");
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  field("swap").addEventListener("click", () => {
    [field("ours").value, field("theirs").value] = [field("theirs").value, field("ours").value];
    update();
  });
  update();
})();
