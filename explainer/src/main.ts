/** The page: its state, its controls, and one redraw for each frame in which something has changed. */

import * as above from "./above";
import * as below from "./below";
import { keyEntry, levelAt, showControls } from "./controls";
import { showHandles, type Handle } from "./handles";
import * as math from "./math";
import { COUNTS, enter, FREE, START, STEPS_ABOVE, STEPS_BELOW, type State, type ViewName } from "./state";
import * as samples from "./samples";
import { denoiser, fan, noisyPoints, sampled, samplerGrid, type Colours, type View } from "./shared";
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

function handles(): Handle[] {
  if (state.edit) {
    return state.modes.map((mode, i) => ({
      name: `Mode ${i + 1} of ${state.modes.length}`,
      className: "mode",
      at: mode.mean,
      move: (mean) => set({ world: "own", modes: state.modes.map((it, j) => (j === i ? { ...it, mean } : it)) }),
      remove: () => removeMode(i),
    }));
  }
  const probe: Handle = { name: "Point x", className: "probe", at: state.probe, move: (to) => set({ probe: to }) };
  if (["fields", "tweedie", "martingale"].includes(state.view)) return [probe];
  if (state.view !== "loss") return [];
  return [{ name: "Guess for h", className: "guess", at: state.guess, move: (to) => set({ guess: to }) }];
}

function removeMode(i: number): void {
  if (state.modes.length > 1) set({ world: "own", modes: normalised(state.modes.filter((_, j) => j !== i)) });
}

/** Draws everything from the state. */
export function redraw(): void {
  const shown = VIEWS[state.view](state, canvases, colours());
  find("readout").textContent = shown.readout;
  find("key").innerHTML = shown.key.map(keyEntry).join("");
  showHandles(find("handles"), handles());
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

function go(step: number): void {
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
  history.replaceState(null, "", `#${step + 1}`);
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
    else if (name === "noise" || name === "reached") set({ [name]: Number(value) });
    else if (name === "clean") set({ clean: checked });
    else if (name === "edit") set({ edit: checked, clean: checked || state.clean });
    else set({ [name]: value });
  });
  find("play").addEventListener("click", () => (playing ? stopPlaying() : play()));
  find("add").addEventListener("click", () => set({ world: "own", modes: normalised([...state.modes, newMode([0, 0])]) }));
  find("remove").addEventListener("click", () => removeMode(state.modes.length - 1));
  find("back").addEventListener("click", () => go(state.step - 1));
  find("next").addEventListener("click", () => go(state.step + 1));
  addEventListener("hashchange", () => go(stepOfAddress()));
  addEventListener("resize", () => set({}));
  const { style } = document.documentElement;
  let onScreen = "";
  addEventListener("beforeprint", () => {
    onScreen = style.colorScheme;
    style.colorScheme = "light";
    redraw();
  });
  addEventListener("afterprint", () => {
    style.colorScheme = onScreen;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => set({}));
  document.addEventListener("keydown", ({ key, target }) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (way && target === document.body && state.step + way >= 0 && state.step + way <= FREE) go(state.step + way);
  });
  find("theme").addEventListener("click", () => {
    style.colorScheme = isDark() ? "light" : "dark";
    set({});
  });
  find("save").addEventListener("click", save);
}

/** Saves the plane and the chart, one below the other, as a PNG file. */
function save(): void {
  const { plane, chart } = canvases;
  const both = document.createElement("canvas");
  const g = both.getContext("2d")!;
  const link = document.createElement("a");
  [both.width, both.height] = [Math.max(plane.width, chart.width), plane.height + chart.height];
  g.fillStyle = colours().paper;
  g.fillRect(0, 0, both.width, both.height);
  g.drawImage(plane, 0, 0);
  g.drawImage(chart, 0, plane.height);
  Object.assign(link, { href: both.toDataURL(), download: `explainer-${state.view}.png` }).click();
}

const stepOfAddress = (): number => Math.min(FREE, Math.max(0, (Number(location.hash.slice(1)) || 1) - 1));

find("steps").innerHTML = SHORT_NAMES.map(
  (name, i) => `<li><button type="button" title="${STEP_NAMES[i]}">${i < FREE ? i + 1 : "✎"} <span>${name}</span></button></li>`,
).join("");
document.querySelectorAll("#steps button").forEach((it, i) => it.addEventListener("click", () => go(i)));
input("world").innerHTML =
  Object.entries(WORLDS)
    .map(([name, { title }]) => `<option value="${name}">${title}</option>`)
    .join("") + '<option value="own" hidden>your own modes</option>';
listen();
go(stepOfAddress());

Object.assign(globalThis, {
  explainer: { ...math, ...samples, WORLDS, state, set, redraw, denoiser, sampled, fan, noisyPoints, samplerGrid },
}); // for tests and the console
