/* advdpnp.intervals.paired_difference in JavaScript, and who won on which image. tests/test_book.py compares the two. */
"use strict";

globalThis.paired = (() => {
  // log Gamma. Source: C. Lanczos, SIAM Journal on Numerical Analysis 1, 1964 (g = 7, n = 9)
  const LANCZOS = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  function logGamma(x) {
    if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
    const t = x + 6.5;
    const series = LANCZOS.reduce((sum, value, k) => sum + (k ? value / (x - 1 + k) : value), 0);
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(series);
  }

  // Regularised incomplete beta function I_x(a, b), by Lentz's continued fraction
  function incompleteBeta(x, a, b) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
    const front = Math.exp(
      logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
    const tiny = 1e-300, away = (value) => (Math.abs(value) < tiny ? tiny : value);
    let c = 1, d = 1 / away(1 - ((a + b) * x) / (a + 1)), value = d;
    for (let m = 1; m < 1000; m++) {
      for (const numerator of [
        (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
        (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
      ]) {
        d = 1 / away(1 + numerator * d);
        c = away(1 + numerator / c);
        value *= c * d;
      }
      if (Math.abs(c * d - 1) < 1e-15) break;
    }
    return front * value;
  }

  // Two-sided quantile of Student's t, by bisection; df need not be whole
  function tQuantile(df, level = 0.95) {
    const outside = (t) => incompleteBeta(df / (df + t * t), df / 2, 0.5);
    let low = 0, high = 1;
    while (outside(high) > 1 - level) high *= 2;
    for (let round = 0; round < 200 && high - low > 1e-15 * high; round++) {
      const t = (low + high) / 2;
      if (outside(t) > 1 - level) low = t;
      else high = t;
    }
    return (low + high) / 2;
  }

  // Degrees of freedom of a sum of two variance estimates (Satterthwaite)
  function satterthwaite(first, dfFirst, second, dfSecond) {
    if (first + second === 0) return Math.max(dfFirst, 1);
    return (first + second) ** 2 / (first ** 2 / Math.max(dfFirst, 1) + second ** 2 / Math.max(dfSecond, 1));
  }

  /* {seed: flags [N] of 0 and 1} of both sides, and the spread over seeds {variance, df} or null: the mean difference in
  points over the seeds and the first images that both have, with its 95 % interval. Null without a common seed. */
  function pairedDifference(ours, theirs, spread) {
    const seeds = Object.keys(ours).filter((seed) => seed in theirs).sort();
    if (!seeds.length) return null;
    const sides = seeds.flatMap((seed) => [ours[seed], theirs[seed]]);
    const n = Math.min(...sides.map((flags) => flags.length)), k = seeds.length;
    const average = (side) => Float64Array.from({ length: n }, (_, i) =>
      (100 * seeds.reduce((sum, seed) => sum + side[seed][i], 0)) / k);
    const one = average(ours), other = average(theirs);
    const mean = (values) => values.reduce((a, b) => a + b, 0) / n;
    const change = one.map((value, i) => value - other[i]), difference = mean(change);
    const squares = change.reduce((sum, value) => sum + (value - difference) ** 2, 0);
    const variance = n > 1 ? squares / (n - 1) / n : 0, between = spread ? (2 * spread.variance) / k : 0;
    const df = satterthwaite(variance, n - 1, between, spread ? spread.df : 1);
    const half = variance + between ? tQuantile(df) * Math.sqrt(variance + between) : 0;
    return {
      ours: mean(one), theirs: mean(other), difference, low: difference - half, high: difference + half,
      images: n, seeds: k,
    };
  }

  /* Which images of one seed each side won: lists of indices into the test set. */
  function outcomes(ours, theirs) {
    const found = { both: [], won: [], lost: [], neither: [] };
    const n = Math.min(ours.length, theirs.length);
    for (let i = 0; i < n; i++)
      found[ours[i] ? (theirs[i] ? "both" : "won") : theirs[i] ? "lost" : "neither"].push(i);
    return found;
  }

  // A number as Python writes it: unlike toFixed, an exact half goes to the even digit
  function fixed(value, digits) {
    const scale = 10 ** digits, half = (Math.abs(value) * 2 ** (digits + 1)) % 2 === 1;
    return (half ? (2 * Math.round((value * scale) / 2)) / scale : value).toFixed(digits);
  }

  // A difference as advdpnp.report.differences shows it: what is left of its hundredths, with its sign
  function tenths(value) {
    const hundredths = Number(fixed(value, 2)), text = fixed(hundredths, 1);
    return hundredths < 0 ? text.replace("-", "\u2212") : `+${text.replace("-", "")}`;
  }

  // [n, base64 of the bits, the first in the highest place] -> flags [n]
  function unpack([n, text]) {
    const bytes = atob(text);
    return Uint8Array.from({ length: n }, (_, i) => (bytes.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1);
  }

  return { tQuantile, pairedDifference, outcomes, fixed, tenths, unpack };
})();
