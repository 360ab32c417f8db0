// Drives a running server through the cases of a file with the AWS SDK for
// JavaScript v3.
//
//     node control.js CASES.json
//
// The server and the caller come from the standard AWS environment; the caller
// without a policy from SLUICE_COMPAT_NOBODY (KEY:SECRET). Prints one line a case
// (ok, skip or FAIL) and exits 1 when one failed. compat/README.md describes the
// cases.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import * as sdk from "@aws-sdk/client-kinesis-video";

class Failed extends Error {}
class Unknown extends Error {}

const endpoint = process.env.AWS_ENDPOINT_URL;

function client(accessKeyId, secretAccessKey) {
  return new sdk.KinesisVideoClient({ endpoint, region: process.env.AWS_REGION, maxAttempts: 1, credentials: { accessKeyId, secretAccessKey } });
}

const key = process.env.AWS_ACCESS_KEY_ID;
const secret = process.env.AWS_SECRET_ACCESS_KEY;
const clients = {
  root: client(key, secret),
  nobody: client(...(process.env.SLUICE_COMPAT_NOBODY ?? ":").split(":")),
  stranger: client("AKIASTRANGER00000000", secret),
  forger: client(key, "not-the-secret-of-this-key"),
};

async function call(who, name, members) {
  const Command = sdk[name + "Command"];
  if (!Command) throw new Unknown("this SDK has no " + name);
  return clients[who ?? "root"].send(new Command(members));
}

// fill puts the values of ${name} into strings, at any depth.
function fill(value, names) {
  if (typeof value === "string") {
    if (value === "#tags51") return Object.fromEntries(Array.from({ length: 51 }, (_, i) => ["key" + i, "v"]));
    return value.replace(/\$\{(\w+)\}/g, (_, name) => names[name]);
  }
  if (Array.isArray(value)) return value.map((v) => fill(v, names));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, fill(v, names)]));
  return value;
}

// compare checks that want is a part of got; null is as good as absent.
function compare(want, got, at) {
  if (want === null) {
    if (got !== null && got !== undefined) throw new Failed(`${at} is ${JSON.stringify(got)}, want null`);
  } else if (Array.isArray(want)) {
    if (!Array.isArray(got) || got.length !== want.length) throw new Failed(`${at} is ${JSON.stringify(got)}, want ${want.length} entries`);
    want.forEach((v, i) => compare(v, got[i], `${at}[${i}]`));
  } else if (typeof want === "object") {
    if (!got || typeof got !== "object") throw new Failed(`${at} is ${JSON.stringify(got)}, want an object`);
    for (const [k, v] of Object.entries(want)) compare(v, got[k], `${at}.${k}`);
  } else if (want === "#time") {
    if (!(got instanceof Date) || Math.abs(Date.now() - got) > 5 * 60e3) throw new Failed(`${at} is ${got}, want a time of now`);
  } else if (typeof want === "string" && want.startsWith("~")) {
    if (typeof got !== "string" || !new RegExp(want.slice(1)).test(got)) throw new Failed(`${at} is ${got}, want it to match ${want.slice(1)}`);
  } else if (typeof want === "string" && want.startsWith("!")) {
    if (got === want.slice(1) || got == null) throw new Failed(`${at} is still ${got}`);
  } else if (want !== got) {
    throw new Failed(`${at} is ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
}

async function step(s, names) {
  let seen = false;
  for (let n = s.repeat ?? 1; n > 0; n--) {
    let out;
    try {
      out = await call(s.as, s.call, fill(s.in, names));
    } catch (e) {
      if (!e.$metadata) throw e;
      if (s.or === e.name) continue;
      const status = e.$metadata.httpStatusCode;
      const text = fill(s.message ?? "", names);
      if (e.name !== s.error || status !== s.status || !e.message.includes(text))
        throw new Failed(`${s.call}: got ${status} ${e.name} ${JSON.stringify(e.message)}, want ${s.status} ${s.error} with ${JSON.stringify(text)}`);
      // A modelled exception must also arrive as its own class.
      if (sdk[e.name] && !(e instanceof sdk[e.name])) throw new Failed(`${e.name} arrived as ${e.constructor.name}`);
      if (!/^[0-9a-f-]{36}$/.test(e.$metadata.requestId ?? "")) throw new Failed(`${s.call}: no request id`);
      seen = true;
      continue;
    }
    if (s.error) {
      if (s.repeat) continue;
      throw new Failed(`${s.call}: succeeded, want ${s.error}`);
    }
    compare(fill(s.want ?? {}, names), out, s.call);
    for (const [name, path] of Object.entries(s.save ?? {})) names[name] = path.split(".").reduce((v, part) => v[part], out);
  }
  if (s.error && !seen) throw new Failed(`${s.call}: never got ${s.error}`);
}

let failed = false;
for (const test of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const names = { id: "js-" + randomUUID().slice(0, 13), endpoint };
  try {
    for (const s of test.steps) await step(s, names);
    console.log("ok " + test.name);
  } catch (e) {
    if (e instanceof Unknown) console.log(`skip ${test.name}: ${e.message}`);
    else {
      failed = true;
      console.log(`FAIL ${test.name}: ${e instanceof Failed ? e.message : e.stack}`);
    }
  }
}
process.exitCode = failed ? 1 : 0;
