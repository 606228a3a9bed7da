// Builds the page: node build.mjs [FILE]. The result is one file with its style, script, formulas and fonts inside.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";
import katex from "katex";

const here = (name) => new URL(name, import.meta.url);
const target = process.argv[2] ?? here("../docs/explainer.html");
const FONTS = /KaTeX_(Main-Regular|Math-Italic|AMS-Regular|Size[12]-Regular)\.woff2$/; // those that the formulas use

const sources = [
  "build.mjs",
  "index.html",
  "package-lock.json",
  "style.css",
  "tsconfig.json",
  ...readdirSync(here("src"))
    .sort()
    .map((it) => `src/${it}`),
];
const digest = createHash("sha256");
for (const name of sources) digest.update(readFileSync(here(name)));

const packages = new Set(); // those whose text or fonts are in the page
async function bundle(entry, options) {
  const result = await build({
    entryPoints: [here(entry).pathname],
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    target: "es2022",
    ...options,
  });
  for (const path of Object.keys(result.metafile.inputs)) {
    const found = path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  return result.outputFiles[0].text.trim();
}
const usedFonts = {
  name: "used-fonts",
  setup({ onLoad }) {
    onLoad({ filter: /\.(woff2?|ttf)$/ }, ({ path }) =>
      FONTS.test(path) ? { contents: readFileSync(path), loader: "dataurl" } : { contents: "", loader: "empty" },
    );
  },
};

const formula = (tex) => katex.renderToString(tex.replaceAll("&lt;", "<"), { output: "htmlAndMathml", strict: "error" });
const page = readFileSync(here("index.html"), "utf8")
  .replace(/\$([^$]+)\$([,.;])/g, (_, tex, mark) => `<span class="together">${formula(tex)}${mark}</span>`) // no line break between
  .replace(/\$([^$]+)\$/g, (_, tex) => formula(tex));
const style = await bundle("style.css", { plugins: [usedFonts] });
const script = await bundle("src/main.ts", { format: "iife" });
const licences = [...packages]
  .sort()
  .map((name) => `${name}\n\n${readFileSync(here(`node_modules/${name}/LICENSE`), "utf8").trim()}`);
writeFileSync(
  target,
  page
    .replace("<!-- style -->", () => `<meta name="sources" content="${digest.digest("hex")}">\n<style>${style}</style>`)
    .replace("<!-- script -->", () => `<script>${script.replaceAll("</script", "<\\/script")}</script>`) +
    `<!--\nThis page contains parts of these packages.\n\n${licences.join("\n\n")}\n-->\n`,
);
