// Plays sessions of a running server in real players in Chromium. Which ones is
// said by the JSON file that SLUICE_BROWSER_CASES names; browser_test.go, in the
// folder above, opens them and writes it.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const file = process.env.SLUICE_BROWSER_CASES
const cases = file ? JSON.parse(await readFile(file, 'utf8')) : []
const measured = []
const stuck = 240 // seconds, for what takes one or two
let browser, pages

before(async () => {
  if (!cases.length) return
  // The pages have an origin of their own, so that CORS is part of the test.
  pages = createServer(async (request, response) => {
    const path = request.url === '/' ? '/page.html' : request.url
    if (/^\/clip\/\d+$/.test(path)) return partial(cases[Number(path.slice(6))].file, response)
    if (!/^\/(page\.html|node_modules\/[a-z.-]+\/dist\/[a-z.-]+)$/.test(path)) return response.writeHead(404).end()
    response.writeHead(200, { 'Content-Type': path.endsWith('.js') ? 'text/javascript' : 'text/html' })
    response.end(await readFile(new URL('.' + path, import.meta.url)))
  })
  await new Promise(resolve => pages.listen(0, '127.0.0.1', resolve))
  browser = await chromium.launch({
    timeout: stuck * 1000,
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'],
  })
})

after(async () => {
  await browser?.close()
  pages?.closeAllConnections()
  pages?.close()
  if (process.env.SLUICE_BROWSER_MEASURED) await writeFile(process.env.SLUICE_BROWSER_MEASURED, JSON.stringify(measured, null, 1))
})

// partial sends the first part of a clip, and nothing more for as long as the test
// takes: a download that is not through yet.
async function partial (file, response) {
  const clip = await readFile(file)
  response.writeHead(200, { 'Content-Type': 'video/mp4', 'Content-Length': clip.length })
  response.write(clip.subarray(0, clip.length * 0.6 | 0))
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

// expiry watches a session until the player gives up, which it must for 403 and
// soon after the session's end.
async function expiry (page, c) {
  const end = c.expires + 60000
  let last
  while (Date.now() < end) {
    await sleep(200)
    const seen = await page.evaluate(() => window.look())
    if (seen.errors.length) {
      assert.ok(Date.now() >= c.expires - 1000, `ended ${c.expires - Date.now()} ms early: ${JSON.stringify(seen)}`)
      assert.match(seen.errors[0], /403/)
      assert.ok(last && last.frames > 3, 'nothing was played before')
      return
    }
    last = seen
  }
  assert.fail(`plays on: ${JSON.stringify(last)}`)
}

async function until(page, what, seconds, condition) {
  const end = Date.now() + seconds * 1000
  let seen
  do {
    seen = await page.evaluate(() => window.look())
    assert.deepEqual(seen.errors, [], `${what}: ${JSON.stringify(seen)}`)
    if (condition(seen)) return seen
    await sleep(100)
  } while (Date.now() < end)
  assert.fail(`${what}: not in ${seconds} s: ${JSON.stringify(seen)}`)
}

for (const c of cases) {
  test(c.name, { timeout: (c.seconds + 900) * 1000, skip: c.skip }, async t => {
    const page = await browser.newPage()
    page.setDefaultTimeout(stuck * 1000)
    t.after(() => page.close())
    const console = []
    page.on('console', m => console.push(m.text()))
    await page.goto(`http://127.0.0.1:${pages.address().port}/`)
    const url = c.file ? '/clip/' + cases.indexOf(c) : c.url
    await page.evaluate(([player, url, options, jump]) => window.start(player, url, options, jump), [c.player, url, c.options, c.jump])
    const first = await until(page, 'begins', stuck, s => s.frames > 3 && s.time > 0)
    if (c.expires) return expiry(page, c)
    const begun = Date.now()
    const latencies = []
    let last = first
    let moved = Date.now()
    let rates = 0
    // A machine that stalls may show less meanwhile; half of it must be seen.
    const over = s => !c.live && s.time >= s.duration - 1.5
    while (Date.now() - begun < c.seconds * 1000 || (last.time - first.time < c.seconds / 2 && !over(last))) {
      // Latency is looked at ten times a second, the rest once.
      for (let i = 0; i < 10; i++) {
        await sleep(c.begin === undefined ? 100 : 90)
        if (c.begin === undefined) continue
        const f = await page.evaluate(() => window.frame())
        if (!f) continue
        // The clip is played in a loop by the clock.
        const loop = c.loop || 10240
        const age = ((f.at - (c.begin + f.number * 40)) % loop + loop) % loop
        latencies.push(age)
      }
      const s = await page.evaluate(() => window.look())
      assert.deepEqual(s.errors, [], JSON.stringify({ s, console }))
      if (s.time > last.time || over(s)) moved = Date.now()
      assert.ok(Date.now() - moved < 90_000, `the picture stands at ${s.time}: ${JSON.stringify({ s, console: console.slice(-40) })}`)
      last = s
      if (s.rate !== 1) rates++ // the player catches up
    }
    let colours
    for (const end = Date.now() + stuck * 1000; !(colours > 4) && Date.now() < end; await sleep(100)) colours = await page.evaluate(() => window.colours())
    assert.ok(colours > 4, `the picture has ${colours} colours`)
    if (c.sound) await until(page, 'sound is decoded', stuck, s => s.sound > 0)
    if (!c.live) {
      await until(page, `the duration is ${c.duration}`, stuck, s => Math.abs(s.duration - c.duration) < 1)
      for (const [time, number] of c.seeks || []) {
        await page.evaluate(t => { state.video.pause(); state.video.currentTime = t }, time)
        await until(page, `seek to ${time}`, stuck, s => s.ready >= 2 && Math.abs(s.time - time) < 0.01)
        let f
        for (let i = 0; i < 600; i++) {
          f = await page.evaluate(() => window.frame())
          if (f && Math.abs(f.number - number) <= 1) break
          await sleep(100)
        }
        assert.ok(Math.abs(f.number - number) <= 1, `at ${time} s is picture ${f.number}, want ${number}: ${JSON.stringify(await page.evaluate(() => window.look()))}`)
      }
    }
    latencies.sort((a, b) => a - b)
    const at = q => latencies.length ? latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] : undefined
    measured.push({ name: c.name, seconds: c.seconds, frames: last.frames, dropped: last.dropped, time: last.time - first.time,
      latency: latencies.length ? { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) } : undefined, warnings: last.warnings, rates })
    if (c.latency) assert.ok(at(0.99) < c.latency, `latency p99 ${at(0.99)} ms, at most ${c.latency}: ${latencies}`)
  })
}
