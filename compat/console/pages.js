// Opens pages of another origin that play streams of a running server: the
// example page with its three players, and the pages that the console's Try it
// page gives out. Started by compat/console_test.go. The players come from
// compat/browser in place of the CDN.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { strict as assert } from "node:assert";
import { chromium } from "playwright-core";

const { url, key, secret, nobodyKey, nobodySecret } = JSON.parse(process.env.SLUICE_CONSOLE);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const pages = { "/": readFileSync(here("../../examples/hls-player/index.html"), "utf8") };
const server = createServer((q, a) => {
  const text = pages[new URL(q.url, "http://x").pathname];
  a.writeHead(text ? 200 : 404, { "content-type": "text/html; charset=utf-8" }).end(text ?? "");
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  ],
});
const context = await browser.newContext();
context.setDefaultTimeout(30_000);
await context.route("https://cdn.jsdelivr.net/npm/**", (route) => {
  const [, name, path] = /\/npm\/([a-z.-]+)@[\d.]+\/(.*)$/.exec(route.request().url());
  return route.fulfill({ path: here(`../browser/node_modules/${name}/${path}`) });
});
const page = await context.newPage();
const problems = [];
page.on("pageerror", (e) => problems.push(e.message));

const plays = async (p, what) => {
  await p.waitForFunction(() => document.querySelector("video")?.currentTime > 0.5).catch(async (e) => {
    throw new Error(`${what} does not play: ${await p.locator("body").innerText()} ${e.message}`);
  });
  console.log(`${what} plays`);
};

for (const player of ["hls.js", "video.js", "Shaka"]) {
  const open = async (fields) => {
    await page.goto("about:blank");
    await page.goto(`${origin}/#${new URLSearchParams({ player, endpoint: url, stream: "demo-camera", key, secret, ...fields })}`);
  };
  await open({});
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await plays(page, `example page, ${player}`);
  // A session that is over answers as one whose token is not the server's.
  await page.evaluate(([p, u]) => play(p, u), [player, `${url}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=over`]);
  await page.getByText("The session is over").waitFor().catch(async (e) => {
    throw new Error(`${player}: ${await page.locator("body").innerText()} ${e.message}`);
  });
  await open({ key: nobodyKey, secret: nobodySecret });
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await page.getByText("AccessDeniedException").waitFor();
}
await page.goto(`${origin}/#${new URLSearchParams({ endpoint: url, stream: "demo-camera", key, secret: secret + "x" })}`);
await page.reload();
await page.getByRole("button", { name: "Play", exact: true }).click();
await page.getByText("InvalidSignatureException").waitFor();

const console_ = await context.newPage();
await console_.goto(url + "/console/#/try-it/demo-camera");
await console_.getByLabel("Access key ID").fill(key);
await console_.getByLabel("Secret access key").fill(secret);
await console_.getByRole("button", { name: "Sign in" }).click();
await console_.getByText("getHLSMasterPlaylist").first().waitFor();
for (const [i, player] of ["hls.js", "video.js", "Shaka"].entries()) {
  await console_.getByRole("tab", { name: player, exact: true }).click();
  pages[`/${i}`] = await console_.locator("pre.code", { hasText: "<video" }).filter({ visible: true }).innerText();
  await page.goto(`${origin}/${i}`);
  await plays(page, `snippet for ${player}`);
}
assert.deepEqual(problems, []);
await browser.close();
server.close();
console.log("played");
