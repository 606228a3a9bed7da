/** Drawing in the plane of the samples: densities, points, arrows and circles, in the units of the data. */

import type { Vec } from "./math";

/** The line in the plane along which a chart is drawn. */
const DOTTED = { width: 2, opacity: 0.9, dash: [0.1, 6] };

export const HALF = 3.2; // the plane shows [-HALF, HALF]^2

/** How a line is drawn; widths and dashes in pixels. */
export interface Stroke {
  readonly colour: string;
  readonly width: number;
  readonly opacity?: number;
  readonly dash?: number[];
}

export function useStroke(g: CanvasRenderingContext2D, { colour, width, opacity = 1, dash = [] }: Stroke): void {
  Object.assign(g, { strokeStyle: colour, lineWidth: width, globalAlpha: opacity });
  g.setLineDash(dash);
}

export const APART = 2; // pixels for each CSS pixel of a canvas that is not in the page: a picture to save or to print

/** A canvas, as large as its element is on the screen, with a context whose unit is one CSS pixel. */
export function prepare(canvas: HTMLCanvasElement): { g: CanvasRenderingContext2D; width: number; height: number } {
  const box = canvas.isConnected
    ? canvas.getBoundingClientRect()
    : { width: canvas.width / APART, height: canvas.height / APART };
  const ratio = canvas.isConnected ? Math.min(2, devicePixelRatio || 1) : APART;
  const [w, h] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const g = canvas.getContext("2d")!;
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.globalAlpha = 1;
  g.clearRect(0, 0, box.width, box.height);
  return { g, width: box.width, height: box.height };
}

export class Plane {
  private readonly g: CanvasRenderingContext2D;
  private readonly size: number;
  constructor(canvas: HTMLCanvasElement, { g, width } = prepare(canvas)) {
    [this.g, this.size] = [g, width];
    g.lineCap = g.lineJoin = "round";
  }

  /** Draws over what is on the canvas already. */
  static on(canvas: HTMLCanvasElement, draw: (plane: Plane) => void): void {
    const g = canvas.getContext("2d")!;
    draw(new Plane(canvas, { g, width: canvas.width / g.getTransform().a, height: 0 }));
  }

  private px(x: number): number {
    return ((x / HALF + 1) * this.size) / 2;
  }

  private py(y: number): number {
    return ((1 - y / HALF) * this.size) / 2;
  }

  /** A density as a tint of `colour`: fully coloured where it has its largest value on the grid. */
  density(logDensity: (x: number, y: number) => number, colour: string, opacity: number): void {
    const values: number[] = [];
    this.image(88, colour, (x, y) => {
      values.push(logDensity(x, y));
      return 0;
    });
    const top = values.reduce((a, b) => Math.max(a, b));
    let i = 0;
    this.image(88, colour, () => opacity * Math.exp(values[i++]! - top));
  }

  /** An image of square cells in one colour, with the given opacity (0 to 1) in the cell around (x, y). */
  image(cells: number, colour: string, opacity: (x: number, y: number) => number): void {
    const small = new OffscreenCanvas(cells, cells);
    const g = small.getContext("2d")!;
    const image = g.createImageData(cells, cells);
    const [red, green, blue] = colour.match(/\d+/g)!.map(Number) as [number, number, number];
    for (let i = 0; i < cells * cells; i++) {
      const [x, y] = [HALF * ((2 * ((i % cells) + 0.5)) / cells - 1), HALF * (1 - (2 * (Math.floor(i / cells) + 0.5)) / cells)];
      image.data.set([red, green, blue, 255 * opacity(x, y)], 4 * i);
    }
    g.putImageData(image, 0, 0);
    this.g.globalAlpha = 1;
    this.g.drawImage(small, 0, 0, this.size, this.size);
  }

  /** Points as dots of the given half width in pixels; the opacity may be different for each of them. */
  dots(points: Float64Array, style: { colour: string; size: number; opacity: number | ((i: number) => number) }): void {
    const { g, size } = this;
    const { colour, opacity, size: half } = style;
    g.fillStyle = colour;
    if (typeof opacity === "number") g.globalAlpha = opacity;
    for (let i = 0; 2 * i < points.length; i++) {
      const [x, y] = [this.px(points[2 * i]!), this.py(points[2 * i + 1]!)];
      if (x < 0 || y < 0 || x > size || y > size) continue;
      if (typeof opacity === "function") g.globalAlpha = opacity(i);
      g.fillRect(x - half, y - half, 2 * half, 2 * half);
    }
    g.globalAlpha = 1;
  }

