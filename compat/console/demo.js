// Opens the address that "sluice demo" prints: it signs in once, and the camera
// plays. Started by compat/console_test.go.
import { strict as assert } from "node:assert";
import { chromium } from "playwright-core";

const address = process.env.SLUICE_CONSOLE;
const browser = await chromium.launch({
  timeout: 240_000,
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  ],
});
const page = await (await browser.newContext()).newPage();
page.setDefaultTimeout(240_000); // only to notice that it is stuck
await page.goto(address);
await page.getByRole("link", { name: "demo-camera" }).click();
assert.ok(!page.url().includes("code="), "the code stays in the address");
await page.waitForFunction(() => document.querySelector("video")?.currentTime > 1);
await page.reload(); // the tab stays signed in
await page.waitForFunction(() => document.querySelector("video")?.currentTime > 1);
const other = await (await browser.newContext()).newPage();
other.setDefaultTimeout(240_000);
await other.goto(address);
await other.getByText("The sign-in code is not valid").waitFor();
await browser.close();
console.log("shown");
