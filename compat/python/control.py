#!/usr/bin/python3
"""Drives a running server through the cases of a file, with boto3 or the AWS CLI.

    control.py boto3|cli CASES.json

The server and the caller come from the standard AWS environment; the caller
without a policy from SLUICE_COMPAT_NOBODY (KEY:SECRET). Prints one line a case
(ok, skip or FAIL) and exits 1 when one failed. compat/README.md describes the
cases; the CLI runs inside this process, which is the same code as the command
without starting Python a hundred times.
"""
import contextlib
import datetime
import io
import json
import os
import re
import sys
import uuid


class Failed(Exception):
    pass


class ServiceError(Exception):
    """What the service answered: code, HTTP status (None: the client does not tell), message."""

    def __init__(self, code, status, message):
        super().__init__(code)
        self.code, self.status, self.message = code, status, message


class Unknown(Exception):
    """This version of the client does not know the operation or a member."""


def callers():
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    nobody = os.environ.get("SLUICE_COMPAT_NOBODY", ":").split(":")
    return {
        None: (key, secret),
        "nobody": tuple(nobody),
        "stranger": ("AKIASTRANGER00000000", secret),
        "forger": (key, "not-the-secret-of-this-key"),
    }


class Boto3:
    def __init__(self):
        import boto3
        import botocore.config
        import botocore.exceptions

        self.exceptions = botocore.exceptions
        config = botocore.config.Config(retries={"max_attempts": 0})
        self.clients = {
            who: boto3.client("kinesisvideo", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=config,
                              region_name=os.environ["AWS_REGION"], aws_access_key_id=key, aws_secret_access_key=secret)
            for who, (key, secret) in callers().items() if key
        }

    def call(self, who, name, members):
        client = self.clients[who]
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if not hasattr(client, method):
            raise Unknown("this boto3 has no " + name)
        try:
            return getattr(client, method)(**members)
        except self.exceptions.ClientError as e:
            code = e.response["Error"]["Code"]
            # A modelled exception must also arrive as its own class.
            modelled = getattr(client.exceptions, code, None) if code in dir(client.exceptions) else None
            if modelled is not None and not isinstance(e, modelled):
                raise Failed("%s arrived as %s" % (code, type(e).__name__))
            if not re.fullmatch(r"[0-9a-f-]{36}", e.response["ResponseMetadata"].get("RequestId", "")):
                raise Failed("no request id in %r" % e.response["ResponseMetadata"])
            raise ServiceError(code, e.response["ResponseMetadata"]["HTTPStatusCode"], e.response["Error"]["Message"])
        except self.exceptions.ParamValidationError as e:
            if "Unknown parameter" in str(e):
                raise Unknown("this boto3 has no such member")
            raise


class CLI:
    def __init__(self):
        import awscli.clidriver

        self.driver = awscli.clidriver.create_clidriver
        os.environ["AWS_MAX_ATTEMPTS"] = "1"
        self.drivers = {}

    def call(self, who, name, members):
        key, secret = callers()[who]
        os.environ["AWS_ACCESS_KEY_ID"], old_key = key, os.environ["AWS_ACCESS_KEY_ID"]
        os.environ["AWS_SECRET_ACCESS_KEY"], old_secret = secret, os.environ["AWS_SECRET_ACCESS_KEY"]
        try:
            if who not in self.drivers:
                self.drivers[who] = self.driver()
            out, err = io.StringIO(), io.StringIO()
            command = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
            args = ["kinesisvideo", command, "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "--output", "json",
                    "--no-cli-pager", "--cli-input-json", json.dumps(members)]
            if name == "ListStreams":
                args.append("--no-paginate")
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    status = self.driver_main(self.drivers[who], args)
                except SystemExit as e:
                    status = e.code
        finally:
            os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = old_key, old_secret
        text = err.getvalue()
        if status == 0:
            return json.loads(out.getvalue() or "{}")
        m = re.search(r"An error occurred \((\w+)\) when calling the \w+ operation(?: \(.*?\))?: (.*)", text, re.S)
        if m:
            raise ServiceError(m.group(1), None, m.group(2).strip())
        if "argument operation: Invalid choice" in text or "Unknown parameter" in text:
            raise Unknown("this AWS CLI has no " + name + " like this")
        raise Failed("aws exited %s: %s" % (status, text.strip()[:300]))

    @staticmethod
    def driver_main(driver, args):
        return driver.main(args)