  /** The broken line through points. */
  line(points: readonly Vec[], stroke: Stroke): void {
    useStroke(this.g, stroke);
    this.g.beginPath();
    for (const [x, y] of points) this.g.lineTo(this.px(x), this.py(y));
    this.g.stroke();
  }

  /** A dotted horizontal line through the whole plane. */
  across(y: number, colour: string): void {
    const ends: Vec[] = [
      [-HALF, y],
      [HALF, y],
    ];
    this.line(ends, { colour, ...DOTTED });
  }

  /** An arrow, whose head has at most half of its length. */
  arrow(from: Vec, to: Vec, stroke: Stroke): void {
    const { g } = this;
    const [x1, y1] = [this.px(to[0]), this.py(to[1])];
    const [dx, dy] = [x1 - this.px(from[0]), y1 - this.py(from[1])];
    const length = Math.hypot(dx, dy);
    if (length < 0.5) return;
    const head = Math.min(3 + 2.2 * stroke.width, length / 2);
    const [ux, uy] = [(head * dx) / length, (head * dy) / length];
    const share = 1 - (0.8 * head) / length; // the line ends inside the head
    this.line([from, [from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])]], stroke);
    g.fillStyle = stroke.colour;
    g.beginPath();
    g.moveTo(x1, y1);
    g.lineTo(x1 - ux - 0.5 * uy, y1 - uy + 0.5 * ux);
    g.lineTo(x1 - ux + 0.5 * uy, y1 - uy - 0.5 * ux);
    g.fill();
  }

  /** A vector field on a grid, whose longest arrow is somewhat longer than a cell; returns the length that it stands for. */
  field(vector: (x: number, y: number) => Vec, stroke: Stroke, count = 17): number {
    const centres = Array.from({ length: count }, (_, i) => HALF * ((2 * (i + 0.5)) / count - 1));
    const all = centres.flatMap((x) => centres.map((y) => ({ from: [x, y] as Vec, along: vector(x, y) })));
    const longest = Math.max(...all.map(({ along }) => Math.hypot(...along)));
    const scale = (3.2 * HALF) / count / longest;
    for (const { from, along } of all) this.arrow(from, [from[0] + scale * along[0], from[1] + scale * along[1]], stroke);
    return longest;
  }

  /** A circle with a radius in the units of the data. */
  ring(centre: Vec, radius: number, stroke: Stroke): void {
    this.marker(centre, ((radius / HALF) * this.size) / 2, stroke);
  }

  /** A circle with a radius in pixels. */
  marker(centre: Vec, radius: number, stroke: Stroke, fill?: string): void {
    useStroke(this.g, stroke);
    this.g.beginPath();
    this.g.arc(this.px(centre[0]), this.py(centre[1]), radius, 0, 2 * Math.PI);
    if (fill) {
      this.g.fillStyle = fill;
      this.g.fill();
    }
    this.g.stroke();
  }

  /** What the reader can drag: a disc with a border. */
  handle(at: Vec, colour: string, paper: string): void {
    this.marker(at, 9.5, { colour: paper, width: 2 }, colour);
    this.marker(at, 10.5, { colour, width: 1 });
  }

  /** The scale of the plane: ticks with numbers on its lower and left edges. */
  ticks(colour: string): void {
    const { g, size } = this;
    Object.assign(g, { fillStyle: colour, globalAlpha: 1, font: "13px system-ui, sans-serif" });
    for (const value of [-2, 0, 2]) {
      const text = String(value).replace("-", "−");
      g.fillRect(this.px(value) - 0.5, size - 5, 1, 5);
      g.fillRect(0, this.py(value) - 0.5, 5, 1);
      Object.assign(g, { textAlign: "center" }).fillText(text, this.px(value), size - 9);
      Object.assign(g, { textAlign: "left" }).fillText(text, 9, this.py(value) + 4.5);
    }
  }

  /** A filled rectangle with its lower left corner at (x, y). */
  bar(x: number, y: number, width: number, height: number, colour: string): void {
    Object.assign(this.g, { fillStyle: colour, globalAlpha: 1 });
    this.g.fillRect(this.px(x), this.py(y + height), this.px(x + width) - this.px(x), this.py(y) - this.py(y + height));
  }

  /** A cross with a half width in pixels. */
  cross([x, y]: Vec, half: number, stroke: Stroke): void {
    const d = (half * 2 * HALF) / this.size;
    for (const sign of [1, -1]) {
      const ends: Vec[] = [
        [x - d, y - sign * d],
        [x + d, y + sign * d],
      ];
      this.line(ends, stroke);
    }
  }
}
