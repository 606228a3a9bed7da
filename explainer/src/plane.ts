/** Drawing in the plane of the samples: densities, points, arrows and circles, in the units of the data. */

import type { Vec } from "./math";

export const HALF = 3.2; // the plane shows [-HALF, HALF]^2

/** A canvas, as large as its element is on the screen, with a context whose unit is one CSS pixel. */
export function prepare(canvas: HTMLCanvasElement): { g: CanvasRenderingContext2D; width: number; height: number } {
  const { width, height } = canvas.getBoundingClientRect(), ratio = Math.min(2, devicePixelRatio || 1);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const g = canvas.getContext("2d")!;
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

export class Plane {
  private readonly g: CanvasRenderingContext2D;
  private readonly size: number;
  constructor(canvas: HTMLCanvasElement) {
    const { g, width } = prepare(canvas);
    [this.g, this.size] = [g, width];
    g.lineCap = g.lineJoin = "round";
  }

  private px(x: number): number { return (x / HALF + 1) * this.size / 2; }
  private py(y: number): number { return (1 - y / HALF) * this.size / 2; }

  /** A density as a tint of `colour`: fully coloured where it has its largest value on the grid. */
  density(logDensity: (x: number, y: number) => number, colour: string, opacity: number): void {
    const cells = 88, values = new Float64Array(cells * cells);
    let top = -Infinity;
    for (let i = 0; i < values.length; i++) {
      const x = HALF * (2 * ((i % cells) + 0.5) / cells - 1), y = HALF * (1 - 2 * (Math.floor(i / cells) + 0.5) / cells);
      top = Math.max(top, values[i] = logDensity(x, y));
    }
    this.image(cells, colour, (i) => opacity * Math.exp(values[i]! - top));
  }

  /** An image of square cells in one colour, row by row from the top, with the given opacity (0 to 1) in cell i. */
  image(cells: number, colour: string, opacity: (i: number) => number): void {
    const small = new OffscreenCanvas(cells, cells), g = small.getContext("2d")!, image = g.createImageData(cells, cells);
    const [red, green, blue] = colour.match(/\d+/g)!.map(Number) as [number, number, number];
    for (let i = 0; i < cells * cells; i++) image.data.set([red, green, blue, 255 * opacity(i)], 4 * i);
    g.putImageData(image, 0, 0);
    this.g.drawImage(small, 0, 0, this.size, this.size);
  }

  /** Points as dots; `opacity` may be different for each of them. */
  dots(points: Float64Array, colour: string, radius: number, opacity: number | ((i: number) => number)): void {
    const g = this.g;
    g.fillStyle = colour;
    if (typeof opacity === "number") g.globalAlpha = opacity;
    for (let i = 0; 2 * i < points.length; i++) {
      const x = this.px(points[2 * i]!), y = this.py(points[2 * i + 1]!);
      if (x < 0 || y < 0 || x > this.size || y > this.size) continue;
      if (typeof opacity === "function") g.globalAlpha = opacity(i);
      g.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    }
    g.globalAlpha = 1;
  }

  /** The broken line through points. */
  line(points: readonly Vec[], colour: string, width: number, opacity = 1, dash: number[] = []): void {
    const g = this.g;
    Object.assign(g, { strokeStyle: colour, lineWidth: width, globalAlpha: opacity });
    g.setLineDash(dash);
    g.beginPath();
    points.forEach(([x, y], i) => (i ? g.lineTo(this.px(x), this.py(y)) : g.moveTo(this.px(x), this.py(y))));
    g.stroke();
    g.setLineDash([]);
    g.globalAlpha = 1;
  }

  /** An arrow, whose head has at most a third of its length. */
  arrow(from: Vec, to: Vec, colour: string, width: number, opacity = 1, dash: number[] = []): void {
    const g = this.g, [x0, y0, x1, y1] = [this.px(from[0]), this.py(from[1]), this.px(to[0]), this.py(to[1])];
    const length = Math.hypot(x1 - x0, y1 - y0);
    if (length < 0.5) return;
    const head = Math.min(3 + 2.2 * width, length / 2), [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
    this.line([from, [to[0] - (head * 0.8 * ux) * 2 * HALF / this.size, to[1] + (head * 0.8 * uy) * 2 * HALF / this.size]], colour, width, opacity, dash);
    Object.assign(g, { fillStyle: colour, globalAlpha: opacity });
    g.beginPath();
    g.moveTo(x1, y1);
    g.lineTo(x1 - head * ux - head * 0.5 * uy, y1 - head * uy + head * 0.5 * ux);
    g.lineTo(x1 - head * ux + head * 0.5 * uy, y1 - head * uy - head * 0.5 * ux);
    g.fill();
    g.globalAlpha = 1;
  }

  /** A field of arrows on a grid: `arrow` gives the end of the arrow that starts at (x, y). */
  field(end: (x: number, y: number) => Vec, colour: string, count = 17): void {
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        const start: Vec = [HALF * (2 * (i + 0.5) / count - 1), HALF * (2 * (j + 0.5) / count - 1)];
        this.arrow(start, end(...start), colour, 1.2, 0.85);
      }
    }
  }

  /** A circle; its radius is in the units of the data, or in pixels if `pixels` is set. */
  ring(centre: Vec, radius: number, colour: string, width: number, pixels = false, fill?: string): void {
    const g = this.g;
    Object.assign(g, { strokeStyle: colour, lineWidth: width, fillStyle: fill ?? "transparent" });
    g.beginPath();
    g.arc(this.px(centre[0]), this.py(centre[1]), pixels ? radius : radius / HALF * this.size / 2, 0, 2 * Math.PI);
    if (fill) g.fill();
    g.stroke();
  }

  /** A filled rectangle with its lower left corner at (x, y). */
  bar(x: number, y: number, width: number, height: number, colour: string): void {
    this.g.fillStyle = colour;
    this.g.fillRect(this.px(x), this.py(y + height), this.px(x + width) - this.px(x), this.py(y) - this.py(y + height));
  }

  cross(centre: Vec, size: number, colour: string, width: number): void {
    const d = size * 2 * HALF / this.size, [x, y] = centre;
    this.line([[x - d, y - d], [x + d, y + d]], colour, width);
    this.line([[x - d, y + d], [x + d, y - d]], colour, width);
  }
}
