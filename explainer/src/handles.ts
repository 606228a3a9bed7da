/** Points in the plane that can be dragged, or moved with the arrow keys. */

import type { Vec } from "./math";
import { HALF } from "./plane";

export interface Handle {
  name: string;
  colour: "ink" | "accent";
  at: Vec;
  move: (to: Vec) => void;
  remove?: () => void;
}
const KEYS: Record<string, Vec> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const inside = (value: number): number => Math.round(100 * Math.min(HALF - 0.1, Math.max(0.1 - HALF, value))) / 100;

/** Shows the handles; a button that exists already is kept, with its focus. */
export function showHandles(box: HTMLElement, handles: Handle[]): void {
  while (box.children.length > handles.length) box.lastElementChild!.remove();
  handles.forEach((handle, i) => {
    const button = (box.children[i] as HTMLButtonElement | undefined) ?? box.appendChild(document.createElement("button"));
    const move = (x: number, y: number): void => handle.move([inside(x), inside(y)]);
    const [x, y] = handle.at;
    button.type = "button";
    button.className = "handle";
    button.setAttribute("aria-label", `${handle.name} at ${x.toFixed(2)}, ${y.toFixed(2)}. Move it with the arrow keys.`);
    Object.assign(button.style, { left: `${50 * (1 + x / HALF)}%`, top: `${50 * (1 - y / HALF)}%` });
    button.onpointerdown = (event) => button.setPointerCapture(event.pointerId);
    button.onpointermove = (event) => {
      if (!button.hasPointerCapture(event.pointerId)) return;
      const area = box.parentElement!.getBoundingClientRect();
      move(
        HALF * ((2 * (event.clientX - area.left)) / area.width - 1),
        HALF * (1 - (2 * (event.clientY - area.top)) / area.height),
      );
    };
    button.onkeydown = (event) => {
      const way = KEYS[event.key];
      const size = event.shiftKey ? 0.02 : 0.1;
      if (way) move(x + size * way[0], y + size * way[1]);
      else if (event.key === "Delete" && handle.remove) handle.remove();
      else return;
      event.preventDefault();
    };
  });
}
