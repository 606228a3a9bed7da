/** Pictures to take away: one step as an image for a slide, and all steps for the printer. */

import { keyEntry, settings, swatch } from "./controls";
import type { Handle } from "./handles";
import { APART, Plane } from "./plane";
import type { Canvases, Colours, Shown, View } from "./shared";
import type { State } from "./state";

const GAP = 24;
const PLANE = 600;
const CHART = { width: 560, height: 290 };
const SIZE = { width: 3 * GAP + PLANE + CHART.width, height: 770 };
const SANS = "system-ui, sans-serif";

/** Draws a picture, its handles and the scale of the plane. */
export function drawn(view: View, s: State, canvases: Canvases, c: Colours, handles: Handle[]): Shown {
  const shown = view(s, canvases, c);
  Plane.on(canvases.plane, (plane) => {
    plane.ticks(c.muted);
    for (const { at, colour } of handles) plane.handle(at, c[colour], c.paper);
  });
  return shown;
}

/** The two canvases of a picture that is not in the page, with the same size on all screens. */
export function apart(): Canvases {
  const sized = (width: number, height: number): HTMLCanvasElement =>
    Object.assign(document.createElement("canvas"), { width: APART * width, height: APART * height });
  return { plane: sized(PLANE, PLANE), chart: sized(CHART.width, CHART.height) };
}

/** Writes text with <sub> parts, and returns where it ends. */
function write(g: CanvasRenderingContext2D, html: string, x: number, y: number, size: number): number {
  for (const [i, part] of html.split(/<\/?sub>/).entries()) {
    g.font = `${i % 2 ? 0.72 * size : size}px ${SANS}`;
    g.fillText(part, x, i % 2 ? y + 0.25 * size : y);
    x += g.measureText(part).width;
  }
  return x;
}

/** Writes text in lines of at most this width, and returns where the next line stands. */
function paragraph(g: CanvasRenderingContext2D, text: string, x: number, y: number, width: number, size: number): number {
  g.font = `${size}px ${SANS}`;
  let line = "";
  for (const word of text.split(" ")) {
    if (g.measureText(`${line} ${word}`).width > width) {
      g.fillText(line, x, y);
      [line, y] = [word, y + 1.4 * size];
    } else line = line ? `${line} ${word}` : word;
  }
  g.fillText(line, x, y);
  return y + 1.4 * size;
}

/** One image with the title, the plane and the chart side by side, the key, the readout and the settings. */
export async function image(title: string, s: State, c: Colours, { plane, chart }: Canvases, shown: Shown): Promise<string> {
  const whole = Object.assign(document.createElement("canvas"), { width: APART * SIZE.width, height: APART * SIZE.height });
  const g = whole.getContext("2d")!;
  g.scale(APART, APART);
  g.fillStyle = c.paper;
  g.fillRect(0, 0, SIZE.width, SIZE.height);
  g.drawImage(plane, GAP, 64, PLANE, PLANE);
  Object.assign(g, { strokeStyle: c.muted, lineWidth: 0.5 }).strokeRect(GAP, 64, PLANE, PLANE);
  const right = 2 * GAP + PLANE;
  g.drawImage(chart, right, 64, CHART.width, CHART.height);
  g.fillStyle = c.ink;
  write(g, title, GAP, 44, 26);
  let y = paragraph(g, shown.readout, right, 64 + CHART.height + 34, CHART.width, 18) + 12;
  for (const { mark, colour, text } of shown.key) {
    const picture = new Image();
    picture.src = `data:image/svg+xml,${encodeURIComponent(swatch(mark, c[colour]))}`;
    await picture.decode();
    g.drawImage(picture, right, y - 13, 26, 14);
    write(g, text, right + 36, y, 17);
    y += 27;
  }
  g.fillStyle = c.muted;
  paragraph(g, settings(s), GAP, 64 + PLANE + 34, SIZE.width - 2 * GAP, 16);
  return whole.toDataURL();
}

/** A step for the printer: its words, both canvases, the key, the readout and the settings. */
export function section(article: Element, s: State, { plane, chart }: Canvases, shown: Shown): HTMLElement {
  const box = document.createElement("section");
  const [left, right] = [document.createElement("div"), document.createElement("div")];
  const readout = document.createElement("p");
  const words = article.cloneNode(true) as HTMLElement;
  words.classList.add("now");
  left.innerHTML = `<ul class="key">${shown.key.map(keyEntry).join("")}</ul><p class="note">${settings(s)}</p>`;
  left.prepend(plane);
  readout.textContent = shown.readout;
  right.append(words, chart, readout);
  box.append(left, right);
  return box;
}
