/** What the pictures share: what is computed from the state, what a picture returns, and how numbers are written. */

import * as m from "./math";
import type { Vec } from "./math";
import type { Plane } from "./plane";
import { draw, evenNormals, logSnrGrid, normals, projections, reverseProcess, slicedDistance, type Process } from "./samples";
import { LEVELS, STEPS_ABOVE, STEPS_BELOW, type State } from "./state";

export interface Colours {
  ink: string;
  muted: string;
  accent: string;
  paper: string;
}
export interface Canvases {
  plane: HTMLCanvasElement;
  chart: HTMLCanvasElement;
}
export type Mark = "dots" | "line" | "dash" | "dotted" | "arrow" | "fill" | "ring" | "cross" | "disc";
export interface Key {
  mark: Mark;
  colour: keyof Colours;
  text: string;
} // the text is HTML
export interface Shown {
  key: Key[];
  readout: string;
}
export type View = (s: State, canvases: Canvases, c: Colours) => Shown;

export const SAMPLES = 400;
export const RUNS = 1000;
export const range = (count: number, from: number, to: number): number[] =>
  Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));
export const logRange = (count: number, from: number, to: number): number[] =>
  range(count, Math.log(from), Math.log(to)).map(Math.exp);
export const fixed = (value: number, digits = 2): string =>
  value
    .toFixed(digits)
    .replace("-", "−")
    .replace(/^−(0\.?0*)$/, "$1");
export const pair = (v: Vec): string => `(${fixed(v[0])}, ${fixed(v[1])})`;
export const counted = (s: State): string => s.count.toLocaleString("en");
export const percent = (value: number, digits = 2): string => `${Number((100 * value).toPrecision(digits))} %`;

/** The last result for each name, computed again only if what it depends on has changed. */
const kept = new Map<string, { on: string; value: unknown }>();
function keep<T>(name: string, on: unknown[], compute: () => T): T {
  const key = JSON.stringify(on);
  const found = kept.get(name);
  if (found?.on === key) return found.value as T;
  const value = compute();
  kept.set(name, { on: key, value });
  return value;
}

export const at = (s: State, u: number): m.Level => m.PATHS[s.path](u);
export const noisy = (s: State, u: number): m.NoisyMixture => new m.NoisyMixture(s.modes, at(s, u));
export const noisyPoints = (s: State): Float64Array =>
  keep("points", [s.modes, s.path, s.noise, s.count], () => draw(s.modes, at(s, s.noise), s.count, 1));
export const cleanPoints = (s: State): Float64Array => keep("clean", [s.modes], () => draw(s.modes, m.CLEAN, 10 * SAMPLES, 7));
const cleanProjections = (s: State): Float64Array[] => keep("projections", [s.modes], () => projections(cleanPoints(s)));
export const distanceToClean = (s: State, points: Float64Array): number =>
  slicedDistance(projections(points), cleanProjections(s));

/** The distance of as many true samples as the sampler draws, which even a perfect sampler has. */
export const distanceOfTruth = (s: State): number =>
  keep("truth", [s.modes], () => distanceToClean(s, draw(s.modes, m.CLEAN, SAMPLES, 21)));

/** The grid of the sampler: from the starting level down to the data's noise, and from there to 0. */
export const samplerGrid = (noise: number): number[] => [
  ...logSnrGrid(LEVELS.start, noise, STEPS_ABOVE),
  ...logSnrGrid(noise, LEVELS.lowest, STEPS_BELOW - 1).slice(1),
  0,
];

export function denoiser(s: State): m.Denoiser {
  const exact = m.exactDenoiser(s.modes, s.path);
  return s.lower === "learned" ? exact : m.frozenBelow(exact, s.path, s.noise);
}

/** Samples of the probability flow, from evenly spread pure noise down to level 0. The flow draws no random numbers. */
export const sampled = (s: State): Process =>
  keep("sampled", [s.modes, s.path, s.noise, s.lower], () => {
    const { sigma } = at(s, LEVELS.start);
    const start = evenNormals(SAMPLES).map((z) => sigma * z);
    return reverseProcess(denoiser(s), s.path, start, samplerGrid(s.noise), "multistep", () => 0);
  });

/** Many runs of the reverse process from one point at the level of the data. */
export const fan = (s: State): Process =>
  keep("fan", [s.modes, s.path, s.noise, s.lower, s.probe], () => {
    const start = Float64Array.from({ length: 2 * RUNS }, (_, i) => s.probe[i % 2]!);
    return reverseProcess(denoiser(s), s.path, start, samplerGrid(s.noise).slice(STEPS_ABOVE), "matched", normals(5));
  });

const CLEAN: Key = { mark: "fill", colour: "accent", text: "clean density, hidden from the method" };
export function showClean(s: State, plane: Plane, c: Colours): Key[] {
  if (!s.clean) return [];
  const clean = new m.NoisyMixture(s.modes, m.CLEAN);
  plane.density((x, y) => clean.logDensity(x, y), c.accent, 0.6);
  return [CLEAN];
}
