/** The page: its state, its controls, and one redraw for each frame in which something has changed. */

import * as above from "./above";
import * as below from "./below";
import { keyEntry, levelAt, lowestLevel, settings, showControls } from "./controls";
import { showHandles, type Handle } from "./handles";
import * as math from "./math";
import * as pictures from "./pictures";
import { COUNTS, enter, FREE, START, STEPS_ABOVE, STEPS_BELOW, type State, type ViewName } from "./state";
import * as samples from "./samples";
import { denoiser, fan, noisyPoints, sampled, samplerGrid, type Canvases, type Colours, type Shown, type View } from "./shared";
import { newMode, normalised, WORLDS, type WorldName } from "./worlds";

const VIEWS: Record<ViewName, View> = { ...above, ...below };
const find = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const form = find<HTMLFormElement>("controls");
const canvases = { plane: find<HTMLCanvasElement>("plane"), chart: find<HTMLCanvasElement>("chart") };
const STEP_NAMES = [...document.querySelectorAll("article h2")].map((it) => it.textContent!);
const SHORT_NAMES = [
  "Noisy data",
  "Denoiser",
  "Tweedie twice",
  "Loss",
  "Below the noise",
  "Martingale",
  "Early stop",
  "Wall",
  "Free play",
];
const state: State = { ...START };
let pending = 0; // the frame in which the page is drawn again
let playing = 0; // the next frame of the animation
let onScreen: string | null = null; // the chosen scheme, while the page is light for the printer

const calm = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;
const systemScheme = (): string => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const isDark = (): boolean => (document.documentElement.style.colorScheme || systemScheme()) === "dark";
const input = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;

/** Changes the state and asks for a redraw in the next frame. */
export function set(change: Partial<State>): void {
  Object.assign(state, change);
  pending ||= requestAnimationFrame(() => {
    pending = 0;
    redraw();
  });
}

function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const value = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return { ink: value("ink"), muted: value("muted"), accent: value("accent"), paper: value("paper") };
}

function handles(s: State): Handle[] {
  if (s.edit) {
    return s.modes.map((mode, i) => ({
      name: `Mode ${i + 1} of ${s.modes.length}`,
      colour: "accent",
      at: mode.mean,
      move: (mean) => set({ world: "own", modes: state.modes.map((it, j) => (j === i ? { ...it, mean } : it)) }),
      remove: () => removeMode(i),
    }));
  }
  const probe: Handle = { name: "Point x", colour: "ink", at: s.probe, move: (to) => set({ probe: to }) };
  const guess: Handle = { name: "Guess for h", colour: "accent", at: s.guess, move: (to) => set({ guess: to }) };
  if (s.view === "loss") return [guess, probe];
  return ["fields", "tweedie", "martingale"].includes(s.view) ? [probe] : [];
}

function removeMode(i: number): void {
  if (state.modes.length > 1) set({ world: "own", modes: normalised(state.modes.filter((_, j) => j !== i)) });
}

const draw = (s: State, on: Canvases): Shown => pictures.drawn(VIEWS[s.view], s, on, colours(), handles(s));

/** Draws everything from the state. */
export function redraw(): void {
  const shown = draw(state, canvases);
  find("readout").textContent = shown.readout;
  find("settings").textContent = settings(state);
  find("key").innerHTML = shown.key.map(keyEntry).join("");
  showHandles(find("handles"), handles(state));
  showControls(form, state);
  find("add").hidden = find("remove").hidden = !state.edit;
  find<HTMLButtonElement>("remove").disabled = state.modes.length < 2;
  find("hint").hidden = !find("handles").children.length;
  find("theme").textContent = isDark() ? "Light" : "Dark";
}

function stopPlaying(): void {
  cancelAnimationFrame(playing);
  playing = 0;
  find("play").textContent = "Play";
}

/** Moves the sampler from its first level to 0 in three seconds, or at once if the reader prefers reduced motion. */
function play(): void {
  stopPlaying();
  const [first, last] = [state.view === "paths" ? 0 : STEPS_ABOVE, STEPS_ABOVE + STEPS_BELOW];
  const begun = performance.now();
  if (calm()) return set({ reached: last });
  find("play").textContent = "Stop";
  const frame = (now: number): void => {
    const share = Math.min(1, Math.max(0, (now - begun) / 3000));
    set({ reached: Math.round(first + share * (last - first)) });
    if (share < 1) playing = requestAnimationFrame(frame);
    else stopPlaying();
  };
  playing = requestAnimationFrame(frame);
}

/** Shows a step; `push` adds it to the browser's history. */
function go(step: number, push = true): void {
  stopPlaying();
  set(enter(step, state));
  for (const it of document.querySelectorAll<HTMLElement>("article"))
    it.classList.toggle("now", it.dataset["step"] === String(step));
  document
    .querySelectorAll("#steps button")
    .forEach((it, i) => (i === step ? it.setAttribute("aria-current", "step") : it.removeAttribute("aria-current")));
  find("place").textContent = step < FREE ? `Step ${step + 1} of ${FREE}` : "Free play";
  find<HTMLButtonElement>("back").disabled = step === 0;
  find<HTMLButtonElement>("next").disabled = step === FREE;
  const address = addressOf(step);
  if (push && location.hash !== address) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  if (state.view === "martingale" && step < FREE && !calm()) play();
}

