/** The four pictures of what noisy data say: the data, the denoiser and the score, the two means, and the loss. */

import { Chart } from "./chart";
import * as m from "./math";
import type { Vec } from "./math";
import { HALF, Plane } from "./plane";
import { at, counted, fixed, logRange, noisy, noisyPoints, pair, range, showClean } from "./shared";
import type { Canvases, Colours, Key, View } from "./shared";
import { LEVELS, type State } from "./state";
import { separation } from "./worlds";

const CHARTED: Key = { mark: "dotted", colour: "muted", text: "the line of the chart" };
const BELOW = "The level t is not above the data’s noise, so noisy data give no second mean here. Raise t or lower the noise.";
const SCORE_TITLE = "score along the dotted line, first coordinate";

/** The density of the first coordinate at a level. */
const marginal = (s: State, { alpha, sigma }: m.Level, x: number): number =>
  s.modes.reduce((sum, { weight, mean, covariance }) => {
    const variance = alpha ** 2 * covariance[0] + sigma ** 2;
    return sum + (weight * Math.exp(-((x - alpha * mean[0]) ** 2) / (2 * variance))) / Math.sqrt(2 * Math.PI * variance);
  }, 0);

export const data: View = (s, canvases, c) => {
  const plane = new Plane(canvases.plane);
  const points = noisyPoints(s);
  const clean = showClean(s, plane, c);
  plane.dots(points, { colour: c.ink, size: 1, opacity: 0.55 });
  const edges = range(41, -HALF, HALF);
  const width = edges[1]! - edges[0]!;
  const heights = Array<number>(40).fill(0);
  for (let i = 0; i < points.length; i += 2) {
    const bin = Math.floor((points[i]! + HALF) / width);
    if (bin >= 0 && bin < 40) heights[bin]! += 1 / (s.count * width);
  }
  const xs = range(161, -HALF, HALF);
  const ofNoisy = (x: number): number => marginal(s, at(s, s.noise), x);
  const ofClean = (x: number): number => marginal(s, m.CLEAN, x);
  const top = 1.1 * Math.max(...heights, ...xs.map(ofNoisy), ...(s.clean ? xs.map(ofClean) : []));
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [0, top], xTitle: "first coordinate", yTitle: "density" }, c);
  chart.bars(edges, heights, c.muted, 0.35);
  chart.curve(xs, ofNoisy, { colour: c.ink, width: 2 });
  if (s.clean) chart.curve(xs, ofClean, { colour: c.accent, width: 2 });
  chart.close();
  const share = fixed(s.noise / separation(s.modes));
  const compared = s.modes.length > 1 ? ` The noise is ${share} of the distance between the nearest modes.` : "";
  return {
    key: [{ mark: "dots", colour: "ink", text: "noisy data" }, ...clean],
    readout: `There are ${counted(s)} noisy points.${compared}`,
  };
};

export const fields: View = (s, canvases, c) => {
  const t = at(s, s.level);
  const mixture = noisy(s, s.level);
  const h = (x: number, y: number): Vec => mixture.at(x, y).mean;
  const score = (x: number, y: number): Vec => m.tweedie([x, y], h(x, y), t.alpha, t.sigma);
  const [px, py] = s.probe;
  const here = h(px, py);
  const plane = new Plane(canvases.plane);
  plane.density((x, y) => mixture.logDensity(x, y), c.muted, 0.4);
  const clean = showClean(s, plane, c);
  const isScore = s.field === "score";
  const moved = (x: number, y: number): Vec => [t.alpha * h(x, y)[0], t.alpha * h(x, y)[1]];
  let field: Key = { mark: "line", colour: "ink", text: "where the lines of an even square mesh go, x to α<sub>t</sub> h(x, t)" };
  if (isScore) {
    const longest = plane.field(score, { colour: c.ink, width: 1.2, opacity: 0.85 });
    field = { mark: "arrow", colour: "ink", text: `score, scaled: the longest arrow stands for ${longest.toPrecision(2)}` };
  } else {
    showMesh(plane, moved, c);
  }
  plane.across(py, c.muted);
  plane.arrow(s.probe, moved(px, py), { colour: c.accent, width: 3 });

  const xs = range(121, -HALF, HALF);
  const shown = (x: number): number => (isScore ? score(x, py) : h(x, py))[0];
  const limit = isScore ? 1.1 * Math.max(...xs.map((x) => Math.abs(shown(x)))) : HALF;
  const yTitle = isScore ? SCORE_TITLE : "h along the dotted line, first coordinate";
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [-limit, limit], xTitle: "first coordinate of x", yTitle }, c);
  chart.curve(xs, (x) => (isScore ? 0 : x / t.alpha), { colour: c.muted, width: 1, dash: [3, 4] });
  if (!isScore) chart.text("h = x / α", 2.6 * t.alpha - 0.35, 2.5, c.muted, "right");
  chart.curve(xs, shown, { colour: c.accent, width: 2.5 });
  chart.dot(px, shown(px), c.accent);
  chart.close();
  const arrow: Key = { mark: "arrow", colour: "accent", text: "from x to α<sub>t</sub> h(x, t)" };
  return {
    key: [field, arrow, CHARTED, { mark: "fill", colour: "muted", text: "density at level t" }, ...clean],
    readout: `At x = ${pair(s.probe)} the denoiser is h = ${pair(here)}, and the score is ${pair(score(px, py))}.`,
  };
};

