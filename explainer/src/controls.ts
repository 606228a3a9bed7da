/** The controls show the state, and the key says what the marks of a picture mean. */

import { counted, pair, samplerGrid, type Key } from "./shared";
import { COUNTS, FREE, LEVELS, type State } from "./state";
import { WORLDS } from "./worlds";

const PATH_NAMES: Record<State["path"], string> = {
  exploding: "variance exploding",
  preserving: "variance preserving",
  flow: "rectified flow",
};

const SWATCHES: Record<Key["mark"], string> = {
  dots: '<g fill="C"><rect x="3" y="8" width="3" height="3"/><rect x="11" y="4" width="3" height="3"/><rect x="18" y="9" width="3" height="3"/></g>',
  line: '<path d="M1 7H25" stroke="C" stroke-width="2"/>',
  dash: '<path d="M1 7H25" stroke="C" stroke-width="3" stroke-dasharray="9 6"/>',
  dotted: '<path d="M2 7H25" stroke="C" stroke-width="3" stroke-linecap="round" stroke-dasharray="0.1 5.5"/>',
  arrow: '<path d="M1 7H18" stroke="C" stroke-width="3"/><path d="M25 7L16 2V12Z" fill="C"/>',
  fill: '<rect x="3" y="1" width="20" height="12" rx="3" fill="C" opacity=".6"/>',
  ring: '<circle cx="13" cy="7" r="5" fill="none" stroke="C" stroke-width="2"/>',
  cross: '<path d="M8 2L18 12M18 2L8 12" stroke="C" stroke-width="2.5"/>',
  disc: '<circle cx="13" cy="7" r="6" fill="C"/>',
};

export const swatch = (mark: Key["mark"], colour: string): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" aria-hidden="true" viewBox="0 0 26 14" width="26" height="14">${SWATCHES[mark].replaceAll('C"', `${colour}"`)}</svg>`;

export const keyEntry = ({ mark, colour, text }: Key): string => `<li>${swatch(mark, `var(--${colour})`)}${text}</li>`;

const levelWords = (s: State): string => `${s.level.toFixed(2)} (${(s.level / s.noise).toFixed(2)} times the data’s noise)`;
const reachedWords = (s: State): string => samplerGrid(s.noise)[s.reached]!.toFixed(2);

/** What a picture was made with, in words, so that it can be made again. */
export function settings(s: State): string {
  const shows = (...views: State["view"][]): boolean => views.includes(s.view);
  const words = [
    `Clean distribution: ${s.world === "own" ? `modes at ${s.modes.map((it) => pair(it.mean)).join(", ")}` : WORLDS[s.world].title}`,
    `path of noise levels: ${PATH_NAMES[s.path]}`,
    ...(shows("fields") ? [] : [`noise of the data σₙ/αₙ = ${s.noise.toFixed(2)}`]),
    ...(shows("data", "tweedie", "loss", "wall") ? [`N = ${counted(s)} noisy points`] : []),
    ...(shows("fields", "tweedie", "loss") ? [`level σₜ/αₜ = ${levelWords(s)}`] : []),
    ...(shows("fields", "tweedie", "loss", "martingale") ? [`x = ${pair(s.probe)}`] : []),
    ...(shows("loss") ? [`guess h = ${pair(s.guess)}`] : []),
    ...(shows("paths", "martingale", "stop")
      ? [`level reached ${reachedWords(s)}`, `denoiser below the data’s noise: ${s.lower === "learned" ? "exact" : "frozen"}`]
      : []),
  ];
  return `${words.join("; ")}.`;
}

const LEVEL_TICKS = 200; // positions of the slider of levels, evenly spaced in the logarithm
const SPAN = Math.log(LEVELS.highest / LEVELS.lowest);
export const levelAt = (position: number): number => LEVELS.lowest * Math.exp((SPAN * position) / LEVEL_TICKS);
const lowestPosition = (noise: number): number => Math.floor((LEVEL_TICKS * Math.log(noise / LEVELS.lowest)) / SPAN) + 1;
/** The lowest level of the slider that is above the noise of the data. */
export const lowestLevel = (noise: number): number => levelAt(lowestPosition(noise));
const positionOf = (level: number): number => Math.round((LEVEL_TICKS * Math.log(level / LEVELS.lowest)) / SPAN);

/** Shows the controls that belong to the picture, with the values of the state. */
export function showControls(form: HTMLFormElement, s: State): void {
  const input = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;
  for (const it of document.querySelectorAll<HTMLElement>("[data-for]")) {
    const names = it.dataset["for"]!.split(" ");
    it.classList.toggle("on", names.includes(s.view) || (s.step === FREE && names.includes("free")));
  }
  const words: Record<string, string> = {
    noise: s.noise.toFixed(2),
    count: s.count.toLocaleString("en"),
    reached: reachedWords(s),
    level: levelWords(s),
  };
  input("level").min = String(["tweedie", "loss"].includes(s.view) ? lowestPosition(s.noise) : 0);
  const values = { ...s, count: COUNTS.indexOf(s.count), level: positionOf(s.level) };
  for (const name of ["view", "world", "path", "noise", "count", "level", "reached", "lower", "field"] as const) {
    input(name).value = String(values[name]);
    if (!(name in words)) continue;
    input(name).setAttribute("aria-valuetext", words[name]!);
    input(name).closest("label")!.querySelector("output")!.textContent = words[name]!;
  }
  for (const name of ["clean", "edit"] as const) input(name).checked = s[name];
}
