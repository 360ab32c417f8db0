// Reads a stream from a running server with the AWS SDK for JavaScript v3.
//
//     node media.js STREAM COUNT DIRECTORY
//
// The server and the caller come from the standard AWS environment. Lists the
// stream's fragments in pages of two, saves them to DIRECTORY/list.mkv
// (GetMediaForFragmentList) and the first COUNT of GetMedia from EARLIEST to
// DIRECTORY/live.mkv (the stream must have one more), opens an HLS session, and
// prints what it saw as one line of JSON.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { GetDataEndpointCommand, KinesisVideoClient } from "@aws-sdk/client-kinesis-video";
import { GetMediaCommand, KinesisVideoMediaClient, ResourceNotFoundException } from "@aws-sdk/client-kinesis-video-media";
import {
  GetHLSStreamingSessionURLCommand,
  GetMediaForFragmentListCommand,
  KinesisVideoArchivedMediaClient,
  paginateListFragments,
} from "@aws-sdk/client-kinesis-video-archived-media";

const [StreamName, count, directory] = process.argv.slice(2);
const control = new KinesisVideoClient({ endpoint: process.env.AWS_ENDPOINT_URL });

async function client(Client, APIName) {
  const { DataEndpoint } = await control.send(new GetDataEndpointCommand({ StreamName, APIName }));
  return new Client({ endpoint: DataEndpoint });
}

const fragments = [];
const lister = await client(KinesisVideoArchivedMediaClient, "LIST_FRAGMENTS");
const FragmentSelector = {
  FragmentSelectorType: "SERVER_TIMESTAMP",
  TimestampRange: { StartTimestamp: new Date(Date.now() - 3600e3), EndTimestamp: new Date(Date.now() + 60e3) },
};
for await (const page of paginateListFragments({ client: lister, pageSize: 2 }, { StreamName, FragmentSelector })) {
  for (const f of page.Fragments) {
    fragments.push({
      number: f.FragmentNumber,
      size: f.FragmentSizeInBytes,
      length: f.FragmentLengthInMilliseconds,
      producer: f.ProducerTimestamp.getTime(),
      server: f.ServerTimestamp.getTime(),
    });
  }
}

const archive = await client(KinesisVideoArchivedMediaClient, "GET_MEDIA_FOR_FRAGMENT_LIST");
const saved = await archive.send(new GetMediaForFragmentListCommand({ StreamName, Fragments: fragments.map((f) => f.number) }));
writeFileSync(join(directory, "list.mkv"), await saved.Payload.transformToByteArray());

// GetMedia goes on for ever: it is read into the chunk after the last that was
// asked for, and cut there.
const media = await client(KinesisVideoMediaClient, "GET_MEDIA");
const live = await media.send(new GetMediaCommand({ StreamName, StartSelector: { StartSelectorType: "EARLIEST" } }));
const token = Buffer.from("AWS_KINESISVIDEO_CONTINUATION_TOKEN"); // in the tags that end a chunk
const ebml = Buffer.from([0x1a, 0x45, 0xdf, 0xa3]); // begins one
let bytes = Buffer.alloc(0);
const end = () => {
  let at = 0;
  for (let n = 0; n < Number(count); n++) {
    at = bytes.indexOf(token, at) + 1;
    if (at === 0) return -1;
  }
  return bytes.indexOf(ebml, at);
};
for await (const piece of live.Payload) {
  bytes = Buffer.concat([bytes, piece]);
  if (end() >= 0) break;
}
live.Payload.destroy();
writeFileSync(join(directory, "live.mkv"), bytes.subarray(0, end()));

const hls = await client(KinesisVideoArchivedMediaClient, "GET_HLS_STREAMING_SESSION_URL");
const { HLSStreamingSessionURL } = await hls.send(
  new GetHLSStreamingSessionURLCommand({
    StreamName,
    PlaybackMode: "LIVE_REPLAY",
    HLSFragmentSelector: { FragmentSelectorType: "SERVER_TIMESTAMP", TimestampRange: { StartTimestamp: new Date(Date.now() - 3600e3) } },
  }),
);
const playlist = (await (await fetch(HLSStreamingSessionURL)).text()).split("\n")[0];

let missing = null;
try {
  await media.send(new GetMediaCommand({ StreamName: StreamName + "-absent", StartSelector: { StartSelectorType: "NOW" } }));
} catch (e) {
  missing = e instanceof ResourceNotFoundException ? e.name : String(e);
}
console.log(JSON.stringify({ fragments, contentType: saved.ContentType, playlist, missing }));