/** Where a map moves the lines of a square mesh. */
function showMesh(plane: Plane, h: (x: number, y: number) => Vec, c: Colours): void {
  const stroke = { colour: c.ink, width: 1, opacity: 0.5 };
  const along = range(67, -HALF, HALF);
  for (const v of range(23, -HALF, HALF)) {
    plane.line(
      along.map((y) => h(v, y)),
      stroke,
    );
    plane.line(
      along.map((x) => h(x, v)),
      stroke,
    );
  }
}

/** The score along the horizontal line through the probe, found in three ways, and where the arrow of a score ends. */
function threeScores(s: State) {
  const [n, t] = [at(s, s.noise), at(s, s.level)];
  const { r, q } = m.transition(n, t);
  const [px, py] = s.probe;
  const clean = noisy(s, s.level);
  const data = new m.NoisyMixture(m.noisyWorld(s.modes, n), { alpha: r, sigma: q });
  const points = noisyPoints(s);
  const meanOfData = data.at(px, py).mean;
  return {
    above: q > 0,
    fromClean: (x: number): Vec => m.tweedie([x, py], clean.at(x, py).mean, t.alpha, t.sigma),
    fromNoisy: (x: number): Vec => m.tweedie([x, py], data.at(x, py).mean, r, q),
    fromPoints: (x: number): Vec => m.tweedie([x, py], m.fromNoisyPoints(points, [x, py], n, t).mean, r, q),
    weights: m.fromNoisyPoints(points, s.probe, n, t).weights,
    scaledMean: [r * meanOfData[0], r * meanOfData[1]] as Vec, // r E[X_n | X_t = x]
    end: (score: Vec): Vec => [px + t.sigma ** 2 * score[0], py + t.sigma ** 2 * score[1]],
  };
}
type ThreeScores = ReturnType<typeof threeScores>;

export const tweedie: View = (s, canvases, c) => {
  const found = threeScores(s);
  const [px, py] = s.probe;
  const { above, fromClean, fromNoisy, fromPoints, end } = found;
  const plane = new Plane(canvases.plane);
  const clean = showClean(s, plane, c);
  const key: Key[] = [{ mark: "arrow", colour: "accent", text: "σ<sub>t</sub>² times the score, by the clean mean" }, CHARTED];
  plane.dots(noisyPoints(s), { colour: c.ink, size: 1.1, opacity: (i) => (above ? 0.1 + 0.75 * found.weights[i]! : 0.3) });
  plane.across(py, c.muted);
  plane.arrow(s.probe, end(fromClean(px)), { colour: c.accent, width: 9 });
  if (above) {
    plane.arrow(s.probe, end(fromPoints(px)), { colour: c.muted, width: 2.2, dash: [9, 5] });
    plane.arrow(s.probe, end(fromNoisy(px)), { colour: c.ink, width: 2 });
    plane.marker(found.scaledMean, 5, { colour: c.ink, width: 2 }, c.paper);
    key.push({ mark: "arrow", colour: "ink", text: "the same by the noisy mean" });
    key.push({ mark: "ring", colour: "ink", text: "r E[X<sub>n</sub> | X<sub>t</sub> = x]" });
    key.push({ mark: "dash", colour: "muted", text: "by the points alone" });
    key.push({ mark: "dots", colour: "ink", text: "data, darker if likelier given X<sub>t</sub> = x" });
  }
  showScores(found, px, canvases, c);
  const scores = [fromClean, fromNoisy, fromPoints].map((score) => pair(score(px)));
  const readout = `The score is ${scores[0]} from the clean mean, ${scores[1]} from the noisy mean, and ${scores[2]} from the ${counted(s)} noisy points.`;
  return { key: [...key, ...clean], readout: above ? readout : BELOW };
};

