// Measures the console of a running server that has many streams, and many
// fragments in one of them, demo-camera, into which a camera plays: bytes of the
// first load, times until a page can be used, calls that are made, frames a second
// while the timeline is panned. Started by compat/size_test.go; docs/benchmarks.md
// has the figures.
import { strict as assert } from "node:assert";
import { chromium } from "playwright-core";

const { url, key, secret, streams, fragments } = JSON.parse(process.env.SLUICE_CONSOLE);
const browser = await chromium.launch({
  timeout: 240_000,
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});

/** load opens a page in a browser that has nothing cached, and adds up what came over the wire. */
async function load(hash, ready, signedIn = true) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
  if (signedIn) await context.addInitScript((k) => sessionStorage.setItem("sluice-keys", k), JSON.stringify({ accessKeyId: key, secretAccessKey: secret }));
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  let wire = 0;
  const sizes = [];
  const calls = [];
  page.on("requestfinished", (r) => {
    if (r.url().includes("/console/")) sizes.push(r.sizes().then((s) => (wire += s.responseBodySize + s.responseHeadersSize), () => undefined));
  });
  page.on("request", (r) => {
    if (r.method() === "POST") calls.push(new URL(r.url()).pathname);
  });
  const began = performance.now();
  await page.goto(url + "/console/" + hash);
  await ready(page);
  const ms = performance.now() - began;
  await page.waitForTimeout(500);
  await Promise.all(sizes);
  return { page, context, ms, wire, calls };
}
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
const count = (calls) => JSON.stringify(calls.reduce((n, c) => ({ ...n, [c]: (n[c] ?? 0) + 1 }), {}));
const timed = async (work) => {
  const began = performance.now();
  await work();
  return (performance.now() - began).toFixed(0);
};

// First loads.
const first = await load("", (p) => p.getByLabel("Access key ID").waitFor(), false);
console.log(`first load, sign in: ${(first.wire / 1000).toFixed(0)} kB`);
await first.context.close();
const usable = (p) => p.getByRole("tab", { name: "Watch" }).waitFor();
const times = [];
const pictures = [];
let wire = 0;
for (let i = 0; i < 7; i++) {
  const one = await load("#/stream/demo-camera", usable);
  times.push(one.ms);
  wire = one.wire;
  await one.context.close();
  const two = await load("#/stream/demo-camera", (p) => p.waitForFunction(() => document.querySelector("video")?.currentTime > 0));
  pictures.push(two.ms);
  await two.context.close();
}
console.log(`first load, stream page: ${(wire / 1000).toFixed(0)} kB`);
console.log(`stream page usable after ${median(times).toFixed(0)} ms, picture after ${median(pictures).toFixed(0)} ms (medians of 7, nothing cached)`);

// The list.
const list = await load("#/streams", (p) => p.getByRole("link", { name: "cam-00000" }).waitFor());
console.log(`list of ${streams}: first page after ${list.ms.toFixed(0)} ms`);
const shown = await list.page.locator("tbody tr").count();
const rows = list.calls.filter((c) => c === "/describeStreamActivity").length;
console.log(`  ${shown} rows, calls ${count(list.calls)}`);
assert.ok(rows > 0 && rows < shown / 2, `${rows} calls about ${shown} rows, of which most are off screen`);
let before = list.calls.length;
console.log(`  next page after ${await timed(async () => {
  await list.page.getByRole("button", { name: "Next page" }).click();
  await list.page.getByRole("link", { name: "cam-00050" }).waitFor();
})} ms`);
console.log(`  a prefix after ${await timed(async () => {
  await list.page.getByPlaceholder("Name begins with").fill("cam-0987");
  await list.page.getByRole("link", { name: "cam-09870" }).waitFor();
})} ms`);
await list.page.getByPlaceholder("Name begins with").fill("");
await list.page.getByRole("link", { name: "cam-00000" }).waitFor();
console.log(`  a tag after ${await timed(async () => {
  await list.page.getByPlaceholder("Tag, as key=value").fill("site=house-9");
  await list.page.getByRole("link", { name: "cam-09900" }).waitFor();
})} ms, calls since the first page ${count(list.calls.slice(before))}`);
await list.context.close();

// The timeline: real answers over the million, at each zoom.
const { page, context, calls } = await load("#/stream/demo-camera", usable);
await page.evaluate(() => document.querySelector("video")?.pause());
const answers = [];
page.on("requestfinished", async (r) => {
  if (!r.url().endsWith("/getTimeline")) return;
  const q = JSON.parse(r.postData());
  const size = (await r.sizes()).responseBodySize;
  answers.push({ days: (q.EndTimestamp - q.StartTimestamp) / 86400, buckets: q.Buckets, ms: r.timing().responseEnd - r.timing().requestStart, size, spans: (await (await r.response()).json()).Spans.length });
});
await page.evaluate(() => {
  globalThis.frames_ = 0;
  const count = () => {
    globalThis.frames_++;
    requestAnimationFrame(count);
  };
  requestAnimationFrame(count);
});
for (const zoom of ["5 min", "1 h", "1 day", "1 week", "30 days"]) {
  await page.getByRole("button", { name: zoom, exact: true }).click();
  await page.waitForTimeout(1000);
  const box = await page.locator("canvas.timeline").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 40);
  await page.mouse.down();
  const begin = performance.now();
  const from = await page.evaluate(() => globalThis.frames_);
  before = calls.length;
  let moves = 0;
  while (performance.now() - begin < 4000) {
    await page.mouse.move(box.x + box.width / 2 + 300 * Math.sin(moves++ / 20), box.y + 40);
  }
  const took = (performance.now() - begin) / 1000;
  const frames = (await page.evaluate(() => globalThis.frames_)) - from;
  await page.mouse.up();
  await page.waitForTimeout(500);
  await page.getByRole("button", { name: "Now", exact: true }).click();
  await page.evaluate(() => document.querySelector("video")?.pause());
  console.log(`panning ${zoom} of ${fragments} fragments: ${(frames / took).toFixed(0)} frames/s, ${(moves / took).toFixed(0)} moves/s, calls ${count(calls.slice(before))}`);
}
for (const days of new Set(answers.map((a) => a.days.toPrecision(2)))) {
  const some = answers.filter((a) => a.days.toPrecision(2) === days);
  console.log(`GetTimeline over ${days} days in ${some[0].buckets} steps: ${median(some.map((a) => a.ms)).toFixed(1)} ms, ${median(some.map((a) => a.size))} bytes, ${median(some.map((a) => a.spans))} spans (median of ${some.length})`);
}
await context.close();
await browser.close();
console.log("measured");
