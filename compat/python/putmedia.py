#!/usr/bin/env python3
"""PutMedia in Python, which no AWS SDK for Python has: the whole protocol on one page.

    AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... ./putmedia.py ENDPOINT STREAM FILE.mkv [ABSOLUTE|RELATIVE]

It asks the control plane for the data endpoint, sends the head of a request
whose body is chunked, waits for the 200, and then writes the file in chunks
while it reads acknowledgements: one JSON object a line. It prints them.
"""
import json
import os
import socket
import sys
import threading
import time
from urllib.parse import urlparse

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest


def put_media(endpoint, region, stream, media, timecodes="RELATIVE", chunk=16 * 1024, pace=0.0):
    """Streams the bytes of the file object media; yields acknowledgements as dicts."""
    control = boto3.client("kinesisvideo", endpoint_url=endpoint, region_name=region)
    data = control.get_data_endpoint(StreamName=stream, APIName="PUT_MEDIA")["DataEndpoint"]

    # The signature covers the headers; of the body it covers nothing (the hash is that of an empty one).
    request = AWSRequest("POST", data + "/putMedia", data=b"", headers={
        "x-amzn-stream-name": stream,
        "x-amzn-fragment-timecode-type": timecodes,
        "x-amzn-producer-start-timestamp": "%.3f" % time.time(),
    })
    SigV4Auth(boto3.Session().get_credentials(), "kinesisvideo", region).add_auth(request)

    url = urlparse(data)
    sock = socket.create_connection((url.hostname, url.port or 80))
    head = ["POST /putMedia HTTP/1.1", "Host: " + url.netloc, "Transfer-Encoding: chunked"]
    head += ["%s: %s" % (k, v) for k, v in request.headers.items() if k.lower() not in ("host", "content-length")]
    sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode())

    answer = sock.makefile("rb")
    status = answer.readline().decode()
    headers = {}
    while (line := answer.readline().strip()):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    if " 200 " not in status:
        raise RuntimeError(status.strip() + " " + answer.read(int(headers.get("content-length", "0"))).decode())

    def upload():
        try:
            while (part := media.read(chunk)):
                sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                if pace:
                    time.sleep(pace)
            sock.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # the service ended the session; its last acknowledgement says why

    threading.Thread(target=upload, daemon=True).start()
    while (size := int(answer.readline(), 16)):
        line = answer.read(size)
        answer.readline()
        yield json.loads(line)


def main():
    endpoint, stream, name = sys.argv[1:4]
    timecodes = sys.argv[4] if len(sys.argv) > 4 else "RELATIVE"
    region = os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-west-2"))
    failed = False
    with open(name, "rb") as media:
        for ack in put_media(endpoint, region, stream, media, timecodes):
            print(json.dumps(ack), flush=True)
            failed |= ack["EventType"] == "ERROR"
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
