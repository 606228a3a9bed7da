/** The four pictures of what noisy data say: the data, the denoiser and the score, the two means, and the loss. */

import { Chart } from "./chart";
import * as m from "./math";
import type { Vec } from "./math";
import { HALF, Plane } from "./plane";
import { at, fixed, logRange, noisy, noisyPoints, pair, range, showClean, type Key, type View } from "./shared";
import { LEVELS, type State } from "./state";
import { separation } from "./worlds";

/** The density of the first coordinate at a level. */
const marginal = (s: State, { alpha, sigma }: m.Level, x: number): number =>
  s.modes.reduce((sum, { weight, mean, covariance }) => {
    const variance = alpha ** 2 * covariance[0] + sigma ** 2;
    return sum + weight * Math.exp(-((x - alpha * mean[0]) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
  }, 0);

export const data: View = (s, canvases, c) => {
  const plane = new Plane(canvases.plane), points = noisyPoints(s), key = showClean(s, plane, c);
  plane.dots(points, c.ink, 1, 0.55);
  const xs = range(161, -HALF, HALF), edges = range(41, -HALF, HALF), width = edges[1]! - edges[0]!, heights = Array<number>(40).fill(0);
  for (let i = 0; i < points.length; i += 2) {
    const bin = Math.floor((points[i]! + HALF) / width);
    if (bin >= 0 && bin < 40) heights[bin]! += 1 / (s.count * width);
  }
  const density = xs.map((x) => marginal(s, at(s, s.noise), x)), clean = xs.map((x) => marginal(s, { alpha: 1, sigma: 0 }, x));
  const top = 1.1 * Math.max(...density, ...heights, ...(s.clean ? clean : []));
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [0, top], xTitle: "first coordinate", yTitle: "density" }, c);
  chart.bars(edges, heights, c.muted, 0.35);
  chart.line(xs, density, c.ink, 2);
  if (s.clean) chart.line(xs, clean, c.accent, 2);
  chart.close();
  const share = s.modes.length > 1 ? ` The noise is ${fixed(s.noise / separation(s.modes))} of the distance between the nearest modes.` : "";
  return {
    key: [{ mark: "dots", colour: "ink", text: "noisy data" }, ...key],
    readout: `There are ${s.count.toLocaleString("en")} noisy points.${share}`,
  };
};

export const fields: View = (s, canvases, c) => {
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
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [-limit, limit], xTitle: "first coordinate of x", yTitle }, c);
  chart.line([-HALF, HALF], isScore ? [0, 0] : [-HALF / t.alpha, HALF / t.alpha], c.muted, 1, 1, [3, 4]);
  if (!isScore) chart.text("h = x / α", 1.55, 2.75 , c.muted, "right");
  chart.line(xs, ys, c.accent, 2.5);
  chart.dot(px, (isScore ? score(px, py) : here)[0], c.accent);
  chart.close();
  return {
    key: [
      isScore ? { mark: "arrow", colour: "ink", text: "score" } : { mark: "line", colour: "ink", text: "a square mesh after the denoiser has moved it" },
      { mark: "arrow", colour: "accent", text: "from x to α<sub>t</sub> h(x, t)" }, { mark: "fill", colour: "muted", text: "density at level t" }, ...key],
    readout: `At x = ${pair(s.probe)} the denoiser is h = ${pair(here)}, and the score is ${pair(score(px, py))}.`,
  };
};

const BELOW = "The level t is not above the data’s noise, so noisy data give no second mean here. Raise t or lower the noise.";

export const tweedie: View = (s, canvases, c) => {
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
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [-limit, limit], xTitle: "first coordinate of x", yTitle }, c);
  chart.line(xs, ys, c.accent, 7, 0.6);
  const all: Key[] = [{ mark: "arrow", colour: "accent", text: "from the clean mean E[X<sub>0</sub> | X<sub>t</sub> = x]" }];
  if (above) {
    const rough = range(33, -HALF, HALF), mean = dataWorld!.at(px, py).mean;
    chart.line(xs, xs.map((x) => second(x)[0]), c.ink, 1.8);
    chart.line(rough, rough.map((x) => third(x)[0]), c.muted, 1.2, 1, [4, 3]);
    plane.arrow(s.probe, end(third(px)), c.muted, 1.6, 1, [5, 4]);
    plane.arrow(s.probe, end(second(px)), c.ink, 2);
    plane.ring([r * mean[0], r * mean[1]], 5, c.ink, 2, true, c.paper);
    all.push({ mark: "arrow", colour: "ink", text: "from the noisy mean E[X<sub>n</sub> | X<sub>t</sub> = x]" }, { mark: "ring", colour: "ink", text: "r E[X<sub>n</sub> | X<sub>t</sub> = x]" },
      { mark: "dash", colour: "muted", text: "the same from the noisy points alone" });
  }
  chart.dot(px, first(px)[0], c.accent);
  chart.close();
  return {
    key: [...all, ...key],
    readout: above ? `The score is ${pair(first(px))} from the clean mean, ${pair(second(px))} from the noisy mean, and ${pair(third(px))} from the ${s.count.toLocaleString("en")} noisy points.` : BELOW,
  };
};

export const loss: View = (s, canvases, c) => {
  const plane = new Plane(canvases.plane), [n, t] = [at(s, s.noise), at(s, s.level)], { fromX0, fromXt } = m.doubleTweedie(n, t);
  const above = m.transition(n, t).q > 0, exact = noisy(s, s.level).at(...s.probe).mean;
  const found = m.fromNoisyPoints(noisyPoints(s), s.probe, n, above ? t : at(s, 1.001 * s.noise)), key = showClean(s, plane, c);
  const best: Vec = [(found.mean[0] - fromXt * s.probe[0]) / fromX0, (found.mean[1] - fromXt * s.probe[1]) / fromX0];
  const excess = (x: number, y: number): number => fromX0 ** 2 * ((x - best[0]) ** 2 + (y - best[1]) ** 2);
  if (above) {
    const cells = 60, place = (i: number): number => HALF * (2 * (i + 0.5) / cells - 1);
    plane.image(cells, c.muted, (i) => 0.22 * (1 - Math.exp(-2.5 * excess(place(i % cells), -place(Math.floor(i / cells))))));
    for (let k = 1; k <= 12; k++) plane.ring(best, Math.sqrt(0.1 * k) / fromX0, c.ink, 0.8);
    plane.cross(best, 6, c.ink, 2.5);
  }
  plane.ring(exact, 9, c.accent, 3, true);
  const us = logRange(100, s.noise, LEVELS.highest), weight = us.map((u) => m.doubleTweedie(n, at(s, u)).fromX0 ** 2 / n.alpha ** 2);
  const axes = { x: [s.noise, LEVELS.highest] as [number, number], y: [0, 1.15] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "noise level t", yTitle: "weight of the squared error of h" }, c);
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
      { mark: "cross", colour: "ink", text: "lowest point, from noisy data alone" }, { mark: "ring", colour: "accent", text: "clean mean E[X<sub>0</sub> | X<sub>t</sub> = x]" }, ...key],
    readout: above ? `The loss of the guess is ${fixed(least + more)}. The smallest possible loss is ${fixed(least)}, and the error of the guess adds ${fixed(more)}.` : BELOW,
  };
};
