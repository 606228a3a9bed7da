/** A small chart: axes with the scales of d3, lines, bars and marks. */

import { scaleLinear, scaleLog } from "d3-scale";
import { prepare, useStroke, type Stroke } from "./plane";
import type { Colours } from "./shared";

export interface Axes {
  readonly x: [number, number];
  readonly y: [number, number];
  readonly xLog?: boolean;
  readonly xTitle: string;
  readonly yTitle: string;
}
type Scale = (value: number) => number;
const MARGIN = { left: 50, right: 12, top: 29, bottom: 42 };
const FONT = "15px system-ui, sans-serif";
const short = (value: number): string => String(Number(value.toPrecision(2))).replace("-", "−");

/** The ticks of a logarithmic axis: 1, 2 and 5 times powers of ten, or the powers alone if there are many. */
function logTicks(all: number[]): number[] {
  const digits = (pattern: RegExp): number[] => all.filter((value) => pattern.test(value.toExponential()));
  return digits(/^[125]/).length < 7 ? digits(/^[125]/) : digits(/^1/);
}

export class Chart {
  private readonly g: CanvasRenderingContext2D;
  private readonly sx: Scale;
  private readonly sy: Scale;
  private readonly box: { left: number; right: number; top: number; bottom: number };

  constructor(
    canvas: HTMLCanvasElement,
    axes: Axes,
    private readonly colours: Colours,
  ) {
    const { g, width, height } = prepare(canvas);
    canvas.setAttribute("aria-label", `Chart of the ${axes.yTitle} against the ${axes.xTitle}`);
    const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const x = (axes.xLog ? scaleLog() : scaleLinear()).domain(axes.x).range([box.left, box.right]);
    const y = scaleLinear().domain(axes.y).range([box.bottom, box.top]);
    [this.g, this.sx, this.sy, this.box] = [g, (v) => x(v), (v) => y(v), box];
    this.line(axes.x, [axes.y[0], axes.y[0]], { colour: colours.muted, width: 1 });
    Object.assign(g, { font: FONT, fillStyle: colours.muted, lineJoin: "round", textAlign: "center" });
    for (const value of axes.xLog ? logTicks(x.ticks()) : x.ticks(6)) g.fillText(short(value), x(value), box.bottom + 18);
    g.fillText(axes.xTitle, (box.left + box.right) / 2, height - 5);
    g.textAlign = "right";
    for (const value of y.ticks(4)) g.fillText(short(value), box.left - 6, y(value) + 5);
    g.textAlign = "left";
    g.fillText(axes.yTitle, 2, 15);
    g.save();
    g.beginPath();
    g.rect(box.left - 6, box.top - 6, box.right - box.left + 12, box.bottom - box.top + 12);
    g.clip();
  }

  /** The line through the points (xs[i], ys[i]); `xs` may be longer than `ys`. */
  line(xs: readonly number[], ys: readonly number[], stroke: Stroke): void {
    useStroke(this.g, stroke);
    this.g.beginPath();
    ys.forEach((y, i) => this.g.lineTo(this.sx(xs[i]!), this.sy(y)));
    this.g.stroke();
  }

  /** The graph of a function. */
  curve(xs: readonly number[], f: (x: number) => number, stroke: Stroke): void {
    this.line(xs, xs.map(f), stroke);
  }

  /** Bars of equal width from the bottom; `edges` has one entry more than `heights`. */
  bars(edges: readonly number[], heights: readonly number[], colour: string, opacity: number): void {
    Object.assign(this.g, { fillStyle: colour, globalAlpha: opacity });
    heights.forEach((height, i) => {
      const [left, right] = [this.sx(edges[i]!), this.sx(edges[i + 1]!)];
      this.g.fillRect(left, this.sy(height), right - left - 1, this.box.bottom - this.sy(height));
    });
  }

  /** A region between two places of the horizontal axis. */
  region(from: number, to: number, colour: string, opacity: number): void {
    Object.assign(this.g, { fillStyle: colour, globalAlpha: opacity });
    this.g.fillRect(this.sx(from), this.box.top, this.sx(to) - this.sx(from), this.box.bottom - this.box.top);
  }

  /** A vertical line with a label at its upper end, on the right of the line or on its left. */
  mark(x: number, label: string, stroke: Stroke, leftwards = false): void {
    useStroke(this.g, stroke);
    this.g.beginPath();
    this.g.moveTo(this.sx(x), this.box.top);
    this.g.lineTo(this.sx(x), this.box.bottom);
    this.g.stroke();
    this.write(label, this.sx(x) + (leftwards ? -5 : 5), this.box.top + 11, stroke.colour, leftwards ? "right" : "left");
  }

  dot(x: number, y: number, colour: string, radius = 4): void {
    Object.assign(this.g, { fillStyle: colour, globalAlpha: 1 });
    this.g.beginPath();
    this.g.arc(this.sx(x), this.sy(y), radius, 0, 2 * Math.PI);
    this.g.fill();
  }

  text(text: string, x: number, y: number, colour: string, align: CanvasTextAlign = "left"): void {
    this.write(text, this.sx(x), this.sy(y), colour, align);
  }

  /** Text with a border in the colour of the paper, so that lines behind it do not disturb. */
  private write(text: string, x: number, y: number, colour: string, align: CanvasTextAlign): void {
    useStroke(this.g, { colour: this.colours.paper, width: 5 });
    Object.assign(this.g, { fillStyle: colour, textAlign: align });
    this.g.strokeText(text, x, y);
    this.g.fillText(text, x, y);
  }

  /** Ends the clipping; to be called once, after everything is drawn. */
  close(): void {
    this.g.restore();
  }
}
