// Opens pages of another origin that play streams of a running server: the
// example page with its three players, and the pages that the console's Try it
// page gives out. Started by compat/console_test.go. The players come from
// compat/browser in place of the CDN.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { strict as assert } from "node:assert";
import { chromium } from "playwright-core";

const { url, key, secret, nobodyKey, nobodySecret, helper } = JSON.parse(process.env.SLUICE_CONSOLE);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const pages = { "/": readFileSync(here("../../examples/hls-player/index.html"), "utf8") };
const server = createServer((q, a) => {
  const text = pages[new URL(q.url, "http://x").pathname];
  a.writeHead(text ? 200 : 404, { "content-type": "text/html; charset=utf-8" }).end(text ?? "");
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await chromium.launch({
  timeout: 240_000,
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  ],
});
const context = await browser.newContext();
context.setDefaultTimeout(240_000); // only to notice that it is stuck
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

const says = async (p, text, what) => {
  await p.getByText(text).first().waitFor().catch(async (e) => {
    throw new Error(`${what} does not say "${text}": ${await p.locator("body").innerText()} ${e.message}`);
  });
  console.log(`${what} says so`);
};
/** expires lets the sessions of the server end while work looks on. */
const expires = async (work) => {
  await fetch(`${helper}/?later=13h`);
  await work();
  await fetch(`${helper}/?later=0s`);
};
const over = "The session is over";
const lacks = "lacks the stream's codec, hvc1";
const decodes265 = async (p) => p.evaluate(() => MediaSource.isTypeSupported('video/mp4; codecs="hvc1.1.6.L93.B0"'));

for (const player of ["hls.js", "video.js", "Shaka"]) {
  const open = async (fields) => {
    await page.goto("about:blank");
    await page.goto(`${origin}/#${new URLSearchParams({ player, endpoint: url, stream: "demo-camera", key, secret, ...fields })}`);
    await page.getByRole("button", { name: "Play", exact: true }).click();
  };
  await open({});
  await plays(page, `example page, ${player}`);
  await expires(() => says(page, over, `example page, ${player}, an expired session`));
  await open({ key: nobodyKey, secret: nobodySecret });
  await says(page, "AccessDeniedException", `example page, ${player}, without permission`);
  await open({ stream: "g711" });
  await says(page, "G.711", `example page, ${player}, G.711`);
  await open({ stream: "h265" });
  if (await decodes265(page)) await plays(page, `example page, ${player}, H.265`);
  else await says(page, lacks, `example page, ${player}, H.265`);
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
const snippets = ["hls.js", "video.js", "Shaka"];
/** tryIt opens the page of a stream and serves its snippets, /0 to /2, from another origin. */
const tryIt = async (stream, from = console_) => {
  await from.evaluate((s) => void (location.hash = `/try-it/${s}`), stream);
  await from.waitForFunction((s) => document.querySelector("input")?.value === s, stream);
  await from.locator("pre.code", { hasText: "getHLSMasterPlaylist" }).first().waitFor({ state: "attached" });
  for (const [i, player] of snippets.entries()) {
    await from.getByRole("tab", { name: player, exact: true }).click();
    pages[`/${i}`] = await from.locator("pre.code", { hasText: "<video" }).filter({ visible: true }).innerText();
  }
};
await tryIt("demo-camera");
for (const [i, player] of snippets.entries()) {
  await page.goto(`${origin}/${i}`);
  await plays(page, `snippet for ${player}`);
  await expires(() => says(page, over, `snippet for ${player}, an expired session`));
}
await tryIt("g711");
await console_.getByText("Without sound: browsers don't play G.711 A-law. The picture plays.").waitFor();
for (const [i, player] of snippets.entries()) {
  await page.goto(`${origin}/${i}`);
  await plays(page, `snippet for ${player}, G.711`);
  await says(page, "Without sound: browsers don't play G.711 A-law.", `snippet for ${player}, G.711`);
}
await tryIt("h265");
for (const [i, player] of snippets.entries()) {
  await page.goto(`${origin}/${i}`);
  if (await decodes265(page)) await plays(page, `snippet for ${player}, H.265`);
  else await says(page, "This browser does not play the stream's codec, hvc1", `snippet for ${player}, H.265`);
}
// Who may not play the stream is told so.
const nobody = await context.newPage();
await nobody.goto(url + "/console/#/try-it/demo-camera");
await nobody.getByLabel("Access key ID").fill(nobodyKey);
await nobody.getByLabel("Secret access key").fill(nobodySecret);
await nobody.getByRole("button", { name: "Sign in" }).click();
await says(nobody, "is not authorized to perform: kinesisvideo:GetHLSStreamingSessionURL", "Try it, without permission");
// A page that plays says when its user loses the permission.
const asRoot = async (form) => (await fetch(`${helper}/?${new URLSearchParams({ iam: new URLSearchParams(form) })}`)).text();
const policy = { UserName: "guest", PolicyName: "look" };
await asRoot({ Action: "CreateUser", UserName: "guest" });
const PolicyDocument = JSON.stringify({ Statement: { Effect: "Allow", Action: "kinesisvideo:*", Resource: "*" } });
await asRoot({ Action: "PutUserPolicy", ...policy, PolicyDocument });
const made = await asRoot({ Action: "CreateAccessKey", UserName: "guest" });
const guest = await (await browser.newContext()).newPage();
await guest.goto(url + "/console/#/try-it/demo-camera");
await guest.getByLabel("Access key ID").fill(/<AccessKeyId>(.*?)</.exec(made)[1]);
await guest.getByLabel("Secret access key").fill(/<SecretAccessKey>(.*?)</.exec(made)[1]);
await guest.getByRole("button", { name: "Sign in" }).click();
await tryIt("demo-camera", guest);
for (const [i, player] of snippets.entries()) {
  if (i === 0) {
    await page.goto(`${origin}/0`);
    await plays(page, "snippet of a guest");
    await asRoot({ Action: "DeleteUserPolicy", ...policy });
  } else await page.goto(`${origin}/${i}`);
  await says(page, "its user may no longer play the stream", `snippet for ${player}, without permission`);
}
assert.deepEqual(problems, []);
await browser.close();
server.close();
console.log("played");
