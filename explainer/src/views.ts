/** The eight pictures. Each draws in the plane and in the chart, and returns what its marks mean and the numbers that it shows. */

import { Chart } from "./chart";
import * as m from "./math";
import type { Vec } from "./math";
import { HALF, Plane } from "./plane";
import { LEVELS, STEPS_ABOVE, STEPS_BELOW, type State, type ViewName } from "./state";
import { separation } from "./worlds";

export interface Colours { ink: string; muted: string; accent: string; paper: string }
export interface Canvases { plane: HTMLCanvasElement; chart: HTMLCanvasElement }
type Mark = "dots" | "line" | "dash" | "arrow" | "fill" | "ring" | "cross" | "disc";
export interface Key { mark: Mark; colour: keyof Colours; text: string }
export interface Shown { key: Key[]; readout: string }

const SHOWN_PATHS = 60, SAMPLES = 400, RUNS = 300;
const range = (count: number, from: number, to: number): number[] => Array.from({ length: count }, (_, i) => from + (to - from) * i / (count - 1));
const logRange = (count: number, from: number, to: number): number[] => range(count, Math.log(from), Math.log(to)).map(Math.exp);
const fixed = (value: number, digits = 2): string => value.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");
const pair = (v: Vec): string => `(${fixed(v[0])}, ${fixed(v[1])})`;
const percent = (value: number): string => `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
const column = (points: Float64Array[], i: number): number[] => points.map((it) => it[2 * i]!);

/** The last result for each name, computed again only if what it depends on has changed. */
const kept = new Map<string, { on: string; value: unknown }>();
function keep<T>(name: string, on: unknown[], compute: () => T): T {
  const key = JSON.stringify(on), found = kept.get(name);
  if (found?.on === key) return found.value as T;
  const value = compute();
  kept.set(name, { on: key, value });
  return value;
}

const at = (s: State, u: number): m.Level => m.PATHS[s.path](u);
const noisy = (s: State, u: number): m.NoisyMixture => new m.NoisyMixture(s.modes, at(s, u));
export const noisyPoints = (s: State): Float64Array =>
  keep("points", [s.modes, s.path, s.noise, s.count], () => m.draw(s.modes, at(s, s.noise), s.count, 1));
const cleanPoints = (s: State): Float64Array => keep("clean", [s.modes], () => m.draw(s.modes, { alpha: 1, sigma: 0 }, 5 * SAMPLES, 7));

/** The grid of the sampler: from the highest level down to the data's noise, and from there to 0. */
export const samplerGrid = (noise: number): number[] => [
  ...m.logSnrGrid(LEVELS.highest, noise, STEPS_ABOVE), ...m.logSnrGrid(noise, LEVELS.lowest, STEPS_BELOW - 1).slice(1), 0];

export function denoiser(s: State): m.Denoiser {
  const exact = m.exactDenoiser(s.modes, s.path);
  return s.lower === "learned" ? exact : m.frozenBelow(exact, s.path, s.noise);
}

/** Samples of the probability flow, from pure noise down to level 0. */
export const sampled = (s: State): m.Process =>
  keep("sampled", [s.modes, s.path, s.noise, s.lower], () => {
    const normal = m.normals(3), sigma = at(s, LEVELS.highest).sigma;
    const start = Float64Array.from({ length: 2 * SAMPLES }, () => sigma * normal());
    return m.reverseProcess(denoiser(s), s.path, start, samplerGrid(s.noise), "ddim", normal);
  });

/** Many runs of the reverse process from one point at the level of the data. */
export const fan = (s: State): m.Process =>
  keep("fan", [s.modes, s.path, s.noise, s.lower, s.probe], () => {
    const start = Float64Array.from({ length: 2 * RUNS }, (_, i) => s.probe[i % 2]!);
    return m.reverseProcess(denoiser(s), s.path, start, samplerGrid(s.noise).slice(STEPS_ABOVE), "matched", m.normals(5));
  });

/** The density of the first coordinate at a level. */
const marginal = (s: State, { alpha, sigma }: m.Level, x: number): number =>
  s.modes.reduce((sum, { weight, mean, covariance }) => {
    const variance = alpha ** 2 * covariance[0] + sigma ** 2;
    return sum + weight * Math.exp(-((x - alpha * mean[0]) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
  }, 0);

const CLEAN: Key = { mark: "fill", colour: "accent", text: "clean density, hidden from the method" };
function showClean(s: State, plane: Plane, c: Colours): Key[] {
  if (!s.clean) return [];
  const clean = new m.NoisyMixture(s.modes, { alpha: 1, sigma: 0 });
  plane.density((x, y) => clean.logDensity(x, y), c.accent, 0.6);
  return [CLEAN];
}

function data(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), points = noisyPoints(s), key = showClean(s, plane, c);
  plane.dots(points, c.ink, 1, 0.55);
  const xs = range(161, -HALF, HALF), edges = range(41, -HALF, HALF), width = edges[1]! - edges[0]!, heights = Array<number>(40).fill(0);
  for (let i = 0; i < points.length; i += 2) {
    const bin = Math.floor((points[i]! + HALF) / width);
    if (bin >= 0 && bin < 40) heights[bin]! += 1 / (s.count * width);
  }
  const density = xs.map((x) => marginal(s, at(s, s.noise), x)), clean = xs.map((x) => marginal(s, { alpha: 1, sigma: 0 }, x));
  const top = 1.1 * Math.max(...density, ...heights, ...(s.clean ? clean : []));
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [0, top], xTitle: "first coordinate", yTitle: "density" }, c.ink, c.muted);
  chart.bars(edges, heights, c.muted, 0.35);
  chart.line(xs, density, c.ink, 2);
  if (s.clean) chart.line(xs, clean, c.accent, 2);
  chart.close();
  const share = s.modes.length > 1 ? ` The noise is ${fixed(s.noise / separation(s.modes))} of the distance between the nearest modes.` : "";
  return {
    key: [{ mark: "dots", colour: "ink", text: "noisy data" }, ...key],
    readout: `There are ${s.count.toLocaleString("en")} noisy points.${share}`,
  };
}

function fields(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), t = at(s, s.level), mixture = noisy(s, s.level), h = (x: number, y: number): Vec => mixture.at(x, y).mean;
  const score = (x: number, y: number): Vec => m.tweedie([x, y], h(x, y), t.alpha, t.sigma), isScore = s.field === "score";
  plane.density((x, y) => mixture.logDensity(x, y), c.muted, 0.4);
  const key = showClean(s, plane, c), [px, py] = s.probe, here = h(px, py);
  if (isScore) {
    const cell = 2 * HALF / 17, longest = Math.max(...range(9, -HALF, HALF).flatMap((x) => range(9, -HALF, HALF).map((y) => Math.hypot(...score(x, y)))));
    plane.field((x, y) => score(x, y).map((v, i) => (i ? y : x) + 1.6 * cell * v / longest) as unknown as Vec, c.ink);
  } else {
    for (const fixedCoordinate of range(23, -HALF, HALF)) {
      plane.line(range(70, -HALF, HALF).map((v) => h(fixedCoordinate, v)), c.ink, 1, 0.5);
      plane.line(range(70, -HALF, HALF).map((v) => h(v, fixedCoordinate)), c.ink, 1, 0.5);
    }
  }
  plane.line([[-HALF, py], [HALF, py]], c.muted, 1, 0.9, [3, 4]);
  plane.arrow(s.probe, [t.alpha * here[0], t.alpha * here[1]], c.accent, 3);
  const xs = range(121, -HALF, HALF), ys = xs.map((x) => (isScore ? score(x, py) : h(x, py))[0]);
  const limit = isScore ? Math.max(...ys.map(Math.abs)) * 1.1 : HALF;
  const yTitle = isScore ? "score along the dashed line, first coordinate" : "h along the dashed line, first coordinate";
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [-limit, limit], xTitle: "first coordinate of x", yTitle }, c.ink, c.muted);
  chart.line([-HALF, HALF], isScore ? [0, 0] : [-HALF / t.alpha, HALF / t.alpha], c.muted, 1, 1, [3, 4]);
  if (!isScore) chart.text("h = x / α", 1.55, 2.75 , c.muted, "right");
  chart.line(xs, ys, c.accent, 2.5);
  chart.dot(px, (isScore ? score(px, py) : here)[0], c.accent);
  chart.close();
  return {
    key: [
      isScore ? { mark: "arrow", colour: "ink", text: "score" } : { mark: "line", colour: "ink", text: "a square mesh after the denoiser has moved it" },
      { mark: "arrow", colour: "accent", text: "from the point x to α h(x, t)" }, { mark: "fill", colour: "muted", text: "density at level t" }, ...key],
    readout: `At x = ${pair(s.probe)} the denoiser is h = ${pair(here)}, and the score is ${pair(score(px, py))}.`,
  };
}

const BELOW = "The level t is not above the data’s noise, so noisy data give no second mean here. Raise t or lower the noise.";

function tweedie(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), [n, t] = [at(s, s.noise), at(s, s.level)], { r, q } = m.transition(n, t), above = q > 0;
  const points = noisyPoints(s), clean = noisy(s, s.level), key = showClean(s, plane, c), [px, py] = s.probe;
  const first = (x: number): Vec => m.tweedie([x, py], clean.at(x, py).mean, t.alpha, t.sigma);
  const dataWorld = above ? new m.NoisyMixture(m.noisyWorld(s.modes, n), { alpha: r, sigma: q }) : null;
  const second = (x: number): Vec => m.tweedie([x, py], dataWorld!.at(x, py).mean, r, q);
  const third = (x: number): Vec => m.tweedie([x, py], m.fromNoisyPoints(points, [x, py], n, t).mean, r, q);
  const end = (score: Vec): Vec => [px + t.sigma ** 2 * score[0], py + t.sigma ** 2 * score[1]];
  const weights = above ? m.fromNoisyPoints(points, s.probe, n, t).weights : null;
  plane.dots(points, c.ink, 1.1, (i) => (weights ? 0.1 + 0.75 * weights[i]! : 0.3));
  plane.line([[-HALF, py], [HALF, py]], c.muted, 1, 0.9, [3, 4]);
  plane.arrow(s.probe, end(first(px)), c.accent, 9, 0.8);
  const xs = range(81, -HALF, HALF), ys = xs.map((x) => first(x)[0]), limit = 1.3 * Math.max(...ys.map(Math.abs));
  const yTitle = "score along the dashed line, first coordinate";
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [-limit, limit], xTitle: "first coordinate of x", yTitle }, c.ink, c.muted);
  chart.line(xs, ys, c.accent, 7, 0.6);
  const all: Key[] = [{ mark: "arrow", colour: "accent", text: "from the clean mean E[X₀ | X_t = x]" }];
  if (above) {
    const rough = range(49, -HALF, HALF), mean = dataWorld!.at(px, py).mean;
    chart.line(xs, xs.map((x) => second(x)[0]), c.ink, 1.8);
    chart.line(rough, rough.map((x) => third(x)[0]), c.muted, 1.2, 1, [4, 3]);
    plane.arrow(s.probe, end(third(px)), c.muted, 1.6, 1, [5, 4]);
    plane.arrow(s.probe, end(second(px)), c.ink, 2);
    plane.ring([r * mean[0], r * mean[1]], 5, c.ink, 2, true, c.paper);
    all.push({ mark: "arrow", colour: "ink", text: "from the noisy mean E[X_n | X_t = x]" }, { mark: "ring", colour: "ink", text: "r E[X_n | X_t = x]" },
      { mark: "dash", colour: "muted", text: "the same from the noisy points alone" });
  }
  chart.dot(px, first(px)[0], c.accent);
  chart.close();
  return {
    key: [...all, ...key],
    readout: above ? `Score from the clean mean: ${pair(first(px))}. From the noisy mean: ${pair(second(px))}. From the ${s.count.toLocaleString("en")} noisy points: ${pair(third(px))}.` : BELOW,
  };
}

function loss(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), [n, t] = [at(s, s.noise), at(s, s.level)], { fromX0, fromXt } = m.doubleTweedie(n, t);
  const above = m.transition(n, t).q > 0, exact = noisy(s, s.level).at(...s.probe).mean;
  const found = m.fromNoisyPoints(noisyPoints(s), s.probe, n, above ? t : at(s, 1.001 * s.noise)), key = showClean(s, plane, c);
  const best: Vec = [(found.mean[0] - fromXt * s.probe[0]) / fromX0, (found.mean[1] - fromXt * s.probe[1]) / fromX0];
  const excess = (x: number, y: number): number => fromX0 ** 2 * ((x - best[0]) ** 2 + (y - best[1]) ** 2);
  if (above) {
    const cells = 60, place = (i: number): number => HALF * (2 * (i + 0.5) / cells - 1);
    plane.image(cells, c.muted, (i) => 0.5 * (1 - Math.exp(-2.5 * excess(place(i % cells), -place(Math.floor(i / cells))))));
    for (let k = 1; k <= 12; k++) plane.ring(best, Math.sqrt(0.1 * k) / fromX0, c.ink, 0.8);
    plane.cross(best, 6, c.ink, 2.5);
  }
  plane.ring(exact, 9, c.accent, 3, true);
  const us = logRange(100, s.noise, LEVELS.highest), weight = us.map((u) => m.doubleTweedie(n, at(s, u)).fromX0 ** 2 / n.alpha ** 2);
  const axes = { x: [s.noise, LEVELS.highest] as [number, number], y: [0, 1.15] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "noise level t", yTitle: "weight of the squared error of h" }, c.ink, c.muted);
  chart.line(axes.x, [1, 1], c.muted, 1.5, 1, [4, 3]);
  chart.text("antithetic loss of this project", LEVELS.highest * 0.95, 1.06, c.muted, "right");
  chart.line(us, weight, c.ink, 2);
  if (above) chart.mark(s.level, "t", c.accent);
  chart.text("the paper’s loss", 2.6 * s.noise, 0.45, c.ink);
  chart.close();
  const least = found.variance, more = excess(...s.guess);
  return {
    key: [
      { mark: "disc", colour: "ink", text: "the guess, which you can drag" }, { mark: "line", colour: "ink", text: "equal loss, in steps of 0.1" },
      { mark: "cross", colour: "ink", text: "lowest point, from noisy data alone" }, { mark: "ring", colour: "accent", text: "clean mean E[X₀ | X_t = x]" }, ...key],
    readout: above ? `Loss of the guess: ${fixed(least + more)} = ${fixed(least)}, which no guess removes, + ${fixed(more)}.` : BELOW,
  };
}

const LOWER: Record<State["lower"], string> = { learned: "learned", frozen: "not learned" };

function paths(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), key = showClean(s, plane, c), run = sampled(s), last = s.reached, floor = LEVELS.lowest * 0.8;
  const us = run.grid.map((u) => Math.max(u, floor)), until = us.slice(0, last + 1);
  const axes = { x: [LEVELS.highest, floor] as [number, number], y: [-HALF, HALF] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "noise level, falling to 0", yTitle: "first coordinate of the paths" }, c.ink, c.muted);
  chart.region(s.noise, floor, c.muted, 0.16);
  for (let i = 0; i < SHOWN_PATHS; i++) {
    const trail = run.x.slice(0, last + 1).map((x): Vec => [x[2 * i]!, x[2 * i + 1]!]);
    plane.line(trail.slice(0, STEPS_ABOVE + 1), c.muted, 1, 0.45);
    plane.line(trail.slice(STEPS_ABOVE), c.ink, 1.1, 0.8);
    chart.line(until.slice(0, STEPS_ABOVE + 1), column(run.x, i).slice(0, STEPS_ABOVE + 1), c.muted, 1, 0.6);
    chart.line(us.slice(STEPS_ABOVE, last + 1), column(run.x, i).slice(STEPS_ABOVE, last + 1), c.ink, 1, 0.7);
  }
  plane.dots(run.x[last]!, c.ink, 1.6, 0.9);
  chart.mark(s.noise, "tₙ", c.accent);
  chart.close();
  const done = run.grid[last] === 0, distance = done ? m.slicedDistance(run.x[last]!, cleanPoints(s)) : 0;
  return {
    key: [
      { mark: "line", colour: "muted", text: "above tₙ, learned from noisy data" }, { mark: "line", colour: "ink", text: `below tₙ, ${LOWER[s.lower]}` },
      { mark: "dots", colour: "ink", text: "samples" }, ...key],
    readout: done ? `Sliced Wasserstein-2 distance from the ${SAMPLES} samples to the clean distribution: ${fixed(distance)}.`
      : `The samples have reached the noise level ${fixed(run.grid[last]!)}.`,
  };
}

function martingale(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), key = showClean(s, plane, c), run = fan(s), last = Math.max(0, s.reached - STEPS_ABOVE);
  const floor = LEVELS.lowest * 0.8, us = run.grid.map((u) => Math.max(u, floor)), means = run.h.map((h) => m.moments(h).mean);
  const error = Math.sqrt(m.moments(run.h[last]!).variance / RUNS), start = means[0]!, now = means[last]!;
  for (let i = 0; i < SHOWN_PATHS; i++) plane.line(run.h.slice(0, last + 1).map((h): Vec => [h[2 * i]!, h[2 * i + 1]!]), c.muted, 1, 0.35);
  plane.dots(run.h[last]!, c.ink, 1.6, 0.8);
  plane.line(means.slice(0, last + 1), c.accent, 3);
  plane.ring(start, 9, c.accent, 2, true);
  plane.ring(now, 5, c.accent, 2, true, c.accent);
  const axes = { x: [s.noise, floor] as [number, number], y: [-HALF, HALF] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "noise level s, falling to 0", yTitle: "first coordinate of h(X_s, s)" }, c.ink, c.muted);
  for (let i = 0; i < SHOWN_PATHS; i++) chart.line(us.slice(0, last + 1), column(run.h, i).slice(0, last + 1), c.muted, 1, 0.5);
  chart.line([s.noise, floor], [start[0], start[0]], c.ink, 1.2, 1, [4, 4]);
  chart.line(us.slice(0, last + 1), means.slice(0, last + 1).map((it) => it[0]), c.accent, 3);
  chart.close();
  return {
    key: [
      { mark: "disc", colour: "ink", text: "the start x, which you can drag" }, { mark: "dots", colour: "ink", text: `h(X_s, s) of ${RUNS} paths` },
      { mark: "disc", colour: "accent", text: "their mean" }, { mark: "ring", colour: "accent", text: "h(x, tₙ)" }, ...key],
    readout: `Start: ${pair(start)}. Mean of h(X_s, s) now: ${pair(now)}, with a standard error of ${fixed(error)}.`,
  };
}

function stop(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), key = showClean(s, plane, c), run = sampled(s), last = s.reached, floor = LEVELS.lowest * 0.8;
  const clean = cleanPoints(s), truth = m.moments(clean).variance, shares = run.h.map((h) => m.moments(h).variance / truth);
  plane.dots(run.h[last]!, c.ink, 1.6, 0.9);
  const axes = { x: [LEVELS.highest, floor] as [number, number], y: [0, 1.25] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "level s where the sampler stops", yTitle: "share of the clean variance" }, c.ink, c.muted);
  const us = run.grid.map((u) => Math.max(u, floor));
  chart.line(axes.x, [1, 1], c.muted, 1.2, 1, [4, 4]);
  chart.mark(s.noise, "early stop at tₙ", c.muted, [4, 3]);
  chart.line(us, shares, c.ink, 2);
  chart.dot(us[last]!, shares[last]!, c.accent, 6);
  chart.close();
  const where = last === STEPS_ABOVE ? "Early stop" : run.grid[last] === 0 ? "Full sampling" : `Stop at s = ${fixed(run.grid[last]!)}`;
  return {
    key: [{ mark: "dots", colour: "ink", text: "the denoised points h(X_s, s)" }, ...key],
    readout: `${where}: the points have ${percent(shares[last]!)} of the clean variance. Sliced Wasserstein-2 distance to the clean distribution: ${fixed(m.slicedDistance(run.h[last]!, clean))}.`,
  };
}

function wall(s: State, canvases: Canvases, c: Colours): Shown {
  const plane = new Plane(canvases.plane), n = at(s, s.noise), mixture = noisy(s, s.noise);
  const finest = m.wall(s.noise, s.count), apart = separation(s.modes), left = m.shareLeft(s.noise, apart);
  plane.density((x, y) => mixture.logDensity(x, y), c.ink, 0.75);
  const key = showClean(s, plane, c), step = n.alpha * finest / 2;
  for (let k = 0; 2 * k * step < 2 * HALF; k++) {
    for (const y of range(9, -HALF + 0.1, -HALF + 0.34)) plane.line([[-HALF + 2 * k * step, y], [-HALF + (2 * k + 1) * step, y]], c.accent, 3);
  }
  const lengths = logRange(160, 0.1, 10);
  const axes = { x: [0.1, 10] as [number, number], y: [0, 1.1] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "wavelength of a pattern", yTitle: "share of its amplitude that the noise leaves" }, c.ink, c.muted);
  chart.region(0.1, finest, c.muted, 0.2);
  chart.line(lengths, lengths.map((it) => m.shareLeft(s.noise, it)), c.ink, 2);
  chart.mark(finest, "wall", c.accent);
  if (Number.isFinite(apart)) chart.mark(apart, "modes", c.muted, [4, 3]);
  chart.close();
  return {
    key: [{ mark: "fill", colour: "ink", text: "density of the noisy data" }, { mark: "dash", colour: "accent", text: "a ruler with the wavelength of the wall" }, ...key],
    readout: `Wall for ${s.count.toLocaleString("en")} points: ${fixed(finest)}. The nearest modes are ${fixed(apart)} apart, and ${left < 1e-4 ? "less than 0.01 %" : percent(left)} of their pattern is left.`,
  };
}

export const VIEWS: Record<ViewName, (s: State, canvases: Canvases, c: Colours) => Shown> = { data, fields, tweedie, loss, paths, martingale, stop, wall };
