#!/usr/bin/python3
"""Reads a stream from a running server with boto3 or the AWS CLI.

    media.py boto3|cli STREAM COUNT DIRECTORY

The server and the caller come from the standard AWS environment. Lists the
stream's fragments in pages of two, saves them to DIRECTORY/list.mkv
(GetMediaForFragmentList) and the first COUNT of GetMedia from EARLIEST to
DIRECTORY/live.mkv (the stream must have one more), opens an HLS session, and prints what it saw as one line of
JSON.
"""
import datetime
import json
import os
import subprocess
import sys
import time
import urllib.request

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
TOKEN = b"AWS_KINESISVIDEO_CONTINUATION_TOKEN"  # in the tags that end a chunk
EBML = b"\x1a\x45\xdf\xa3"  # begins one


def hour():
    now = int(time.time())
    return {"FragmentSelectorType": "SERVER_TIMESTAMP",
            "TimestampRange": {"StartTimestamp": now - 3600, "EndTimestamp": now + 60}}


class Boto3:
    def __init__(self):
        import boto3

        self.boto3 = boto3
        self.control = boto3.client("kinesisvideo", endpoint_url=ENDPOINT)

    def client(self, service, stream, api):
        return self.boto3.client(service, endpoint_url=self.control.get_data_endpoint(StreamName=stream, APIName=api)["DataEndpoint"])

    def fragments(self, stream):
        pages = self.client("kinesis-video-archived-media", stream, "LIST_FRAGMENTS").get_paginator("list_fragments")
        for page in pages.paginate(StreamName=stream, FragmentSelector=hour(), PaginationConfig={"PageSize": 2}):
            yield from page["Fragments"]

    def save(self, stream, numbers, path):
        client = self.client("kinesis-video-archived-media", stream, "GET_MEDIA_FOR_FRAGMENT_LIST")
        out = client.get_media_for_fragment_list(StreamName=stream, Fragments=numbers)
        with open(path, "wb") as f:
            f.write(out["Payload"].read())
        return out["ContentType"]

    def live(self, stream):
        client = self.client("kinesis-video-media", stream, "GET_MEDIA")
        out = client.get_media(StreamName=stream, StartSelector={"StartSelectorType": "EARLIEST"})
        return out["Payload"], out["Payload"].close

    def hls(self, stream):
        client = self.client("kinesis-video-archived-media", stream, "GET_HLS_STREAMING_SESSION_URL")
        return client.get_hls_streaming_session_url(StreamName=stream, PlaybackMode="LIVE_REPLAY", HLSFragmentSelector={
            "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": int(time.time()) - 3600}})["HLSStreamingSessionURL"]

    def missing(self, stream):
        client = self.client("kinesis-video-media", stream, "GET_MEDIA")
        try:
            client.get_media(StreamName=stream + "-absent", StartSelector={"StartSelectorType": "NOW"})
        except client.exceptions.ResourceNotFoundException as e:
            return e.response["Error"]["Code"]


class Refused(Exception):
    """What the command printed when it failed."""


class CLI:
    aws = "/usr/bin/aws"

    def run(self, service, command, *more):
        args = [self.aws, service, command, "--endpoint-url", ENDPOINT, "--output", "json", "--no-cli-pager", *more]
        p = subprocess.run(args, capture_output=True)
        if p.returncode:
            raise Refused(p.stderr.decode().strip())
        return p.stdout

    def fragments(self, stream):
        out = self.run("kinesis-video-archived-media", "list-fragments", "--stream-name", stream,
                       "--fragment-selector", json.dumps(hour()), "--page-size", "2")
        return json.loads(out)["Fragments"]

    def save(self, stream, numbers, path):
        out = self.run("kinesis-video-archived-media", "get-media-for-fragment-list", path, "--stream-name", stream, "--fragments", *numbers)
        return json.loads(out)["ContentType"]

    def live(self, stream):
        p = subprocess.Popen([self.aws, "kinesis-video-media", "get-media", "--endpoint-url", ENDPOINT, "--stream-name", stream,
                              "--start-selector", "StartSelectorType=EARLIEST", "/dev/stdout"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

        def end():
            p.kill()
            p.wait()
        return p.stdout, end

    def hls(self, stream):
        selector = {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": int(time.time()) - 3600}}
        out = self.run("kinesis-video-archived-media", "get-hls-streaming-session-url", "--stream-name", stream,
                       "--playback-mode", "LIVE_REPLAY", "--hls-fragment-selector", json.dumps(selector))
        return json.loads(out)["HLSStreamingSessionURL"]

    def missing(self, stream):
        try:
            self.run("kinesis-video-media", "get-media", os.devnull, "--stream-name", stream + "-absent", "--start-selector", "StartSelectorType=NOW")
        except Refused as e:
            return "ResourceNotFoundException" if "(ResourceNotFoundException)" in str(e) else str(e)


def millis(t):
    if isinstance(t, str):
        t = datetime.datetime.fromisoformat(t)
    return round(t.timestamp() * 1000)


def main():
    kind, stream, count, directory = sys.argv[1:]
    client = {"boto3": Boto3, "cli": CLI}[kind]()
    fragments = [{
        "number": f["FragmentNumber"], "size": f["FragmentSizeInBytes"], "length": f["FragmentLengthInMilliseconds"],
        "producer": millis(f["ProducerTimestamp"]), "server": millis(f["ServerTimestamp"]),
    } for f in client.fragments(stream)]
    content_type = client.save(stream, [f["number"] for f in fragments], os.path.join(directory, "list.mkv"))

    # GetMedia goes on for ever, and these clients hand out full buffers only: it
    # is read into the chunk after the last that was asked for, and cut there.
    body, end = client.live(stream)
    media, at = b"", -1
    while at < 0:
        piece = body.read(4096)
        if not piece:
            raise SystemExit("GetMedia ended")
        media += piece
        at = 0
        for _ in range(int(count)):
            at = media.find(TOKEN, at) + 1
            if at == 0:
                break
        at = media.find(EBML, at) if at else -1
    end()
    media = media[:at]
    with open(os.path.join(directory, "live.mkv"), "wb") as f:
        f.write(media)

    with urllib.request.urlopen(client.hls(stream)) as answer:
        playlist = answer.read().decode().splitlines()[0]
    print(json.dumps({"fragments": fragments, "contentType": content_type, "playlist": playlist, "missing": client.missing(stream)}))


if __name__ == "__main__":
    main()
