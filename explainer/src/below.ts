/** The four pictures of what happens below the level of the data: paths, the martingale, early stop, and the wall. */

import { Chart } from "./chart";
import * as m from "./math";
import type { Vec } from "./math";
import { HALF, Plane } from "./plane";
import { at, cleanPoints, distanceToClean, fan, fixed, logRange, noisy, pair, percent, range, RUNS, sampled, SAMPLES, showClean, type View } from "./shared";
import { LEVELS, STEPS_ABOVE, STEPS_BELOW, type State } from "./state";
import { separation } from "./worlds";

const SHOWN_PATHS = 60;
const column = (points: Float64Array[], i: number): number[] => points.map((it) => it[2 * i]!);
const LOWER: Record<State["lower"], string> = { learned: "learned", frozen: "not learned" };

export const paths: View = (s, canvases, c) => {
  const plane = new Plane(canvases.plane), key = showClean(s, plane, c), run = sampled(s), last = s.reached, floor = LEVELS.lowest * 0.8;
  const us = run.grid.map((u) => Math.max(u, floor)), until = us.slice(0, last + 1);
  const axes = { x: [LEVELS.highest, floor] as [number, number], y: [-HALF, HALF] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "noise level, falling to 0", yTitle: "first coordinate of the paths" }, c);
  chart.region(s.noise, floor, c.muted, 0.16);
  for (let i = 0; i < SHOWN_PATHS; i++) {
    const trail = run.x.slice(0, last + 1).map((x): Vec => [x[2 * i]!, x[2 * i + 1]!]);
    plane.line(trail.slice(0, STEPS_ABOVE + 1), c.muted, 1, 0.45);
    plane.line(trail.slice(STEPS_ABOVE), c.ink, 1.1, 0.6);
    chart.line(until.slice(0, STEPS_ABOVE + 1), column(run.x, i).slice(0, STEPS_ABOVE + 1), c.muted, 1, 0.6);
    chart.line(us.slice(STEPS_ABOVE, last + 1), column(run.x, i).slice(STEPS_ABOVE, last + 1), c.ink, 1, 0.7);
  }
  plane.dots(run.x[last]!, c.ink, 1.6, 0.9);
  chart.mark(s.noise, "level of the data", c.accent);
  chart.close();
  const done = run.grid[last] === 0, distance = done ? distanceToClean(s, run.x[last]!) : 0;
  return {
    key: [
      { mark: "line", colour: "muted", text: "above t<sub>n</sub>, learned from noisy data" }, { mark: "line", colour: "ink", text: `below t<sub>n</sub>, ${LOWER[s.lower]}` },
      { mark: "dots", colour: "ink", text: "samples" }, ...key],
    readout: done ? `The sliced Wasserstein-2 distance from the ${SAMPLES} samples to the clean distribution is ${fixed(distance)}.`
      : `The samples have reached the noise level ${fixed(run.grid[last]!)}.`,
  };
};

export const martingale: View = (s, canvases, c) => {
  const plane = new Plane(canvases.plane), key = showClean(s, plane, c), run = fan(s), last = Math.max(0, s.reached - STEPS_ABOVE);
  const floor = LEVELS.lowest * 0.8, us = run.grid.map((u) => Math.max(u, floor)), means = run.h.map((h) => m.moments(h).mean);
  const error = Math.sqrt(m.moments(run.h[last]!).variance / RUNS), start = means[0]!, now = means[last]!;
  for (let i = 0; i < SHOWN_PATHS; i++) plane.line(run.h.slice(0, last + 1).map((h): Vec => [h[2 * i]!, h[2 * i + 1]!]), c.muted, 1, 0.35);
  plane.dots(run.h[last]!, c.ink, 1.6, 0.8);
  plane.line(means.slice(0, last + 1), c.accent, 3);
  plane.ring(start, 9, c.accent, 2, true);
  plane.ring(now, 5, c.accent, 2, true, c.accent);
  const firsts = run.h.slice(0, 1 + STEPS_BELOW).flatMap((h) => range(SHOWN_PATHS, 0, SHOWN_PATHS - 1).map((i) => h[2 * i]!));
  const axes = { x: [s.noise, floor] as [number, number], y: [Math.min(...firsts) - 0.2, Math.max(...firsts) + 0.2] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "noise level s, falling to 0", yTitle: "first coordinate of h" }, c);
  for (let i = 0; i < SHOWN_PATHS; i++) chart.line(us.slice(0, last + 1), column(run.h, i).slice(0, last + 1), c.muted, 1, 0.5);
  chart.line([s.noise, floor], [start[0], start[0]], c.ink, 1.2, 1, [4, 4]);
  chart.line(us.slice(0, last + 1), means.slice(0, last + 1).map((it) => it[0]), c.accent, 3);
  chart.close();
  return {
    key: [
      { mark: "disc", colour: "ink", text: "the start x, which you can drag" }, { mark: "dots", colour: "ink", text: `h(X<sub>s</sub>, s) of ${RUNS} paths` },
      { mark: "disc", colour: "accent", text: "their mean" }, { mark: "ring", colour: "accent", text: "h(x, t<sub>n</sub>)" }, ...key],
    readout: `All paths start with h = ${pair(start)}. The mean of h is now ${pair(now)}, with a standard error of ${fixed(error)}.`,
  };
};

