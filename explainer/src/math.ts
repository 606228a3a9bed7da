/**
 * The mathematics of the page, without any drawing. The names and the formulas are those of the Python package `ambient`;
 * tests/test_explainer.py compares the two in a browser.
 *
 * A level is given by its noise-to-signal ratio u = sigma / alpha, which means the same on all paths. Samples are pairs (x, y);
 * many samples are one flat array x_0, y_0, x_1, y_1, ...
 */

export type Vec = readonly [number, number];
export type Symmetric = readonly [xx: number, xy: number, yy: number];
export interface Level {
  readonly alpha: number;
  readonly sigma: number;
}
export interface Mode {
  readonly weight: number;
  readonly mean: Vec;
  readonly covariance: Symmetric;
}
export type Mixture = readonly Mode[];

/** Paths as functions of u: (alpha, sigma) with sigma / alpha = u (ambient/paths.py). */
export const PATHS = {
  exploding: (u: number): Level => ({ alpha: 1, sigma: u }),
  preserving: (u: number): Level => ({ alpha: 1 / Math.hypot(1, u), sigma: u / Math.hypot(1, u) }),
  flow: (u: number): Level => ({ alpha: 1 / (1 + u), sigma: u / (1 + u) }),
};
export type PathName = keyof typeof PATHS;
export const CLEAN: Level = { alpha: 1, sigma: 0 }; // level 0 of every path

/** X_t = r X_n + q Z' with r = alpha_t / alpha_n and q^2 = sigma_t^2 - r^2 sigma_n^2; q = 0 where t is not noisier than n. */
export function transition(n: Level, t: Level): { r: number; q: number } {
  const r = t.alpha / n.alpha;
  return { r, q: Math.sqrt(Math.max(0, (t.sigma - r * n.sigma) * (t.sigma + r * n.sigma))) };
}

/** The posterior moments of X_0 given X_t = x, and log p_t(x). */
export interface Posterior {
  readonly mean: Vec;
  readonly covariance: Symmetric;
  readonly logDensity: number;
}

/** The mixture at a level: component k of X_t is N(alpha mu_k, S_k) with S_k = alpha^2 C_k + sigma^2 I (ambient/worlds.py). */
export class NoisyMixture {
  private readonly rows: Float64Array; // 15 numbers for each component: see the constructor
  private readonly shares: Float64Array;
  constructor(mixture: Mixture, level: Level) {
    const { alpha } = level;
    const noisy = noisyWorld(mixture, level);
    this.shares = new Float64Array(mixture.length);
    this.rows = Float64Array.from(
      mixture.flatMap(({ weight, mean, covariance: [a, b, c] }, k) => {
        const [sxx, sxy, syy] = noisy[k]!.covariance;
        const det = sxx * syy - sxy * sxy;
        const [pxx, pxy, pyy] = [syy / det, -sxy / det, sxx / det]; // S^-1
        const gain = [
          alpha * (a * pxx + b * pxy),
          alpha * (a * pxy + b * pyy),
          alpha * (b * pxx + c * pxy),
          alpha * (b * pxy + c * pyy),
        ] as const;
        const within = [
          a - alpha * (gain[0] * a + gain[1] * b),
          b - alpha * (gain[0] * b + gain[1] * c),
          c - alpha * (gain[2] * b + gain[3] * c),
        ];
        return [
          Math.log(weight) - 0.5 * Math.log(det) - Math.log(2 * Math.PI),
          ...noisy[k]!.mean,
          pxx,
          pxy,
          pyy,
          ...mean,
          ...gain,
          ...within,
        ];
      }),
    );
  }

