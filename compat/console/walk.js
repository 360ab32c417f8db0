// Walks the console of a running server as its users do; started by
// compat/console_test.go, which says where the server is. What is wrong ends it
// with an error; console errors, refused loads and accessibility errors count.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { strict as assert } from "node:assert";
import { chromium } from "playwright-core";

const { url, key, secret, shots, temp, markup, helper } = JSON.parse(process.env.SLUICE_CONSOLE);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  timeout: 240_000,
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  ],
});
const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, colorScheme: "light", acceptDownloads: true });
context.setDefaultTimeout(240_000); // only to notice that it is stuck
const page = await context.newPage();

const problems = [];
let refusals = 0; // answers of 4xx that a step expects: the browser logs each
const late = new Map(); // what was asked for meanwhile, and may be answered a little later: URL, how often
page.on("request", (r) => refusals > 0 && late.set(r.url(), (late.get(r.url()) ?? 0) + 1));
page.on("console", (m) => {
  if (m.type() !== "error") return;
  const from = m.location().url;
  if (/the server responded with a status of 4\d\d/.test(m.text())) {
    const left = late.get(from) ?? 0;
    if (left > 0) late.set(from, left - 1);
    if (refusals > 0 || left > 0) return;
  }
  // A player that got no turn for seconds asks for parts that are no longer kept, and takes the segment.
  if (from.includes("/getMP4Part.mp4?") && m.text().includes("status of 404")) return;
  // The source of a player that was left before the browser had opened it.
  if (from.startsWith("blob:") && m.text().includes("net::ERR_FILE_NOT_FOUND")) return;
  problems.push(`console: ${m.text()} (${from})`);
});
page.on("pageerror", (e) => problems.push(`page: ${e.message}`));
page.on("dialog", (d) => {
  problems.push(`dialog: ${d.message()}`);
  void d.dismiss();
});
page.on("request", (r) => {
  const to = new URL(r.url());
  if (to.protocol.startsWith("http") && to.origin !== url) problems.push(`a request left the server: ${to.origin}`);
});
await page.addInitScript(() => {
  addEventListener("securitypolicyviolation", (e) => console.error(`policy violated: ${e.violatedDirective} ${e.blockedURI}`));
});

const began = Date.now(); // the camera plays at least as long
let section = "";
async function step(name, work) {
  section = name;
  const begun = Date.now();
  const before = [...late.keys()];
  await work();
  assert.deepEqual(problems, [], name);
  for (const asked of before) late.delete(asked);
  console.log(`${name}: ${Date.now() - begun} ms`);
}

