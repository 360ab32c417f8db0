// Measures the console on a running server: bytes of the first load, the time
// until a stream page can be used and shows a picture, and frames a second while
// the timeline is panned. URL, access key and secret are its arguments; the stream
// is demo-camera. docs/benchmarks.md has the figures.
import { chromium } from "playwright-core";

const [url, key, secret] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});

/** load opens a fresh browser's page and adds up what came over the wire. */
async function load(hash, ready, signedIn) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
  if (signedIn) await context.addInitScript((k) => sessionStorage.setItem("sluice-keys", k), JSON.stringify({ accessKeyId: key, secretAccessKey: secret }));
  const page = await context.newPage();
  let wire = 0;
  const sizes = [];
  page.on("requestfinished", (r) => {
    if (r.url().includes("/console/")) sizes.push(r.sizes().then((s) => (wire += s.responseBodySize + s.responseHeadersSize), () => undefined));
  });
  const began = performance.now();
  await page.goto(url + "/console/" + hash);
  await ready(page);
  const ms = performance.now() - began;
  await page.waitForTimeout(500);
  await Promise.all(sizes);
  return { page, context, ms, wire };
}
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];

const first = await load("", (p) => p.getByLabel("Access key ID").waitFor());
console.log(`first load, sign in: ${(first.wire / 1000).toFixed(0)} kB`);
await first.context.close();
const usable = (p) => p.getByRole("tab", { name: "Watch" }).waitFor();
const times = [];
const pictures = [];
let wire = 0;
for (let i = 0; i < 7; i++) {
  const one = await load("#/stream/demo-camera", usable, true);
  times.push(one.ms);
  wire = one.wire;
  await one.context.close();
  const two = await load("#/stream/demo-camera", (p) => p.waitForFunction(() => document.querySelector("video")?.currentTime > 0), true);
  pictures.push(two.ms);
  await two.context.close();
}
console.log(`first load, stream page: ${(wire / 1000).toFixed(0)} kB`);
console.log(`stream page usable after ${median(times).toFixed(0)} ms, picture after ${median(pictures).toFixed(0)} ms (medians of 7, nothing cached)`);

// A timeline of a million fragments comes as the spans of its visible stretch:
// at most as many as were asked for, here with a gap between any two.
const { page, context } = await load("#/stream/demo-camera", usable, true);
await page.route("**/getTimeline", (route) => {
  const q = JSON.parse(route.request().postData());
  const step = (q.EndTimestamp - q.StartTimestamp) / q.Buckets;
  const Spans = Array.from({ length: q.Buckets }, (_, i) => ({ Start: q.StartTimestamp + i * step, End: q.StartTimestamp + (i + 0.6) * step, Fragments: Math.round(1e6 / q.Buckets), Bytes: 1 }));
  return route.fulfill({ contentType: "application/json", body: JSON.stringify({ Spans }) });
});
await page.getByRole("button", { name: "1 week" }).click();
await page.waitForTimeout(1000);
await page.evaluate(() => document.querySelector("video")?.pause());
const box = await page.locator("canvas.timeline").boundingBox();
await page.evaluate(() => {
  globalThis.frames_ = 0;
  const count = () => {
    globalThis.frames_++;
    requestAnimationFrame(count);
  };
  requestAnimationFrame(count);
});
await page.mouse.move(box.x + box.width / 2, box.y + 40);
await page.mouse.down();
const begin = performance.now();
const from = await page.evaluate(() => globalThis.frames_);
let moves = 0;
while (performance.now() - begin < 4000) {
  await page.mouse.move(box.x + box.width / 2 + 300 * Math.sin(moves++ / 20), box.y + 40);
}
const took = (performance.now() - begin) / 1000;
const frames = (await page.evaluate(() => globalThis.frames_)) - from;
await page.mouse.up();
console.log(`panning 2000 spans: ${(frames / took).toFixed(0)} frames/s, ${(moves / took).toFixed(0)} moves/s`);
await context.close();
await browser.close();
