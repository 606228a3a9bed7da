/** The controls show the state, and the key says what the marks of a picture mean. */

import { samplerGrid, type Key } from "./shared";
import { COUNTS, FREE, LEVELS, type State } from "./state";

const SWATCHES: Record<Key["mark"], string> = {
  dots: '<g fill="C"><rect x="3" y="8" width="3" height="3"/><rect x="11" y="4" width="3" height="3"/><rect x="18" y="9" width="3" height="3"/></g>',
  line: '<path d="M1 7H25" stroke="C" stroke-width="2"/>',
  dash: '<path d="M1 7H25" stroke="C" stroke-width="3" stroke-dasharray="5 4"/>',
  arrow: '<path d="M1 7H18" stroke="C" stroke-width="3"/><path d="M25 7L16 2V12Z" fill="C"/>',
  fill: '<rect x="3" y="1" width="20" height="12" rx="3" fill="C" opacity=".6"/>',
  ring: '<circle cx="13" cy="7" r="5" fill="none" stroke="C" stroke-width="2"/>',
  cross: '<path d="M8 2L18 12M18 2L8 12" stroke="C" stroke-width="2.5"/>',
  disc: '<circle cx="13" cy="7" r="6" fill="C"/>',
};

export const keyEntry = ({ mark, colour, text }: Key): string => {
  const swatch = SWATCHES[mark].replaceAll('C"', `var(--${colour})"`);
  return `<li><svg aria-hidden="true" viewBox="0 0 26 14">${swatch}</svg>${text}</li>`;
};

const LEVEL_TICKS = 200; // positions of the slider of levels, evenly spaced in the logarithm
const SPAN = Math.log(LEVELS.highest / LEVELS.lowest);
export const levelAt = (position: number): number => LEVELS.lowest * Math.exp((SPAN * position) / LEVEL_TICKS);
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
    reached: samplerGrid(s.noise)[s.reached]!.toFixed(2),
    level: `${s.level.toFixed(2)}, ${(s.level / s.noise).toFixed(2)} of the data’s noise`,
  };
  const values = { ...s, count: COUNTS.indexOf(s.count), level: positionOf(s.level) };
  for (const name of ["view", "world", "path", "noise", "count", "level", "reached", "lower", "field"] as const) {
    input(name).value = String(values[name]);
    if (!(name in words)) continue;
    input(name).setAttribute("aria-valuetext", words[name]!);
    input(name).closest("label")!.querySelector("output")!.textContent = words[name]!;
  }
  for (const name of ["clean", "edit"] as const) input(name).checked = s[name];
}