/** accessible fails on serious and critical findings. */
async function accessible(what) {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const bad = found.violations
    .filter((v) => v.impact === "serious" || v.impact === "critical")
    .map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 200)).join(" | ")}`);
  assert.deepEqual(bad, [], `accessibility of ${what}`);
}

/** faded returns, in the page, when colours have faded over: what they are meanwhile is no contrast. */
const faded = async () => {
  const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  await drawn();
  const ends = (a) => a.playState === "running" && a.effect?.getComputedTiming().endTime !== Infinity;
  await Promise.all(document.getAnimations().filter(ends).map((a) => a.finished.catch(() => {})));
  await drawn();
};

/** until asks again and again for something until it is as wanted, and gives it. */
async function until(what, ask, wanted) {
  let seen;
  for (const end = Date.now() + 240_000; Date.now() < end; await page.waitForTimeout(100)) {
    seen = await ask();
    if (wanted(seen)) return seen;
  }
  assert.fail(`${what}: ${seen}`);
}

/** shoot takes the page in both themes, on a desk and on a phone. */
async function shoot(name) {
  for (const theme of ["light", "dark"]) {
    await page.evaluate((dark) => document.body.classList.toggle("awsui-dark-mode", dark), theme === "dark");
    await page.evaluate(faded);
    await accessible(`${name}, ${theme}`);
    for (const [device, size] of [["desktop", { width: 1360, height: 900 }], ["phone", { width: 390, height: 844 }]]) {
      await page.setViewportSize(size);
      await page.waitForTimeout(250); // the layout follows
      await page.screenshot({ path: `${shots}/${name}-${theme}-${device}.png` });
    }
    await page.setViewportSize({ width: 1360, height: 900 });
  }
  await page.evaluate(() => document.body.classList.remove("awsui-dark-mode"));
}

const asRoot = (form) => fetch(`${helper}/?${new URLSearchParams({ iam: new URLSearchParams(form) })}`);
const go = (hash) => page.evaluate((h) => void (location.hash = h), hash);
const button = (name, in_ = page) => in_.getByRole("button", { name, exact: true });

async function signIn(id, password) {
  await page.getByLabel("Access key ID").fill(id);
  await page.getByLabel("Secret access key").fill(password);
  await button("Sign in").click();
}

/** counter reads the number that the demo clip carries in its top row: ten blocks, the lowest bit left. */
const counter = () =>
  page.evaluate(() => {
    const v = document.querySelector("video");
    const c = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
    const g = c.getContext("2d");
    g.drawImage(v, 0, 0, 640, 360);
    let n = 0;
    for (let i = 0; i < 10; i++) if (g.getImageData(i * 32 + 16, 16, 1, 1).data[0] > 127) n |= 1 << i;
    return n;
  });
const shownTime = async () => Date.parse((await page.getByTestId("clock").innerText()).replace(" UTC", "Z").replace(" ", "T"));

/** still stops the video and gives the time it shows and the number in its picture. */
async function still() {
  await page.evaluate(() => document.querySelector("video").pause());
  // The clock is drawn five times a second, and a busy machine draws the last picture late.
  let shown, same = 0;
  for (let i = 0; i < 300 && same < 4; i++) {
    await page.waitForTimeout(300);
    const now = { time: await shownTime(), number: await counter() };
    same = shown && shown.time === now.time && shown.number === now.number ? same + 1 : 0;
    shown = now;
  }
  return shown;
}

await step("sign in", async () => {
  await page.goto(url + "/console/");
  await page.getByLabel("Access key ID").waitFor();
  await shoot("sign-in");
  await button("Sign in").click();
  await page.getByText("Give both the access key").waitFor();
  refusals++;
  await signIn(key, secret + "x");
  await page.getByText("The secret key is wrong").waitFor();
  await signIn("AKIANOBODYKNOWSTHIS0", secret);
  await page.getByText("does not know this access key").waitFor();
  refusals--;
  await page.getByText("Keep me signed in").click();
  await signIn(key, secret);
  await page.getByRole("link", { name: "demo-camera" }).waitFor();
});

await step("list", async () => {
  await page.getByText("Live ·").first().waitFor();
  await page.locator(".thumb canvas").first().waitFor({ state: "visible" });
  await shoot("streams");
  await page.getByPlaceholder("Name begins with").fill("nothing-is-called-so");
  await page.getByText("No stream begins with").waitFor();
  await page.getByPlaceholder("Name begins with").fill("demo");
  await page.getByRole("link", { name: "demo-camera" }).waitFor();
  await page.getByPlaceholder("Name begins with").fill("");
});

await step("create", async () => {
  await button("Create stream").first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Stream name").fill("bad name");
  await dialog.getByText("1 to 256 of a-z").waitFor();
  await dialog.getByLabel("Stream name").fill("walk-cam");
  await dialog.getByText("Use default settings").click();
  await dialog.getByLabel("Data retention, in hours").fill("2");
  await dialog.getByLabel("Encryption key").click();
  await page.getByRole("option", { name: "Default key that protects" }).click();
  await button("Add tag", dialog).click();
  await dialog.getByLabel("Tag key").fill("site");
  await dialog.getByLabel("Tag value").fill("lab");
  await shoot("create");
  await button("Create stream", dialog).click();
  await page.getByRole("heading", { name: "walk-cam" }).waitFor();
  await page.getByText("Troubleshoot (", { exact: false }).click();
  await page.getByText("Nothing has been sent to this stream yet").waitFor();
  await shoot("troubleshoot");
});

let phase; // of the clip's loop: the time of its picture 0, modulo its length
await step("watch live", async () => {
  await go("/stream/demo-camera");
  await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0);
  const [t, n] = [await page.evaluate(() => document.querySelector("video").currentTime), await counter()];
  await page.waitForFunction((t) => document.querySelector("video").currentTime > t + 0.7, t);
  await until("the picture changes", counter, (now) => now !== n);
  await page.getByText("s behind").waitFor();
  await until("seconds behind", async () => parseFloat((await page.locator(".player-badge").innerText()).split("\n").pop()), (s) => s < 7);
  await shoot("watch");
  // A session that expires is followed by a new one; while there is none it is said why.
  refusals++;
  // It may be said for a moment only, between two looks from here.
  await page.evaluate(() => {
    globalThis.told = false;
    new MutationObserver(() => (globalThis.told ||= !!document.querySelector(".player-message"))).observe(document.body, { childList: true, subtree: true });
  });
  const refused = page.waitForResponse((r) => r.status() === 403 && r.url().includes("SessionToken"));
  await fetch(`${helper}/?later=13h`);
  await refused;
  await page.waitForFunction(() => globalThis.told);
  await fetch(`${helper}/?later=0s`);
  await page.locator(".player-message").waitFor({ state: "detached" });
  await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0);
  refusals--;
  const s = await still();
  phase = (s.time - s.number * 40) % 10240;
});

await step("scrub", async () => {
  await page.waitForTimeout(Math.max(0, began + 20_000 - Date.now())); // there must be a past to go to
  await button("5 min").click();
  const box = await page.locator("canvas.timeline").boundingBox();
  // Five minutes with now at 29/30 of them: 8 seconds ago.
  const at = 29 / 30 - 8 / 300;
  await page.mouse.move(box.x + box.width * at, box.y + 40);
  await page.locator(".timeline-preview canvas").waitFor();
  await page.waitForTimeout(1200);
  const clicked = Date.now();
  await page.mouse.down();
  await page.mouse.up();
  await page.waitForFunction(() => !document.querySelector(".player-badge .live") && document.querySelector("video").readyState >= 2);
  await page.waitForTimeout(500);
  await page.evaluate(() => document.querySelector("video").pause());
  const played = Date.now() - clicked; // at most, since then
  const s = await still();
  await page.screenshot({ path: `${shots}/scrub.png` });
  const ahead = s.time - (clicked - 8000);
  assert.ok(ahead > -4000 && ahead < 4000 + played, `8 s before ${clicked} was picked, ${s.time} is shown ${played} ms later`);
  const expected = (((s.time - phase) % 10240) + 10240) % 10240 / 40;
  const off = Math.min(Math.abs(expected - s.number), 256 - Math.abs(expected - s.number));
  assert.ok(off <= 5, `at ${s.time} the picture says ${s.number}, want ${expected.toFixed(1)}`);
  console.log(`  the picture is ${off.toFixed(1)} frames from its time`);
});

await step("clip", async () => {
  const box = await page.locator("canvas.timeline").boundingBox();
  const x = (secondsAgo) => box.x + box.width * (29 / 30 - secondsAgo / 300);
  await page.keyboard.down("Shift");
  await page.mouse.move(x(12), box.y + 40);
  const drawn = Date.now();
  await page.mouse.down();
  await page.mouse.move(x(5), box.y + 40, { steps: 4 });
  await page.mouse.up();
  const took = (Date.now() - drawn) / 1000; // the timeline moves on meanwhile
  await page.keyboard.up("Shift");
  await page.getByText("The call for this range").click();
  await page.getByText("get-clip").first().waitFor();
  await page.screenshot({ path: `${shots}/range.png` });
  const [download] = await Promise.all([page.waitForEvent("download"), button("Download clip").click()]);
  await download.saveAs(`${temp}/clip.mp4`);
  const probe = JSON.parse(execFileSync("ffprobe", ["-v", "error", "-of", "json", "-show_streams", "-show_format", `${temp}/clip.mp4`]));
  assert.deepEqual(probe.streams.map((s) => s.codec_name).sort(), ["aac", "h264"]);
  assert.ok(probe.format.duration > 3 && probe.format.duration < 12 + took, `the clip is ${probe.format.duration} s long, after ${took} s of drawing`);
  await button("Now").click();
});

await step("fragments", async () => {
  let connections = 0; // of GetMedia that are open
  let most = 0;
  const isMedia = (r) => r.url().endsWith("/getMedia");
  const opened = (r) => isMedia(r) && (most = Math.max(most, ++connections));
  const ended = (r) => isMedia(r) && connections--;
  page.on("request", opened).on("requestfailed", ended).on("requestfinished", ended);
  await go("/stream/demo-camera/fragments");
  await page.getByText("complete").nth(1).waitFor();
  await page.getByText(/persisted \d\d:/).nth(1).waitFor();
  await shoot("fragments");
  await page.getByRole("button", { name: /^…\d+$/ }).last().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("A_AAC").first().waitFor();
  await dialog.getByText(/BUFFERING at .* PERSISTED at /).waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), button("Download MKV", dialog).click()]);
  await download.saveAs(`${temp}/fragment.mkv`);
  execFileSync("ffprobe", ["-v", "error", `${temp}/fragment.mkv`]);
  await page.screenshot({ path: `${shots}/fragment.png` });
  await button("Close", dialog).click();
  // One connection while the table can be seen, none while it can't.
  const seen = async (hidden) => {
    await page.evaluate((h) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => h });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await until(`connections of GetMedia while hidden is ${hidden}`, () => connections, (n) => n === (hidden ? 0 : 1));
  };
  await until("connections of GetMedia", () => connections, (n) => n === 1);
  await seen(true);
  await seen(false);
  assert.equal(most, 1, "connections of GetMedia at a time");
  await go("/stream/demo-camera/troubleshoot");
  await until("connections of GetMedia on another tab", () => connections, (n) => n === 0);
  page.off("request", opened).off("requestfailed", ended).off("requestfinished", ended);
});

await step("settings", async () => {
  await go("/stream/demo-camera/settings");
  const hours = page.getByLabel("Keep footage for, in hours");
  await hours.fill("1");
  await page.getByText("No footage is lost now").waitFor();
  await shoot("settings");
  await hours.fill("48");
  await button("Save").click();
  await page.getByText("Now: 2 days.").waitFor();
  await button("Add tag").click();
  await page.getByLabel("Tag key").fill("place");
  await page.getByLabel("Tag value").fill("front door");
  await button("Save tags").click();
  assert.ok(await button("Save media type and device").isDisabled(), "nothing was changed");
  await page.getByLabel("Device").fill("door 7");
  refusals++;
  await button("Save media type and device").click();
  await page.getByText("DeviceName").waitFor();
  refusals--;
  await page.getByLabel("Device").fill("door-7");
  await page.getByLabel("Media type").fill("video/h264,audio/x-own");
  await Promise.all([
    page.waitForResponse((r) => r.url().endsWith("/updateStream") && r.ok()),
    button("Save media type and device").click(),
  ]);
  await go("/streams");
  await page.getByText("video/h264,audio/x-own").waitFor();
  await page.getByText("place=front door").waitFor();
  await page.getByPlaceholder("Tag, as key=value").fill("place=fr");
  await page.getByRole("link", { name: "g711" }).waitFor({ state: "detached" });
  await page.getByRole("link", { name: "demo-camera" }).waitFor();
  await page.getByPlaceholder("Tag, as key=value").fill("place=back");
  await page.getByText("No stream has a tag").waitFor();
  await button("Show all").click();
  await page.getByRole("link", { name: "g711" }).waitFor();
});

await step("many streams", async () => {
  await fetch(`${helper}/?streams`);
  const asked = new Set();
  const watch = (r) => {
    if (r.url().endsWith("/describeStreamActivity")) asked.add(JSON.parse(r.postData()).StreamName);
  };
  page.on("request", watch);
  await button("Refresh").click();
  await page.getByRole("link", { name: "cam-00049" }).waitFor();
  await until("rows that were asked about", () => asked.size, (n) => n > 2);
  await page.waitForTimeout(500);
  const rows = await page.locator("tbody tr").count();
  assert.equal(rows, 50);
  assert.ok(asked.size > 2 && asked.size < rows / 2, `rows that were asked about: ${[...asked]}`);
  await button("Next page").click();
  await page.getByRole("link", { name: "cam-00099" }).waitFor();
  await button("Next page").click();
  await page.getByRole("link", { name: "demo-camera" }).waitFor();
  await shoot("streams-many");
  await button("Page 1").click();
  await page.getByRole("link", { name: "cam-00000" }).waitFor();
  page.off("request", watch);
});

await step("hostile names", async () => {
  refusals++; // it has no codec that a browser plays
  await go("/stream/hostile");
  await page.getByText("V_<img").first().waitFor();
  await go("/stream/hostile/troubleshoot");
  await page.getByText("V_<img").first().waitFor();
  await go("/stream/hostile/fragments");
  await page.getByText(markup).first().waitFor();
  await page.screenshot({ path: `${shots}/hostile.png` });
  assert.equal(await page.evaluate(() => globalThis.executed), undefined, "markup was executed");
  assert.equal(await page.locator("img[src=x]").count(), 0, "markup became an element");
  refusals--;
});

await step("codecs that browsers lack", async () => {
  await go("/stream/h265");
  // Chromium on a machine with a hardware decoder does play it.
  if (await page.evaluate(() => MediaSource.isTypeSupported('video/mp4; codecs="hvc1.1.6.L93.B0"'))) {
    await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0);
  } else {
    await page.getByText("This browser does not play the stream's codec").waitFor();
    await go("/stream/h265/troubleshoot");
    await page.getByText("This browser does not play H.265").waitFor();
  }
  await go("/stream/g711");
  await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0);
  await page.getByText("without sound: G.711 A-law").waitFor();
  await page.screenshot({ path: `${shots}/g711.png` });
});

let viewer;
await step("users", async () => {
  await go("/users");
  await button("Create user").click();
  await page.getByLabel("User name").fill("viewer");
  await button("Create", page.getByRole("dialog")).click();
  await page.getByRole("heading", { name: "viewer" }).waitFor();
  await button("Create access key").click();
  const text = await page.locator("pre.code").first().innerText();
  viewer = { key: /KEY_ID=(\S+)/.exec(text)[1], secret: /SECRET_ACCESS_KEY=(\S+)/.exec(text)[1] };
  await button("Add policy").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("look");
  await dialog.getByLabel("Policy document").fill(JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: ["kinesisvideo:Describe*", "kinesisvideo:Get*", "kinesisvideo:List*", "sluice:*"], Resource: "*" }],
  }));
  await button("Save", dialog).click();
  await page.getByRole("rowheader", { name: "look" }).waitFor();
  await button("Simulate").click();
  await page.getByText("kinesisvideo:PutMedia: implicitDeny").waitFor();
  await shoot("user");
  await go("/users");
  await page.getByRole("link", { name: "viewer" }).waitFor();
  await shoot("users");
});

await step("many users", async () => {
  for (let i = 0; i < 110; i++) await asRoot({ Action: "CreateUser", UserName: `person-${String(i).padStart(3, "0")}`, Path: "/people/" });
  const allow = JSON.stringify({ Statement: { Effect: "Allow", Action: "kinesisvideo:Put*", Resource: "*" } });
  await asRoot({ Action: "CreateGroup", GroupName: "crew" });
  await asRoot({ Action: "PutGroupPolicy", GroupName: "crew", PolicyName: "send", PolicyDocument: allow });
  await asRoot({ Action: "AddUserToGroup", GroupName: "crew", UserName: "person-107" });
  await asRoot({ Action: "CreatePolicy", PolicyName: "OurOwn", PolicyDocument: allow });
  await go("/streams");
  await go("/users");
  await page.getByText("(50+)").waitFor();
  assert.equal(await page.locator("tbody tr").count(), 50);
  await button("Next page").click();
  await page.getByText("(100+)").waitFor();
  await shoot("many-users");
  await page.getByPlaceholder("Part of a name").fill("SON-107");
  await page.getByText("(1)").waitFor();
  await page.getByPlaceholder("Part of a name").fill("nobody is called so");
  await page.getByText("No user has").waitFor();
  await page.getByPlaceholder("Part of a name").fill("person-107");
  await page.getByRole("link", { name: "person-107" }).click();
  await page.getByText(":user/people/person-107").first().waitFor();
  await page.getByText("crew").waitFor();
  await button("Simulate").click();
  await page.getByText("kinesisvideo:PutMedia: allowed").waitFor();
  await page.getByRole("button", { name: "Managed policies" }).click();
  await page.getByRole("option", { name: "OurOwn" }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Take away OurOwn" }).waitFor();
  await button("Delete user").click();
  await button("Delete", page.getByRole("dialog")).click(); // leaves its group and its policy
  await page.getByText("(50+)").waitFor();
});

await step("addresses that lead nowhere", async () => {
  refusals++;
  await go("/user/person-107");
  await page.getByText("This user can't be shown").waitFor();
  await go("/stream/%zz");
  await page.getByText("This stream can't be shown").waitFor();
  await page.getByRole("heading", { name: "%zz" }).waitFor();
  await go("/no-such-page");
  await page.getByRole("heading", { name: "Streams" }).waitFor();
  refusals--;
  // A console whose server was replaced can't load the rest of itself.
  const stale = await context.newPage();
  await stale.route("**/assets/users-*.js", (r) => r.abort());
  await stale.addInitScript((k) => sessionStorage.setItem("sluice-keys", k), JSON.stringify({ accessKeyId: key, secretAccessKey: secret }));
  await stale.goto(url + "/console/#/users");
  await stale.getByText("This page can't be shown").waitFor();
  await stale.evaluate(() => void (location.hash = "/streams"));
  await stale.getByRole("link", { name: "cam-00000" }).waitFor();
  await stale.close();
});

await step("try it", async () => {
  await go("/try-it");
  await page.waitForFunction(() => document.querySelector("input")?.value === "cam-00000"); // the first there is
  refusals++;
  await page.getByRole("textbox", { name: "Stream" }).fill("not-made-yet");
  await page.getByText("There is no stream not-made-yet yet").waitFor();
  refusals--;
  await go("/try-it/demo-camera");
  await page.getByText("getHLSMasterPlaylist").first().waitFor();
  await shoot("try-it");
});

await step("delete", async () => {
  await go("/stream/walk-cam");
  await button("Delete").click();
  const dialog = page.getByRole("dialog");
  assert.ok(await button("Delete", dialog).isDisabled(), "delete waits for the name");
  await dialog.getByLabel("To confirm").fill("walk-cam");
  await shoot("delete");
  refusals++; // what the page of the stream asked for last may come when there is no stream
  await button("Delete", dialog).click();
  await page.getByRole("link", { name: "cam-00000" }).waitFor();
  refusals--;
  await page.getByPlaceholder("Name begins with").fill("walk");
  await page.getByText("No stream begins with").waitFor();
});

await step("a user who may only look", async () => {
  await page.getByRole("button", { name: "root" }).click();
  await page.getByText("Sign out").click();
  await signIn(viewer.key, viewer.secret);
  await page.getByRole("link", { name: "cam-00000" }).waitFor();
  const create = button("Create stream").first();
  await page.waitForFunction((b) => b.getAttribute("aria-disabled") === "true" || b.disabled, await create.elementHandle());
  await create.hover();
  await page.getByText("Your user is not allowed kinesisvideo:CreateStream").filter({ visible: true }).first().waitFor();
  await page.screenshot({ path: `${shots}/denied.png` });
  await go("/stream/demo-camera");
  await page.waitForFunction(() => document.querySelector("video")?.currentTime > 0);
  refusals++;
  await go("/users");
  await page.getByText("is not authorized to perform: iam:ListUsers").waitFor();
  const [help] = await Promise.all([context.waitForEvent("page"), page.getByRole("link", { name: "More about this" }).click()]);
  await help.waitForFunction(() => document.querySelector(":target")?.textContent === "is not authorized to perform");
  await help.close();
  await page.screenshot({ path: `${shots}/denied-users.png` });
  refusals--;
});

await step("a user who may not see what happens", async () => {
  refusals++;
  await asRoot({ Action: "CreateUser", UserName: "lister" });
  const policy = JSON.stringify({ Statement: { Effect: "Allow", Action: ["kinesisvideo:ListStreams", "kinesisvideo:DescribeStream"], Resource: "*" } });
  await asRoot({ Action: "PutUserPolicy", UserName: "lister", PolicyName: "list", PolicyDocument: policy });
  const made = await (await asRoot({ Action: "CreateAccessKey", UserName: "lister" })).text();
  await page.getByRole("button", { name: "viewer" }).click();
  await page.getByText("Sign out").click();
  await signIn(/<AccessKeyId>(.*?)</.exec(made)[1], /<SecretAccessKey>(.*?)</.exec(made)[1]);
  await page.getByRole("link", { name: "cam-00000" }).waitFor();
  await go("/stream/demo-camera");
  for (const action of ["kinesisvideo:GetHLSStreamingSessionURL", "sluice:GetTimeline", "sluice:DescribeStreamActivity"]) {
    await page.getByText(`is not authorized to perform: ${action}`).first().waitFor();
  }
  assert.equal(await page.getByText("Off", { exact: true }).count(), 0, "what is not known is not said");
  const again = [];
  const watch = (r) => again.push(new URL(r.url()).pathname);
  page.on("request", watch);
  await page.waitForTimeout(5000);
  page.off("request", watch);
  assert.ok(!again.includes("/describeStreamActivity") && !again.includes("/getTimeline"), `what is denied is not asked again and again: ${again}`);
  await shoot("denied-stream");
  await go("/stream/demo-camera/fragments");
  await page.getByText("is not authorized to perform: kinesisvideo:GetMedia").waitFor();
  await go("/stream/demo-camera/settings");
  await page.getByText("kinesisvideo:ListTagsForStream").waitFor();
  refusals--;
});

await step("size of the first load", async () => {
  const fresh = await browser.newContext();
  const first = await fresh.newPage();
  const sizes = [];
  first.on("requestfinished", (r) => r.url().includes("/console/") && sizes.push(r.sizes().then((s) => s.responseBodySize + s.responseHeadersSize, () => 0))); // 0: cut off by the end
  await first.addInitScript((k) => sessionStorage.setItem("sluice-keys", k), JSON.stringify({ accessKeyId: key, secretAccessKey: secret }));
  await first.goto(url + "/console/#/stream/demo-camera");
  await first.waitForFunction(() => document.querySelector("video")?.currentTime > 0);
  const wire = (await Promise.all(sizes)).reduce((a, b) => a + b, 0);
  assert.ok(wire > 100_000 && wire <= 700_000, `${wire} bytes`);
  console.log(`  ${wire} bytes`);
  await fresh.close();
});

await browser.close().catch((e) => console.log(section, e.message));
console.log("walked");
