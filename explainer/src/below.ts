/** The four pictures of what happens below the level of the data: paths, the martingale, early stop, and the wall. */

import { Chart } from "./chart";
import * as m from "./math";
import type { Vec } from "./math";
import { HALF, Plane } from "./plane";
import { moments, type Process } from "./samples";
import { at, counted, distanceOfTruth, distanceToClean, fan, fixed, logRange, noisy, pair, percent, range } from "./shared";
import { RUNS, sampled, SAMPLES, showClean, type Canvases, type Colours, type View } from "./shared";
import { LEVELS, STEPS_ABOVE, STEPS_BELOW, type State } from "./state";
import { separation } from "./worlds";

const SHOWN_PATHS = 60;
const LEFT = LEVELS.lowest * 0.8; // level 0 has this place on the logarithmic axes
const LOWER: Record<State["lower"], string> = { learned: "exact", frozen: "frozen" };
const axisLevels = (run: Process): number[] => run.grid.map((u) => Math.max(u, LEFT));
const trail = (points: Float64Array[], i: number): Vec[] => points.map((it) => [it[2 * i]!, it[2 * i + 1]!]);
const firsts = (path: readonly Vec[]): number[] => path.map(([x]) => x);

export const paths: View = (s, canvases, c) => {
  const run = sampled(s);
  const until = s.reached + 1;
  const above = { colour: c.muted, width: 1, opacity: 0.5 };
  const below = { colour: c.ink, width: 1.1, opacity: 0.65 };
  const plane = new Plane(canvases.plane);
  const clean = showClean(s, plane, c);
  const axes = { xLog: true, xTitle: "noise level, falling to 0", yTitle: "first coordinate of the paths" };
  const chart = new Chart(canvases.chart, { x: [LEVELS.start, LEFT], y: [-HALF, HALF], ...axes }, c);
  chart.region(s.noise, LEFT, c.muted, 0.16);
  for (let i = 0; i < SHOWN_PATHS; i++) {
    const path = trail(run.x.slice(0, until), i);
    for (const [part, stroke] of [[path.slice(0, STEPS_ABOVE + 1), above] as const, [path.slice(STEPS_ABOVE), below] as const]) {
      plane.line(part, stroke);
      chart.line(axisLevels(run).slice(stroke === above ? 0 : STEPS_ABOVE), firsts(part), stroke);
    }
  }
  plane.dots(run.x[s.reached]!, { colour: c.ink, size: 1.6, opacity: 0.9 });
  chart.mark(s.noise, "level of the data", { colour: c.accent, width: 1.5 });
  chart.close();
  const level = run.grid[s.reached]!;
  return {
    key: [
      { mark: "line", colour: "muted", text: "deterministic paths above t<sub>n</sub>, learned from noisy data" },
      { mark: "line", colour: "ink", text: `below t<sub>n</sub>, ${LOWER[s.lower]}` },
      { mark: "dots", colour: "ink", text: "samples" },
      ...clean,
    ],
    readout:
      level > 0
        ? `The samples have reached the noise level ${fixed(level)}.`
        : `The sliced Wasserstein-2 distance from the ${SAMPLES} samples to the clean distribution is ${fixed(distanceToClean(s, run.x[s.reached]!))}; that of ${SAMPLES} true samples is ${fixed(distanceOfTruth(s))}.`,
  };
};

export const martingale: View = (s, canvases, c) => {
  const run = fan(s);
  const last = Math.max(0, s.reached - STEPS_ABOVE);
  const means = run.h.slice(0, last + 1).map((h) => moments(h).mean);
  const [start, now] = [means[0]!, means[last]!];
  const error = Math.sqrt(moments(run.h[last]!).variance / RUNS);
  const plane = new Plane(canvases.plane);
  const clean = showClean(s, plane, c);
  for (let i = 0; i < SHOWN_PATHS; i++) {
    plane.line(trail(run.h.slice(0, last + 1), i), { colour: c.muted, width: 1, opacity: 0.35 });
  }
  plane.dots(run.h[last]!, { colour: c.ink, size: 1.6, opacity: 0.8 });
  plane.line(means, { colour: c.accent, width: 3 });
  plane.marker(start, 9, { colour: c.accent, width: 2 });
  plane.marker(now, 5, { colour: c.accent, width: 2 }, c.accent);
  showMeans(run, means, canvases, c);
  return {
    key: [
      { mark: "disc", colour: "ink", text: "the start x" },
      { mark: "dots", colour: "ink", text: `h(X<sub>s</sub>, s) of ${RUNS.toLocaleString("en")} random paths` },
      { mark: "disc", colour: "accent", text: "their mean" },
      { mark: "ring", colour: "accent", text: "h(x, t<sub>n</sub>)" },
      ...clean,
    ],
    readout: `All paths start with h = ${pair(start)}. The mean of h is now ${pair(now)}, with a standard error of ${fixed(error)}.`,
  };
};

