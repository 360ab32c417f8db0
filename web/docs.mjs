// Renders docs/troubleshooting.md into a page of the console, so that its links
// work on a server without Internet. Headings keep the ids that GitHub gives them.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { Marked } from "marked";

const id = (text) =>
  text
    .toLowerCase()
    .replace(/[^\w\- ]+/g, "")
    .trim()
    .replace(/ /g, "-");
const marked = new Marked({
  renderer: {
    heading({ tokens, depth, text }) {
      return `<h${depth} id="${id(text)}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
    },
  },
});
mkdirSync("public/docs", { recursive: true });
writeFileSync(
  "public/docs/troubleshooting.html",
  `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Troubleshooting – Sluice</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; } h3 { margin-top: 2rem; } :target { background: Mark; color: MarkText; }
pre { padding: .7rem 1rem; overflow-x: auto; border: 1px solid #8884; border-radius: 6px; } code { font-size: .92em; }
</style>
<main>
${marked.parse(readFileSync("../docs/troubleshooting.md", "utf8"))}
</main>
</html>
`,
);