export const stop: View = (s, canvases, c) => {
  const plane = new Plane(canvases.plane), key = showClean(s, plane, c), run = sampled(s), last = s.reached, floor = LEVELS.lowest * 0.8;
  const truth = m.moments(cleanPoints(s)).variance, shares = run.h.map((h) => m.moments(h).variance / truth);
  plane.dots(run.h[last]!, c.ink, 1.6, 0.9);
  const axes = { x: [LEVELS.highest, floor] as [number, number], y: [0, 1.25] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "level s where the sampler stops", yTitle: "share of the clean variance" }, c);
  const us = run.grid.map((u) => Math.max(u, floor));
  chart.line(axes.x, [1, 1], c.muted, 1.2, 1, [4, 4]);
  chart.mark(s.noise, "early stop at tₙ", c.muted, [4, 3]);
  chart.line(us, shares, c.ink, 2);
  chart.dot(us[last]!, shares[last]!, c.accent, 6);
  chart.close();
  const where = last === STEPS_ABOVE ? "With early stop" : run.grid[last] === 0 ? "With full sampling" : `With a stop at s = ${fixed(run.grid[last]!)}`;
  return {
    key: [{ mark: "dots", colour: "ink", text: "the denoised points h(X<sub>s</sub>, s)" }, ...key],
    readout: `${where}, the points have ${percent(shares[last]!)} of the clean variance. Their sliced Wasserstein-2 distance to the clean distribution is ${fixed(distanceToClean(s, run.h[last]!))}.`,
  };
};

export const wall: View = (s, canvases, c) => {
  const plane = new Plane(canvases.plane), n = at(s, s.noise), mixture = noisy(s, s.noise);
  const finest = m.wall(s.noise, s.count), apart = separation(s.modes), left = m.shareLeft(s.noise, apart);
  plane.density((x, y) => mixture.logDensity(x, y), c.ink, 0.75);
  const key = showClean(s, plane, c), step = n.alpha * finest / 2;
  for (let k = 0; 2 * k * step < 2 * HALF; k++) {
    plane.bar(-HALF + 2 * k * step, -HALF + 0.1, step, 0.24, c.accent);
  }
  const lengths = logRange(160, 0.1, 10);
  const axes = { x: [0.1, 10] as [number, number], y: [0, 1.1] as [number, number], xLog: true };
  const chart = new Chart(canvases.chart, { ...axes, xTitle: "wavelength of a pattern", yTitle: "share of its amplitude that the noise leaves" }, c);
  chart.region(0.1, finest, c.muted, 0.2);
  chart.line(lengths, lengths.map((it) => m.shareLeft(s.noise, it)), c.ink, 2);
  chart.mark(finest, "wall", c.accent, [], finest < apart);
  if (Number.isFinite(apart)) chart.mark(apart, "modes", c.muted, [4, 3], finest >= apart);
  chart.close();
  return {
    key: [{ mark: "fill", colour: "ink", text: "density of the noisy data" }, { mark: "dash", colour: "accent", text: "a ruler with the wavelength of the wall" }, ...key],
    readout: `For ${s.count.toLocaleString("en")} points the wall is at the wavelength ${fixed(finest)}. The nearest modes are ${fixed(apart)} apart, and ${left < 1e-4 ? "less than 0.01 %" : percent(left)} of their pattern is left.`,
  };
};
