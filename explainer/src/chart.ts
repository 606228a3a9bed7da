/** A small chart: axes from d3-scale, lines, bars and marks. */

import { scaleLinear, scaleLog } from "d3-scale";
import { prepare } from "./plane";
import type { Colours } from "./shared";

export interface Axes { x: [number, number]; y: [number, number]; xLog?: boolean; yLog?: boolean; xTitle: string; yTitle: string }
const MARGIN = { left: 46, right: 12, top: 26, bottom: 38 };
const short = (value: number): string => String(Number(value.toPrecision(2))).replace("-", "−");

export class Chart {
  private readonly g: CanvasRenderingContext2D;
  private readonly sx: (value: number) => number;
  private readonly sy: (value: number) => number;
  private readonly box: { left: number; right: number; top: number; bottom: number };

  constructor(canvas: HTMLCanvasElement, axes: Axes, private readonly colours: Colours) {
    const { muted } = colours;
    const { g, width, height } = prepare(canvas);
    canvas.setAttribute("aria-label", `Chart of the ${axes.yTitle} against the ${axes.xTitle}`);
    const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const x = (axes.xLog ? scaleLog() : scaleLinear()).domain(axes.x).range([box.left, box.right]);
    const y = (axes.yLog ? scaleLog() : scaleLinear()).domain(axes.y).range([box.bottom, box.top]);
    [this.g, this.sx, this.sy, this.box] = [g, (v) => x(v), (v) => y(v), box];
    Object.assign(g, { font: "12px system-ui, sans-serif", strokeStyle: muted, fillStyle: muted, lineWidth: 1, lineJoin: "round" });
    g.beginPath();
    g.moveTo(box.left, box.bottom + 0.5);
    g.lineTo(box.right, box.bottom + 0.5);
    g.stroke();
    const ticks = (log: boolean | undefined, scale: typeof x, count: number): number[] =>
      log ? scale.ticks(count).filter((v) => /^[125]/.test(v.toExponential())).filter((v, _, all) => all.length < 7 || /^1/.test(v.toExponential()))
        : scale.ticks(count);
    g.textAlign = "center";
    for (const value of ticks(axes.xLog, x, 6)) g.fillText(short(value), x(value), box.bottom + 16);
    g.fillText(axes.xTitle, (box.left + box.right) / 2, height - 6);
    g.textAlign = "right";
    for (const value of ticks(axes.yLog, y, 4)) g.fillText(short(value), box.left - 6, y(value) + 4);
    g.textAlign = "left";
    g.fillText(axes.yTitle, 2, 13);
    g.beginPath();
    g.rect(box.left - 6, box.top - 6, box.right - box.left + 12, box.bottom - box.top + 12);
    g.save();
    g.clip();
  }

  line(xs: ArrayLike<number>, ys: ArrayLike<number>, colour: string, width = 1.5, opacity = 1, dash: number[] = []): void {
    const g = this.g;
    Object.assign(g, { strokeStyle: colour, lineWidth: width, globalAlpha: opacity });
    g.setLineDash(dash);
    g.beginPath();
    for (let i = 0; i < xs.length; i++) g.lineTo(this.sx(xs[i]!), this.sy(ys[i]!));
    g.stroke();
    g.setLineDash([]);
    g.globalAlpha = 1;
  }

  /** Bars of equal width from the bottom; `edges` has one entry more than `heights`. */
  bars(edges: readonly number[], heights: readonly number[], colour: string, opacity: number): void {
    Object.assign(this.g, { fillStyle: colour, globalAlpha: opacity });
    heights.forEach((height, i) => {
      const [left, right] = [this.sx(edges[i]!), this.sx(edges[i + 1]!)];
      this.g.fillRect(left, this.sy(height), right - left - 1, this.box.bottom - this.sy(height));
    });
    this.g.globalAlpha = 1;
  }

  /** A region between two places of the horizontal axis. */
  region(from: number, to: number, colour: string, opacity: number): void {
    const [a, b] = [this.sx(from), this.sx(to)].sort((p, q) => p - q) as [number, number];
    Object.assign(this.g, { fillStyle: colour, globalAlpha: opacity });
    this.g.fillRect(a, this.box.top, b - a, this.box.bottom - this.box.top);
    this.g.globalAlpha = 1;
  }

  /** A vertical line with a label at its upper end. */
  mark(x: number, label: string, colour: string, dash: number[] = [], leftwards = false): void {
    const at = this.sx(x), g = this.g;
    Object.assign(g, { strokeStyle: colour, lineWidth: 1.5 });
    g.setLineDash(dash);
    g.beginPath();
    g.moveTo(at, this.box.top);
    g.lineTo(at, this.box.bottom);
    g.stroke();
    g.setLineDash([]);
    this.write(label, at + (leftwards ? -5 : 5), this.box.top + 10, colour, leftwards ? "right" : "left");
  }

  dot(x: number, y: number, colour: string, radius = 4): void {
    this.g.fillStyle = colour;
    this.g.beginPath();
    this.g.arc(this.sx(x), this.sy(y), radius, 0, 2 * Math.PI);
    this.g.fill();
  }

  text(text: string, x: number, y: number, colour = this.colours.ink, align: CanvasTextAlign = "left"): void {
    this.write(text, this.sx(x), this.sy(y), colour, align);
  }

  /** Text with a border in the colour of the paper, so that lines behind it do not disturb. */
  private write(text: string, x: number, y: number, colour: string, align: CanvasTextAlign): void {
    Object.assign(this.g, { fillStyle: colour, strokeStyle: this.colours.paper, lineWidth: 5, textAlign: align });
    this.g.strokeText(text, x, y);
    this.g.fillText(text, x, y);
  }

  close(): void { this.g.restore(); }
}