function listen(): void {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const { name, value, checked } = event.target as HTMLInputElement;
    stopPlaying();
    if (name === "world") set({ world: value as WorldName, modes: WORLDS[value as WorldName].modes });
    else if (name === "count") set({ count: COUNTS[Number(value)]! });
    else if (name === "level") set({ level: levelAt(Number(value)) });
    else if (name === "noise") set({ noise: Number(value), ...raised(Number(value)) });
    else if (name === "reached") set({ reached: Number(value) });
    else if (name === "clean") set({ clean: checked });
    else if (name === "edit") set({ edit: checked, clean: checked || state.clean });
    else set({ [name]: value });
  });
  find("play").addEventListener("click", () => (playing ? stopPlaying() : play()));
  find("add").addEventListener("click", () => set({ world: "own", modes: normalised([...state.modes, newMode([0, 0])]) }));
  find("remove").addEventListener("click", () => removeMode(state.modes.length - 1));
  find("back").addEventListener("click", () => go(state.step - 1));
  find("next").addEventListener("click", () => go(state.step + 1));
  addEventListener("hashchange", () => go(stepOfAddress(), false));
  addEventListener("resize", () => set({}));
  const { style } = document.documentElement;
  addEventListener("beforeprint", () => {
    if (playing) [state.reached] = [STEPS_ABOVE + STEPS_BELOW];
    stopPlaying();
    onScreen ??= style.colorScheme;
    style.colorScheme = "light";
    redraw();
  });
  addEventListener("afterprint", () => {
    style.colorScheme = onScreen ?? "";
    onScreen = null;
    find("all").replaceChildren();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => set({}));
  document.addEventListener("keydown", ({ key, target }) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (way && target === document.body && state.step + way >= 0 && state.step + way <= FREE) go(state.step + way);
  });
  find("theme").addEventListener("click", () => {
    style.colorScheme = isDark() ? "light" : "dark";
    history.replaceState(null, "", addressOf(state.step));
    set({});
  });
  find("save").addEventListener("click", () => void save());
  find("print").addEventListener("click", printAll);
  find("reset").addEventListener("click", () => set({ ...START, step: state.step, view: state.view }));
}

/** The noise level t, where a step needs it above the data's noise and it is not. */
const raised = (noise: number): Partial<State> =>
  ["tweedie", "loss"].includes(state.view) ? { level: Math.max(state.level, lowestLevel(noise)) } : {};

/** Saves the picture with its title, key, handles and settings, for a slide. */
async function save(): Promise<void> {
  const on = pictures.apart();
  const shown = draw(state, on);
  const title =
    state.step < FREE ? STEP_NAMES[state.step]! : (input("view") as unknown as HTMLSelectElement).selectedOptions[0]!.text;
  const href = await pictures.image(title, { ...state }, colours(), on, shown);
  Object.assign(document.createElement("a"), { href, download: `explainer-${state.view}.png` }).click();
}

/** Prints the eight steps, with the reader's world and noise and the start of each step. */
function printAll(): void {
  const { style } = document.documentElement;
  stopPlaying();
  onScreen ??= style.colorScheme;
  style.colorScheme = "light";
  let s = state;
  const articles = [...document.querySelectorAll("article")].slice(0, FREE);
  find("all").replaceChildren(
    ...articles.map((article, step) => {
      s = { ...s, ...enter(step, s) };
      const on = pictures.apart();
      return pictures.section(article, s, on, draw(s, on));
    }),
  );
  print();
}

/** The address of a step: its number, and the scheme if the reader has chosen one. */
const addressOf = (step: number): string => {
  const chosen = onScreen ?? document.documentElement.style.colorScheme;
  return `#${step + 1}${chosen && `-${chosen}`}`;
};
const stepOfAddress = (): number => Math.min(FREE, Math.max(0, (parseInt(location.hash.slice(1)) || 1) - 1));

find("steps").innerHTML = SHORT_NAMES.map(
  (name, i) => `<li><button type="button" title="${STEP_NAMES[i]}">${i < FREE ? i + 1 : "✎"} <span>${name}</span></button></li>`,
).join("");
document.querySelectorAll("#steps button").forEach((it, i) => it.addEventListener("click", () => go(i)));
input("world").innerHTML =
  Object.entries(WORLDS)
    .map(([name, { title }]) => `<option value="${name}">${title}</option>`)
    .join("") + '<option value="own" hidden>your own modes</option>';
listen();
document.documentElement.style.colorScheme = /-(light|dark)$/.exec(location.hash)?.[1] ?? "";
go(stepOfAddress(), false);

Object.assign(globalThis, {
  explainer: { ...math, ...samples, WORLDS, state, set, redraw, denoiser, sampled, fan, noisyPoints, samplerGrid },
}); // for tests and the console
