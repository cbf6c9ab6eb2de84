/* advdpnp/prototype_dynamics.py in JavaScript, under its names: where Eq. (7) takes the prototypes if features are free.

Matrices are Float64Arrays, row after row. tests/test_book.py gives both languages the same start, noise and settings
and compares what comes out. Left out here: pull_clean, and switches that the page does not show.
*/
"use strict";

globalThis.prototypeDynamics = (() => {
  const STEP = 0.8; // of the descent to a feature's minimum
  const ROOT_GUARD = 1e-6; // inside the root of Eq. (5), as in advdpnp/losses.py

  const SETTING = {
    classes: 10, features: 512, radius: 40, lambda_dpp: 0.1, lambda_dnp: 0.1, pull: "sum", lock_prototypes: true,
    last_relu: true, lr: 0.1, momentum: 0.9, weight_decay: 5e-4, milestones: [100, 105], gamma: 0.1,
    steps_per_epoch: 391,
  };

  // --- Numbers drawn in the page: mulberry32, then Box and Muller
  function normals(n, seed) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return Float64Array.from({ length: n }, () => {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      return radius * Math.cos(2 * Math.PI * uniform());
    });
  }

  // --- Linear algebra on rows
  const dot = (a, i, b, j, d) => {
    let sum = 0;
    for (let k = 0; k < d; k++) sum += a[i * d + k] * b[j * d + k];
    return sum;
  };

  function norms(c, rows, d) {
    return Float64Array.from({ length: rows }, (_, j) => Math.sqrt(dot(c, j, c, j, d)));
  }

  function scaled(c, rows, d, radius) {
    const lengths = norms(c, rows, d);
    return c.map((value, k) => (radius * value) / Math.max(lengths[Math.floor(k / d)], 1e-12));
  }

  function distance(a, i, b, j, d) {
    let sum = 0;
    for (let k = 0; k < d; k++) sum += (a[i * d + k] - b[j * d + k]) ** 2;
    return Math.sqrt(sum);
  }

  // Eqs. (11)-(12): the angle of each prototype to its nearest rival, in degrees
  function rivalAngles(c, M, d) {
    const unit = scaled(c, M, d, 1);
    return Array.from({ length: M }, (_, j) => {
      let nearest = Infinity;
      for (let k = 0; k < M; k++) if (k !== j) nearest = Math.min(nearest, distance(unit, j, unit, k, d));
      return (2 * Math.asin(Math.min(1, nearest / 2)) * 180) / Math.PI;
    });
  }

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  // --- What inputs say of their class: P = softmax(s u), u = s e_y + n, right as often as `accuracy` says
  function posteriors(noise, M, accuracy) {
    const G = noise.length / M, P = new Float64Array(G * M);
    if (!(accuracy >= 1 / M && accuracy < 1)) throw new RangeError(`expected an accuracy in [${1 / M}, 1), got ${accuracy}`);
    let low = 0, high = 10;
    for (let round = 0; round < 40; round++) {
      const s = (low + high) / 2;
      let right = 0;
      for (let g = 0; g < G; g++) {
        let top = -Infinity, total = 0;
        for (let k = 0; k < M; k++) {
          P[g * M + k] = s * (s * (g % M === k) + noise[g * M + k]);
          top = Math.max(top, P[g * M + k]);
        }
        for (let k = 0; k < M; k++) total += P[g * M + k] = Math.exp(P[g * M + k] - top);
        for (let k = 0; k < M; k++) P[g * M + k] /= total;
        right += 1 / total;
      }
      if (right / G < accuracy) low = s;
      else high = s;
    }
    return P;
  }

  // --- Forces of Eq. (7). `towards` [G, M] is (softmax(f c^T / R) - P) / R - w, with w [G, M] the weights of the pull
  function forces(P, f, c, S) {
    const { classes: M, features: d, radius: R } = S, G = P.length / M;
    const w = new Float64Array(G * M), towards = new Float64Array(G * M);
    const own = Float64Array.from({ length: M }, (_, k) => dot(c, k, c, k, d));
    for (let g = 0; g < G; g++) {
      const length = dot(f, g, f, g, d);
      let top = -Infinity, total = 0;
      for (let k = 0; k < M; k++) {
        const similarity = dot(f, g, c, k, d), at = g * M + k;
        towards[at] = similarity / R;
        top = Math.max(top, towards[at]);
        if (S.pull === "norm") {
          w[at] = ((S.lambda_dpp / 2) * P[at]) / Math.sqrt(Math.max(length + own[k] - 2 * similarity, 1e-6));
        } else w[at] = S.lambda_dpp * P[at] / (S.pull === "mean" ? d : 1);
      }
      for (let k = 0; k < M; k++) total += towards[g * M + k] = Math.exp(towards[g * M + k] - top);
      for (let k = 0; k < M; k++) {
        const at = g * M + k;
        towards[at] = (towards[at] / total - P[at]) / R - w[at];
      }
    }
    return { w, towards, G };
  }

  // d/df of sum_k P_k [CE_k(f) + lambda_DPP pull(f, c_k)], [G, d]
  function featureGradient(P, f, c, S) {
    const { classes: M, features: d } = S, { w, towards, G } = forces(P, f, c, S);
    const gradient = new Float64Array(G * d);
    for (let g = 0; g < G; g++) {
      let total = 0;
      for (let k = 0; k < M; k++) total += w[g * M + k];
      for (let i = 0; i < d; i++) gradient[g * d + i] = total * f[g * d + i];
      for (let k = 0; k < M; k++) {
        const weight = towards[g * M + k];
        for (let i = 0; i < d; i++) gradient[g * d + i] += weight * c[k * d + i];
      }
    }
    return gradient;
  }

  // d/dc of the mean over inputs of the same, / 2: one branch of Eq. (7); added to `gradient` [M, d]
  function addPrototypeGradient(gradient, P, f, c, S) {
    const { classes: M, features: d } = S, { w, towards, G } = forces(P, f, c, S);
    for (let g = 0; g < G; g++) {
      for (let k = 0; k < M; k++) {
        const a = towards[g * M + k] / (2 * G), b = w[g * M + k] / (2 * G);
        for (let i = 0; i < d; i++) gradient[k * d + i] += a * f[g * d + i] + b * c[k * d + i];
      }
    }
  }

  // d/dc of lambda_DNP L_DNP, Eqs. (4)-(5); added to `gradient`
  function addRepulsion(gradient, c, S) {
    const { classes: M, features: d } = S;
    for (let j = 0; j < M; j++) {
      let rival = -1, nearest = Infinity;
      for (let k = 0; k < M; k++) {
        const apart = k === j ? Infinity : distance(c, j, c, k, d);
        if (apart < nearest) [rival, nearest] = [k, apart];
      }
      for (let i = 0; i < d; i++) {
        const v = c[j * d + i] - c[rival * d + i];
        const push = (S.lambda_dnp * Math.sign(v)) / (2 * M * Math.sqrt(Math.abs(v) + ROOT_GUARD));
        gradient[j * d + i] -= push;
        gradient[rival * d + i] += push;
      }
    }
  }

  // Features on their way to the minimum of their own part of Eq. (7): Nesterov's projected gradient
  class Descent {
    constructor(P, c, S, momentum = 0.9) {
      const { classes: M, features: d } = S, G = P.length / M;
      this.S = S;
      this.momentum = momentum;
      this.now = new Float64Array(G * d);
      for (let g = 0; g < G; g++)
        for (let k = 0; k < M; k++)
          for (let i = 0; i < d; i++) this.now[g * d + i] += P[g * M + k] * c[k * d + i];
      if (S.last_relu) this.now = this.now.map((value) => Math.max(0, value));
      this.before = this.now;
    }

    step(P, c) {
      const ahead = this.now.map((value, i) => value + this.momentum * (value - this.before[i]));
      const gradient = featureGradient(P, ahead, c, this.S), floor = this.S.last_relu ? 0 : -Infinity;
      this.before = this.now;
      this.now = ahead.map((value, i) => Math.max(floor, value - STEP * gradient[i]));
      return this.now;
    }
  }

  /* Prototypes over the epochs at held accuracies: yields {epoch, center_norm_mean, mean_sep, min_sep,
  distance_over_norm, prototypes} after each epoch, and null every few steps, so that a page can stay awake.
  `start` [M, d]; `noise` is [G, M] per branch, the second needed without the lock only. */
  function* predict(changes, { clean, adversarial, start, noise, epochs = 30, stride = 8 }) {
    const S = { ...SETTING, ...changes }, { classes: M, features: d, radius: R } = S;
    const accuracies = S.lock_prototypes ? [clean] : [clean, adversarial];
    const P = accuracies.map((accuracy, b) => posteriors(noise[b], M, accuracy));
    const steps = Math.max(1, Math.round(S.steps_per_epoch / stride));
    const momentum = stride === 1 ? S.momentum : 0;
    const boost = stride === 1 ? 1 : S.steps_per_epoch / steps / (1 - S.momentum);
    const velocity = new Float64Array(M * d);
    let c = Float64Array.from(start), features = null;
    for (let epoch = 0; epoch < epochs; epoch++) {
      const rate = boost * S.lr * S.gamma ** S.milestones.filter((milestone) => epoch >= milestone).length;
      c = scaled(c, M, d, R); // Algorithm 1, line 4
      features ??= P.map((p) => new Descent(p, c, S));
      for (let step = 0; step < steps; step++) {
        const gradient = c.map((value) => S.weight_decay * value);
        addRepulsion(gradient, c, S);
        features.forEach((descent, b) => addPrototypeGradient(gradient, P[b], descent.step(P[b], c), c, S));
        for (let i = 0; i < M * d; i++) velocity[i] = momentum * velocity[i] + gradient[i];
        c = c.map((value, i) => value - rate * velocity[i]);
        if (step % 2) yield null;
      }
      const angles = rivalAngles(c, M, d), norm = mean(norms(c, M, d)), f = features[0].now;
      let apart = 0;
      for (let at = 0; at < P[0].length; at++)
        apart += P[0][at] * Math.max(1e-3, distance(f, Math.floor(at / M), c, at % M, d));
      yield {
        epoch, center_norm_mean: norm, mean_sep: mean(angles), min_sep: Math.min(...angles),
        distance_over_norm: apart / (P[0].length / M) / norm, prototypes: c,
      };
    }
  }

  /* What inputs that the prototypes never saw measure at this accuracy: {scr, distance_over_norm}; yields null on the
  way. */
  function* freshInputs(c, changes, { accuracy, noise, steps = 400 }) {
    const S = { ...SETTING, ...changes }, { classes: M, features: d } = S;
    const P = posteriors(noise, M, accuracy), descent = new Descent(P, c, S, 0.97), G = P.length / M;
    for (let step = 0; step < steps; step++) {
      descent.step(P, c);
      if (step % 4 === 3) yield null;
    }
    const spread = new Float64Array(M), counts = new Float64Array(M);
    for (let g = 0; g < G; g++) {
      spread[g % M] += distance(descent.now, g, c, g % M, d);
      counts[g % M] += 1;
    }
    const ratios = Array.from({ length: M }, (_, j) => {
      let nearest = Infinity;
      for (let k = 0; k < M; k++) if (k !== j) nearest = Math.min(nearest, distance(c, j, c, k, d));
      return nearest / (spread[j] / counts[j]);
    });
    const apart = spread.reduce((a, b) => a + b, 0) / G;
    yield { scr: mean(ratios), distance_over_norm: apart / mean(norms(c, M, d)) };
  }

  return { SETTING, normals, scaled, rivalAngles, posteriors, predict, freshInputs };
})();
