/** The mixtures that the page offers. `ring5` and `grid9` are those of toy/data/mixtures.py. */

import type { Mixture, Mode, Vec } from "./math";

/** A mode with standard deviations `long` and `short`, the longer axis turned by `angle`. */
function mode(weight: number, mean: Vec, long: number, short: number, angle = 0): Mode {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const [a, b] = [long ** 2, short ** 2];
  return { weight, mean, covariance: [c * c * a + s * s * b, c * s * (a - b), s * s * a + c * c * b] };
}

const ring5 = [
  [0.25, 0.35, 0.15, 0.4],
  [0.15, 0.25, 0.25, 0],
  [0.25, 0.3, 0.12, 1.2],
  [0.15, 0.2, 0.35, 2],
  [0.2, 0.28, 0.15, 2.8],
] as const;
const steps = [-1.5, 0, 1.5];

export const WORLDS = {
  ring5: {
    title: "five modes on a ring",
    modes: ring5.map(([weight, long, short, angle], k) => {
      const place = (2 * Math.PI * k) / 5 + 0.3;
      return mode(weight, [1.5 * Math.cos(place), 1.5 * Math.sin(place)], long, short, angle);
    }),
  },
  grid9: {
    title: "nine modes on a grid",
    modes: steps.flatMap((x, i) => steps.map((y, j) => mode(([1, 2, 1][i]! * [1, 2, 1][j]!) / 16, [x, y], 0.2, 0.2))),
  },
  pair: { title: "two modes", modes: [mode(0.6, [-1.1, -0.5], 0.35, 0.35), mode(0.4, [1.1, 0.6], 0.3, 0.3)] },
  stripes: {
    title: "seven thin stripes",
    modes: [-3, -2, -1, 0, 1, 2, 3].map((k) => mode(1 / 7, [0.6 * k, 0], 0.9, 0.09, Math.PI / 2)),
  },
} satisfies Record<string, { title: string; modes: Mixture }>;
export type WorldName = keyof typeof WORLDS;

/** The modes with equal shares removed or added so that the weights sum to 1. */
export const normalised = (modes: Mixture): Mixture => {
  const total = modes.reduce((sum, { weight }) => sum + weight, 0);
  return modes.map((it) => ({ ...it, weight: it.weight / total }));
};

export const newMode = (mean: Vec): Mode => mode(0.2, mean, 0.25, 0.25);

/** The smallest distance between two modes. */
export const separation = (modes: Mixture): number =>
  Math.min(...modes.flatMap((a, i) => modes.slice(0, i).map((b) => Math.hypot(a.mean[0] - b.mean[0], a.mean[1] - b.mean[1]))));