  /** log p_t(x). It also sets `shares` to P(k | x) for each component k. */
  logDensity(x: number, y: number): number {
    const { rows: R, shares } = this;
    let top = -Infinity;
    let total = 0;
    for (let k = 0, i = 0; k < shares.length; k++, i += 15) {
      const dx = x - R[i + 1]!;
      const dy = y - R[i + 2]!;
      shares[k] = R[i]! - 0.5 * (R[i + 3]! * dx * dx + 2 * R[i + 4]! * dx * dy + R[i + 5]! * dy * dy);
      top = Math.max(top, shares[k]!);
    }
    for (let k = 0; k < shares.length; k++) total += shares[k] = Math.exp(shares[k]! - top);
    for (let k = 0; k < shares.length; k++) shares[k]! /= total;
    return top + Math.log(total);
  }

  /** E[X_0 | x] = sum_k P(k | x) (mu_k + alpha C_k S_k^-1 (x - alpha mu_k)), the covariance of X_0 given x, and log p_t(x). */
  at(x: number, y: number): Posterior {
    const { rows: R, shares } = this;
    const logDensity = this.logDensity(x, y);
    let mx = 0;
    let my = 0;
    let xx = 0;
    let xy = 0;
    let yy = 0;
    for (let k = 0, i = 0; k < shares.length; k++, i += 15) {
      const p = shares[k]!;
      const dx = x - R[i + 1]!;
      const dy = y - R[i + 2]!;
      const hx = R[i + 6]! + R[i + 8]! * dx + R[i + 9]! * dy;
      const hy = R[i + 7]! + R[i + 10]! * dx + R[i + 11]! * dy;
      mx += p * hx;
      my += p * hy;
      xx += p * (R[i + 12]! + hx * hx);
      xy += p * (R[i + 13]! + hx * hy);
      yy += p * (R[i + 14]! + hy * hy);
    }
    return { mean: [mx, my], covariance: [xx - mx * mx, xy - mx * my, yy - my * my], logDensity };
  }
}

/** The trace of the covariance of a mixture. */
export function totalVariance(mixture: Mixture): number {
  const mean = (of: (mode: Mode) => number): number => mixture.reduce((sum, it) => sum + it.weight * of(it), 0);
  const [mx, my] = [mean((it) => it.mean[0]), mean((it) => it.mean[1])];
  return mean(({ mean: [x, y], covariance: [xx, , yy] }) => x * x + y * y + xx + yy) - mx * mx - my * my;
}

/** The distribution of X_n itself, as a mixture: the clean distribution of somebody who takes the noisy data for clean. */
export const noisyWorld = (mixture: Mixture, { alpha, sigma }: Level): Mixture =>
  mixture.map(({ weight, mean, covariance: [a, b, c] }) => ({
    weight,
    mean: [alpha * mean[0], alpha * mean[1]],
    covariance: [alpha * alpha * a + sigma * sigma, alpha * alpha * b, alpha * alpha * c + sigma * sigma],
  }));

/** grad log p_t(x) = (alpha_t E[X_0 | x] - x) / sigma_t^2: Tweedie's formula. With (r, q) and E[X_n | x] it is the second one. */
export const tweedie = (x: Vec, mean: Vec, alpha: number, sigma: number): Vec => [
  (alpha * mean[0] - x[0]) / sigma ** 2,
  (alpha * mean[1] - x[1]) / sigma ** 2,
];

/** E[X_n | X_t] = from_x_0 E[X_0 | X_t] + from_x_t X_t, the two weights of `ambient.tweedie.x_n_from_x_0`. */
export function doubleTweedie(n: Level, t: Level): { fromX0: number; fromXt: number } {
  const { r, q } = transition(n, t);
  const variance = t.sigma ** 2;
  return variance === 0
    ? { fromX0: 0, fromXt: 1 }
    : { fromX0: (n.alpha * q * q) / variance, fromXt: (r * n.sigma ** 2) / variance };
}

/**
 * What the noisy points alone say about X_n given X_t = x: the mean and the total variance over the points, each with the weight
 * exp(-|x - r x_n|^2 / (2 q^2)), and how many points share the weight.
 */