/** The chart of the first coordinate of the three scores. */
function showScores({ above, fromClean, fromNoisy, fromPoints }: ThreeScores, px: number, canvases: Canvases, c: Colours): void {
  const xs = range(81, -HALF, HALF);
  const limit = 1.3 * Math.max(...xs.map((x) => Math.abs(fromClean(x)[0])));
  const axes = { xTitle: "first coordinate of x", yTitle: SCORE_TITLE };
  const chart = new Chart(canvases.chart, { x: [-HALF, HALF], y: [-limit, limit], ...axes }, c);
  chart.curve(xs, (x) => fromClean(x)[0], { colour: c.accent, width: 7, opacity: 0.6 });
  if (above) {
    chart.curve(xs, (x) => fromNoisy(x)[0], { colour: c.ink, width: 1.8 });
    chart.curve(range(33, -HALF, HALF), (x) => fromPoints(x)[0], { colour: c.muted, width: 2.4, dash: [9, 5] });
  }
  chart.dot(px, fromClean(px)[0], c.accent);
  chart.close();
}

const FOUND: Key[] = [
  { mark: "line", colour: "ink", text: "equal loss, in steps of 0.5" },
  { mark: "cross", colour: "ink", text: "lowest point, from noisy data" },
];
const CONTOUR = 0.5; // how much the loss grows from one line of equal loss to the next

export const loss: View = (s, canvases, c) => {
  const [n, t] = [at(s, s.noise), at(s, s.level)];
  const above = m.transition(n, t).q > 0;
  const { fromX0, fromXt } = m.doubleTweedie(n, t);
  const { mean, variance } = m.fromNoisyPoints(noisyPoints(s), s.probe, n, t);
  const best: Vec = [(mean[0] - fromXt * s.probe[0]) / fromX0, (mean[1] - fromXt * s.probe[1]) / fromX0];
  const excess = (x: number, y: number): number => fromX0 ** 2 * ((x - best[0]) ** 2 + (y - best[1]) ** 2);
  const plane = new Plane(canvases.plane);
  const clean = showClean(s, plane, c);
  if (above) {
    const farthest = Math.max(...[-HALF, HALF].flatMap((x) => [excess(x, -HALF), excess(x, HALF)]));
    plane.image(60, c.muted, (x, y) => (0.45 * excess(x, y)) / (excess(x, y) + 8));
    for (let more = CONTOUR; more < farthest; more += CONTOUR) {
      plane.ring(best, Math.sqrt(more) / fromX0, { colour: c.ink, width: 0.8, opacity: 0.6 });
    }
    plane.cross(best, 6, { colour: c.ink, width: 2.5 });
  }
  plane.marker(noisy(s, s.level).at(...s.probe).mean, 9, { colour: c.accent, width: 3 });
  showWeights(s, above, canvases, c);
  const [least, more] = [variance, excess(...s.guess)];
  const readout = `At x = ${pair(s.probe)} the loss of the guess h = ${pair(s.guess)} is ${fixed(least + more)}. The smallest possible loss is ${fixed(least)}, and the error of the guess adds ${fixed(more)}.`;
  return {
    key: [
      { mark: "disc", colour: "ink", text: "x" },
      { mark: "disc", colour: "accent", text: "the guess for h(x, t)" },
      ...(above ? FOUND : []),
      { mark: "ring", colour: "accent", text: "clean mean E[X<sub>0</sub> | X<sub>t</sub> = x]" },
      ...clean,
    ],
    readout: above ? readout : BELOW,
  };
};

/** The chart of the weight that the two losses give to the squared error of h. */
function showWeights(s: State, above: boolean, canvases: Canvases, c: Colours): void {
  const n = at(s, s.noise);
  const axes = { xLog: true, xTitle: "noise level t", yTitle: "weight of the squared error of h" };
  const chart = new Chart(canvases.chart, { x: [s.noise, LEVELS.highest], y: [0, 1.15], ...axes }, c);
  const us = logRange(100, s.noise, LEVELS.highest);
  chart.curve(us, () => 1, { colour: c.muted, width: 1.5, dash: [4, 3] });
  chart.text("antithetic loss of this project", LEVELS.highest * 0.95, 1.06, c.muted, "right");
  chart.curve(us, (u) => (m.doubleTweedie(n, at(s, u)).fromX0 / n.alpha) ** 2, { colour: c.ink, width: 2 });
  if (above) chart.mark(s.level, "t", { colour: c.accent, width: 1.5 });
  chart.text("the paper’s loss", 2.6 * s.noise, 0.45, c.ink);
  chart.close();
}
