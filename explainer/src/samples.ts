/** Samplers, random numbers, and what is measured on many samples; without any drawing. */

import { PATHS, reverseStep, type Denoiser, type KernelName, type Level, type Mixture, type PathName, type Vec } from "./math";

/** `steps` + 1 falling levels from `start` to `stop`, evenly spaced in log-SNR (ambient/samplers.py, `log_snr_grid`). */
export const logSnrGrid = (start: number, stop: number, steps: number): number[] =>
  Array.from({ length: steps + 1 }, (_, i) => (i === 0 ? start : i === steps ? stop : start * (stop / start) ** (i / steps)));

/** The reverse process: at each level of the grid the samples `x` and their denoised values `h`; at level 0, h = x. */
export interface Process {
  readonly grid: readonly number[];
  readonly x: Float64Array[];
  readonly h: Float64Array[];
}

/** A kernel, or "multistep": steps of second order along the probability flow, DPM-Solver++(2M) of Lu et al. (2022). */
export type Sampler = KernelName | "multistep";

export function reverseProcess(
  denoiser: Denoiser,
  path: PathName,
  start: Float64Array,
  grid: readonly number[],
  sampler: Sampler,
  normal: () => number,
): Process {
  const x: Float64Array[] = [start];
  const h: Float64Array[] = [];
  grid.forEach((u, i) => {
    const now = x[i]!;
    const mean = new Float64Array(now.length);
    const next = new Float64Array(now.length);
    const t = PATHS[path](u);
    const s = PATHS[path](grid[i + 1] ?? 0);
    const last = i + 1 === grid.length;
    const kernel = sampler === "multistep" ? "ddim" : sampler;
    const before = h[i - 1];
    // The multistep rule is a DDIM step with h continued linearly in the log-SNR, half a step ahead; the step to 0 takes h itself.
    const ahead =
      sampler === "multistep" && before && s.sigma > 0 ? Math.log(u / grid[i + 1]!) / (2 * Math.log(grid[i - 1]! / u)) : 0;
    h.push(u === 0 ? now : mean);
    if (u === 0) return;
    for (let j = 0; j < now.length; j += 2) {
      const posterior = denoiser(now[j]!, now[j + 1]!, u);
      const [hx, hy] = posterior.mean;
      mean.set(posterior.mean, j);
      if (last) continue;
      const used = ahead ? ([hx + ahead * (hx - before![j]!), hy + ahead * (hy - before![j + 1]!)] as const) : posterior.mean;
      next.set(reverseStep(kernel, [now[j]!, now[j + 1]!], { ...posterior, mean: used }, t, s, [normal(), normal()]), j);
    }
    if (!last) x.push(next);
  });
  return { grid, x, h };
}

/** Standard normal numbers from a seed: mulberry32 and the Box-Muller transform. */
export function normals(seed: number): () => number {
  const uniform = uniforms(seed);
  let spare: number | null = null;
  return () => {
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

export function uniforms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Pairs that fill the standard normal distribution evenly: the sequence R2 of Roberts (2018) and the Box-Muller transform. */
export function evenNormals(count: number): Float64Array {
  const points = new Float64Array(2 * count);
  for (let i = 0; i < count; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - ((0.5 + i * 0.7548776662466927) % 1)));
    const angle = 2 * Math.PI * ((0.5 + i * 0.5698402909980532) % 1);
    points.set([radius * Math.cos(angle), radius * Math.sin(angle)], 2 * i);
  }
  return points;
}

/** `count` draws of X_t = alpha X_0 + sigma Z. The same seed gives the same choices, so that the points move smoothly. */
export function draw(mixture: Mixture, level: Level, count: number, seed: number): Float64Array {
  const uniform = uniforms(seed);
  const normal = normals(seed + 1);
  const points = new Float64Array(2 * count);
  const factors = mixture.map(
    ({ covariance: [a, b, c] }) => [Math.sqrt(a), b / Math.sqrt(a), Math.sqrt(c - (b * b) / a)] as const,
  );
  for (let i = 0; i < count; i++) {
    let k = 0;
    let left = uniform() - mixture[0]!.weight;
    while (left > 0 && k < mixture.length - 1) left -= mixture[++k]!.weight;
    const [a, b, c] = factors[k]!;
    const [mx, my] = mixture[k]!.mean;
    const z0 = normal();
    const z1 = normal();
    points[2 * i] = level.alpha * (mx + a * z0) + level.sigma * normal();
    points[2 * i + 1] = level.alpha * (my + b * z0 + c * z1) + level.sigma * normal();
  }
  return points;
}

/** The mean and the total variance (the trace of the covariance) of many samples. */
export function moments(points: Float64Array): { mean: Vec; variance: number } {
  let mx = 0;
  let my = 0;
  let second = 0;
  for (let i = 0; i < points.length; i += 2) {
    mx += points[i]!;
    my += points[i + 1]!;
  }
  const count = points.length / 2;
  const mean: Vec = [mx / count, my / count];
  for (let i = 0; i < points.length; i += 2) second += (points[i]! - mean[0]) ** 2 + (points[i + 1]! - mean[1]) ** 2;
  return { mean, variance: second / count };
}

/** The points along evenly spaced directions, in rising order for each. */
export const projections = (points: Float64Array, directions = 8): Float64Array[] =>
  Array.from({ length: directions }, (_, d) => {
    const [c, s] = [Math.cos((Math.PI * d) / directions), Math.sin((Math.PI * d) / directions)];
    const along = new Float64Array(points.length / 2);
    for (let i = 0; i < along.length; i++) along[i] = c * points[2 * i]! + s * points[2 * i + 1]!;
    return along.sort();
  });

/** The sliced Wasserstein-2 distance of two sets, from their `projections`; `b` has a multiple of the size of `a`. */
export function slicedDistance(a: Float64Array[], b: Float64Array[]): number {
  const squares = a.map((p, d) => {
    const q = b[d]!;
    const ratio = q.length / p.length;
    return q.reduce((sum, value, i) => sum + (value - p[Math.floor(i / ratio)]!) ** 2, 0) / q.length;
  });
  return Math.sqrt(squares.reduce((sum, it) => sum + it, 0) / squares.length);
}