/** The chart of h along the paths and of its mean so far. */
function showMeans(run: Process, means: Vec[], canvases: Canvases, c: Colours): void {
  const shown = range(SHOWN_PATHS, 0, SHOWN_PATHS - 1).map((i) => firsts(trail(run.h.slice(0, STEPS_BELOW + 1), i)));
  const [start, us] = [means[0]![0], axisLevels(run)];
  const axes = { xLog: true, xTitle: "noise level s, falling to 0", yTitle: "first coordinate of h" };
  const y: [number, number] = [Math.min(...shown.flat()) - 0.2, Math.max(...shown.flat()) + 0.2];
  const chart = new Chart(canvases.chart, { x: [us[0]!, LEFT], y, ...axes }, c);
  for (const path of shown) chart.line(us, path.slice(0, means.length), { colour: c.muted, width: 1, opacity: 0.5 });
  chart.curve([us[0]!, LEFT], () => start, { colour: c.ink, width: 1.2, dash: [6, 4] });
  chart.text("h(x, tₙ)", LEFT * 1.03, start + (y[1] - y[0]) * 0.05, c.ink, "right");
  chart.line(us, firsts(means), { colour: c.accent, width: 3 });
  chart.close();
}

export const stop: View = (s, canvases, c) => {
  const run = sampled(s);
  const [h, us] = [run.h[s.reached]!, axisLevels(run)];
  const truth = m.totalVariance(s.modes);
  const shares = run.h.map((it) => moments(it).variance / truth);
  const plane = new Plane(canvases.plane);
  const clean = showClean(s, plane, c);
  plane.dots(h, { colour: c.ink, size: 1.6, opacity: 0.9 });
  const axes = { xLog: true, xTitle: "level s where the sampler stops", yTitle: "share of the clean variance" };
  const chart = new Chart(canvases.chart, { x: [LEVELS.start, LEFT], y: [0, 1.25], ...axes }, c);
  chart.curve([LEVELS.start, LEFT], () => 1, { colour: c.muted, width: 1.2, dash: [6, 4] });
  chart.text("the clean variance", LEVELS.start * 0.93, 1.06, c.muted);
  chart.mark(s.noise, "early stop at tₙ", { colour: c.muted, width: 1.5, dash: [4, 3] });
  chart.line(us, shares, { colour: c.ink, width: 2 });
  chart.dot(us[s.reached]!, shares[s.reached]!, c.accent, 6);
  chart.close();
  const level = run.grid[s.reached]!;
  const where = s.reached === STEPS_ABOVE ? "early stop" : level === 0 ? "full sampling" : `a stop at s = ${fixed(level)}`;
  return {
    key: [
      { mark: "dots", colour: "ink", text: "the denoised points h(X<sub>s</sub>, s) of the deterministic sampler" },
      ...clean,
    ],
    readout: `With ${where}, the points have ${percent(shares[s.reached]!, 3)} of the clean variance. Their sliced Wasserstein-2 distance to the clean distribution is ${fixed(distanceToClean(s, h))}; that of ${SAMPLES} true samples is ${fixed(distanceOfTruth(s))}.`,
  };
};

export const wall: View = (s, canvases, c) => {
  const mixture = noisy(s, s.noise);
  const finest = m.wall(s.noise, s.count);
  const apart = separation(s.modes);
  const plane = new Plane(canvases.plane);
  plane.density((x, y) => mixture.logDensity(x, y), c.ink, 0.75);
  const clean = showClean(s, plane, c);
  const step = (at(s, s.noise).alpha * finest) / 2;
  for (let x = -HALF; x < HALF; x += 2 * step) plane.bar(x, -HALF + 0.36, step, 0.22, c.accent);

  const axes = { xLog: true, xTitle: "wavelength of a pattern", yTitle: "share of its amplitude that the noise leaves" };
  const chart = new Chart(canvases.chart, { x: [0.1, 10], y: [0, 1.1], ...axes }, c);
  chart.region(0.1, finest, c.muted, 0.2);
  chart.curve(logRange(160, 0.1, 10), (length) => m.shareLeft(s.noise, length), { colour: c.ink, width: 2 });
  chart.mark(finest, "wall", { colour: c.accent, width: 1.5 }, finest < apart);
  if (s.modes.length > 1) chart.mark(apart, "modes", { colour: c.muted, width: 1.5, dash: [4, 3] }, finest >= apart);
  chart.close();
  const left = m.shareLeft(s.noise, apart);
  const share = left < 1e-4 ? "less than 0.01 %" : percent(left);
  const compared =
    s.modes.length > 1 ? ` The nearest modes are ${fixed(apart)} apart, and ${share} of their pattern is left.` : "";
  return {
    key: [
      { mark: "fill", colour: "ink", text: "density of the noisy data" },
      { mark: "dash", colour: "accent", text: "a ruler with the wavelength of the wall" },
      ...clean,
    ],
    readout: `For ${counted(s)} points the wall is at the wavelength ${fixed(finest)}.${compared}`,
  };
};