def fill(value, names):
    """Puts the values of ${name} into strings, at any depth."""
    if isinstance(value, str):
        if value == "#tags51":
            return {"key%d" % i: "v" for i in range(51)}
        return re.sub(r"\$\{(\w+)\}", lambda m: names[m.group(1)], value)
    if isinstance(value, list):
        return [fill(v, names) for v in value]
    if isinstance(value, dict):
        return {k: fill(v, names) for k, v in value.items()}
    return value


def compare(want, got, at):
    """want is a part of got; null is as good as absent."""
    if want is None:
        if got is not None:
            raise Failed("%s is %r, want null" % (at, got))
    elif isinstance(want, dict):
        if not isinstance(got, dict):
            raise Failed("%s is %r, want an object" % (at, got))
        for k, v in want.items():
            compare(v, got.get(k), at + "." + k)
    elif isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            raise Failed("%s is %r, want %d entries" % (at, got, len(want)))
        for i, v in enumerate(want):
            compare(v, got[i], "%s[%d]" % (at, i))
    elif want == "#time":
        t = got if isinstance(got, datetime.datetime) else datetime.datetime.fromisoformat(got)
        if abs(datetime.datetime.now(datetime.timezone.utc) - t) > datetime.timedelta(minutes=5):
            raise Failed("%s is %s, want a time of now" % (at, t))
    elif isinstance(want, str) and want.startswith("~"):
        if not isinstance(got, str) or not re.search(want[1:], got):
            raise Failed("%s is %r, want it to match %s" % (at, got, want[1:]))
    elif isinstance(want, str) and want.startswith("!"):
        if got == want[1:] or got is None:
            raise Failed("%s is still %r" % (at, got))
    elif want != got:
        raise Failed("%s is %r, want %r" % (at, got, want))


def step(client, s, names):
    seen = False
    for _ in range(s.get("repeat", 1)):
        try:
            out = client.call(s.get("as"), s["call"], fill(s["in"], names))
        except ServiceError as e:
            if s.get("or") == e.code:
                continue
            if "error" not in s:
                raise Failed("%s: %s: %s" % (s["call"], e.code, e.message))
            text = fill(s["message"], names)
            if e.code != s["error"] or text not in e.message or e.status not in (None, s["status"]):
                raise Failed("%s: got %s %s %r, want %s %s with %r" % (s["call"], e.status, e.code, e.message, s["status"], s["error"], text))
            seen = True
            continue
        if "error" in s:
            if "repeat" in s:
                continue
            raise Failed("%s: succeeded, want %s" % (s["call"], s["error"]))
        compare(fill(s.get("want", {}), names), out, s["call"])
        for name, path in s.get("save", {}).items():
            value = out
            for part in path.split("."):
                value = value[part]
            names[name] = value
    if "error" in s and not seen:
        raise Failed("%s: never got %s" % (s["call"], s["error"]))


def main():
    kind, path = sys.argv[1:]
    client = {"boto3": Boto3, "cli": CLI}[kind]()
    with open(path, encoding="utf-8") as f:
        cases = json.load(f)
    failed = False
    for case in cases:
        names = {"id": "%s-%s" % (kind, uuid.uuid4().hex[:12]), "endpoint": os.environ["AWS_ENDPOINT_URL"]}
        try:
            for s in case["steps"]:
                step(client, s, names)
            line = "ok " + case["name"]
        except Unknown as e:
            line = "skip %s: %s" % (case["name"], e)
        except Failed as e:
            line, failed = "FAIL %s: %s" % (case["name"], e), True
        print(line, flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
