/** What the reader has chosen, and what each step of the guided path starts from. */

import type { Mixture, PathName, Vec } from "./math";
import { WORLDS, type WorldName } from "./worlds";

export const VIEW_NAMES = ["data", "fields", "tweedie", "loss", "paths", "martingale", "stop", "wall"] as const;
export type ViewName = (typeof VIEW_NAMES)[number];
export const FREE = VIEW_NAMES.length; // the number of the page for free play; steps are 0 .. 7

export interface State {
  step: number;
  view: ViewName;
  world: WorldName | "own";
  modes: Mixture;
  path: PathName;
  noise: number; // sigma_n / alpha_n, the noise of the data
  count: number; // how many noisy points
  level: number; // sigma_t / alpha_t of the level t
  reached: number; // how far the reverse process has come, an index of its grid
  clean: boolean; // whether the clean density is shown
  edit: boolean; // whether the modes can be moved
  field: "denoiser" | "score";
  lower: "learned" | "frozen"; // the denoiser below the data's noise
  probe: Vec; // the point x
  guess: Vec; // a guess for h(x, t)
  beforeWall: World | null; // the reader's own world, while the wall shows its own
}

export type World = Pick<State, "world" | "modes" | "noise">;
export const COUNTS = [100, 200, 500, 1000, 2000, 5000, 10000];
export const LEVELS = { lowest: 0.02, highest: 10, start: 40 }; // samplers go from `start`, where X_t is nearly pure noise, to the lowest, and then to 0
export const STEPS_ABOVE = 24; // reverse steps down to the data's noise
export const STEPS_BELOW = 24; // and from there to 0, the last one from the lowest level

export const START: State = {
  step: 0,
  view: "data",
  world: "ring5",
  modes: WORLDS.ring5.modes,
  path: "exploding",
  noise: 0.6,
  count: 2000,
  level: 1,
  reached: STEPS_ABOVE + STEPS_BELOW,
  clean: false,
  edit: false,
  field: "denoiser",
  lower: "learned",
  probe: [0.5, 0.3],
  guess: [-0.2, 1.4],
  beforeWall: null,
};

/**
 * What changes when a step begins. The world and the noise stay as the reader left them; only the wall needs fine structure of its
 * own. Steps 3 and 4 share x and t. The path is the one with alpha = 1, as the words of the steps say.
 */
export function enter(step: number, state: State): Partial<State> {
  const view = VIEW_NAMES[step] ?? state.view;
  const back: Partial<State> = state.beforeWall && step < FREE - 1 ? { ...state.beforeWall, beforeWall: null } : {};
  const noise = back.noise ?? state.noise;
  const shared = [2, 3].includes(state.step) && step < FREE ? {} : { level: 1.6 * noise, probe: [2.2, 2] as const };
  const own: Record<ViewName, Partial<State>> = {
    data: { clean: false },
    fields: { level: 0.8, field: "denoiser", clean: false, probe: [-2.5, 2] },
    tweedie: { clean: false, ...shared },
    loss: { clean: false, ...shared },
    paths: { lower: "frozen", clean: true, reached: STEPS_ABOVE + STEPS_BELOW },
    martingale: { lower: "learned", probe: [0.2, 0.2], clean: false, reached: STEPS_ABOVE + STEPS_BELOW },
    stop: { lower: "learned", clean: true, reached: STEPS_ABOVE },
    wall: { clean: false },
  };
  if (view === "wall" && step < FREE && !state.beforeWall) {
    const { world, modes, noise } = state;
    Object.assign(own.wall, { world: "stripes", modes: WORLDS.stripes.modes, noise: 0.2, beforeWall: { world, modes, noise } });
  }
  return { edit: false, ...back, ...(step < FREE ? { path: "exploding", ...own[view] } : {}), step, view };
}