export function fromNoisyPoints(points: Float64Array, x: Vec, n: Level, t: Level) {
  const { r, q } = transition(n, t);
  const weights = new Float64Array(points.length / 2);
  const distance = (i: number): number => (x[0] - r * points[2 * i]!) ** 2 + (x[1] - r * points[2 * i + 1]!) ** 2;
  let nearest = Infinity;
  let total = 0;
  let squares = 0;
  let mx = 0;
  let my = 0;
  let second = 0;
  for (let i = 0; i < weights.length; i++) nearest = Math.min(nearest, (weights[i] = distance(i)));
  for (let i = 0; i < weights.length; i++) {
    const w = (weights[i] = Math.exp((nearest - weights[i]!) / (2 * q * q)));
    const px = points[2 * i]!;
    const py = points[2 * i + 1]!;
    total += w;
    squares += w * w;
    mx += w * px;
    my += w * py;
    second += w * (px * px + py * py);
  }
  const mean: Vec = [mx / total, my / total];
  return { mean, variance: second / total - mean[0] ** 2 - mean[1] ** 2, effective: (total * total) / squares, weights };
}

/** A denoiser: h(x, t) and the covariance that belongs to it, at the level with noise-to-signal ratio u. */
export type Denoiser = (x: number, y: number, u: number) => Posterior;

export function exactDenoiser(mixture: Mixture, path: PathName): Denoiser {
  let at = NaN;
  let noisy: NoisyMixture;
  return (x, y, u) => {
    if (u !== at) [at, noisy] = [u, new NoisyMixture(mixture, PATHS[path](u))];
    return noisy.at(x, y);
  };
}

/** The denoiser that keeps its values at `uN` for all lower levels: h(x, s) = h(x alpha_n / alpha_s, t_n). */
export function frozenBelow(denoiser: Denoiser, path: PathName, uN: number): Denoiser {
  return (x, y, u) => {
    if (u >= uN) return denoiser(x, y, u);
    const scale = PATHS[path](uN).alpha / PATHS[path](u).alpha;
    const share = (u / uN) ** 2;
    const frozen = denoiser(scale * x, scale * y, uN);
    const [xx, xy, yy] = frozen.covariance;
    return { ...frozen, covariance: [share * xx, share * xy, share * yy] };
  };
}

export type KernelName = "ddim" | "ancestral" | "matched";

/** One reverse step from X_t = x to level s (ambient/kernels.py): `z` is standard normal, `h` the posterior at x. */
export function reverseStep(kernel: KernelName, x: Vec, h: Posterior, t: Level, s: Level, z: Vec): Vec {
  const [hx, hy] = h.mean;
  if (kernel === "ddim") {
    const scale = s.sigma / t.sigma;
    const rest = s.alpha - scale * t.alpha;
    return [rest * hx + scale * x[0], rest * hy + scale * x[1]];
  }
  const { fromX0, fromXt } = doubleTweedie(s, t);
  const share = transition(s, t).q ** 2 / t.sigma ** 2;
  const offset = s.sigma ** 2 * share;
  const weight = kernel === "matched" ? fromX0 ** 2 : 0;
  const [xx, xy, yy] = h.covariance;
  const a = Math.sqrt(offset + weight * xx);
  const b = a > 0 ? (weight * xy) / a : 0; // Cholesky factor of the covariance of the step
  const c = Math.sqrt(Math.max(0, offset + weight * yy - b * b));
  return [fromX0 * hx + fromXt * x[0] + a * z[0], fromX0 * hy + fromXt * x[1] + b * z[0] + c * z[1]];
}

/** The share of the amplitude of a pattern that the noise leaves, exp(-2 pi^2 (u / wavelength)^2). */
export const shareLeft = (u: number, wavelength: number): number => Math.exp(-2 * ((Math.PI * u) / wavelength) ** 2);

/** The wall: the wavelength at which the share that is left equals 1 / sqrt(count). */
export const wall = (u: number, count: number): number => (2 * Math.PI * u) / Math.sqrt(Math.log(count));
