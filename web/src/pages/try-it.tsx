import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Tabs from "@cloudscape-design/components/tabs";
import { useEffect, useState } from "react";
import { ApiError } from "../api/client";
import { Problem } from "../parts/problem";
import { useLoad } from "../hooks";
import { Code } from "../parts/code";
import { useSession } from "../session";

// Whole pages: saved as a file and opened, they play, and say so when they don't.
// The players come from where their projects publish them; the console itself
// loads nothing from there.
const page = (head: string, note: string, body: string) => `<!doctype html>
<meta charset="utf-8">
${head}
${body}
<p id="status">${note}</p>
`;
const failed = (url: string) => `const url = "${url}";
  const failed = async (what) => {
    // The playlist itself tells why.
    const answer = await fetch(url);
    const codecs = /CODECS="([^"]*)"/.exec(await answer.text())?.[1].split(",") ?? [];
    const lacks = codecs.filter((c) => !MediaSource.isTypeSupported('video/mp4; codecs="' + c + '"'));
    document.getElementById("status").textContent =
      answer.status === 403 ? "The session is over, or its user may no longer play the stream. Ask for a new URL."
      : lacks.length > 0 ? "This browser does not play the stream's codec, " + lacks + "."
      : "It does not play: " + what;
  };`;
const players = [
  {
    id: "hls",
    label: "hls.js",
    page: (url: string, note: string) =>
      page(
        `<script src="https://cdn.jsdelivr.net/npm/hls.js@1.7.4/dist/hls.min.js"></script>`,
        note,
        `<video id="video" controls autoplay muted width="960"></video>
<script>
  ${failed(url)}
  const player = new Hls();
  player.on(Hls.Events.ERROR, (_, e) => { if (e.fatal) failed(e.details); });
  player.loadSource(url);
  player.attachMedia(document.getElementById("video"));
</script>`,
      ),
  },
  {
    id: "videojs",
    label: "video.js",
    page: (url: string, note: string) =>
      page(
        `<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/video.js@8.24.1/dist/video-js.min.css">
<script src="https://cdn.jsdelivr.net/npm/video.js@8.24.1/dist/video.min.js"></script>`,
        note,
        `<video id="video" class="video-js" controls autoplay muted width="960" height="540"></video>
<script>
  ${failed(url)}
  // A session that ends while it plays is no error to this player: it tries again and again.
  videojs.Vhs.xhr.onResponse((request, error, response) => { if (response.statusCode === 403) failed("refused"); });
  const player = videojs("video", { html5: { vhs: { overrideNative: true } } });
  player.on("error", () => failed(player.error().message));
  player.src({ src: url, type: "application/x-mpegURL" });
</script>`,
      ),
  },
  {
    id: "shaka",
    label: "Shaka",
    page: (url: string, note: string) =>
      page(
        `<script src="https://cdn.jsdelivr.net/npm/shaka-player@5.2.12/dist/shaka-player.compiled.js"></script>`,
        note,
        `<video id="video" controls autoplay muted width="960"></video>
<script>
  ${failed(url)}
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.addEventListener("error", (e) => failed("error " + e.detail.code));
  player.attach(document.getElementById("video"))
    .then(() => player.load(url, null, "application/x-mpegurl"))
    .catch((e) => failed("error " + e.code));
</script>`,
      ),
  },
];

/** Commands and pages, filled in with this server's address and the chosen stream. */
export default function TryIt({ stream: chosen }: { stream?: string }) {
  const { kvs, server } = useSession();
  const [stream, setStream] = useState(chosen || "my-stream");
  const [settled, setSettled] = useState(!!chosen);
  const endpoint = location.origin;
  useEffect(() => {
    if (chosen) return;
    // Who comes without a stream is shown one that is there.
    const abort = new AbortController();
    kvs
      .list("", "", undefined, 1, abort.signal)
      .then(
        (r) => setStream((now) => (now === "my-stream" ? (r.StreamInfoList[0]?.StreamName ?? now) : now)),
        () => {},
      )
      .finally(() => setSettled(true));
    return () => abort.abort();
  }, [kvs, chosen]);
  const session = useLoad(
    async (signal) => {
      await new Promise((r) => setTimeout(r, 300)); // while somebody types
      return signal.aborted || !stream || !settled ? undefined : kvs.hls(stream);
    },
    [kvs, stream, settled],
  );
  const absent = session.error instanceof ApiError && session.error.code === "ResourceNotFoundException" && session.error.message.startsWith("The requested stream");
  const note = session.value?.skipped ? `Without sound: browsers don't play ${session.value.skipped}.` : "";
  const markup = note.replace(/[&<]/g, (c) => `&#${c.charCodeAt(0)};`); // a codec's name is the camera's to choose
  return (
    <ContentLayout header={<Header variant="h1" description="Copy, paste, run. The keys are those of your shell: sluice env prints them.">Try it</Header>}>
      <SpaceBetween size="l">
        <FormField label="Stream">
          <Input value={stream} onChange={(e) => setStream(e.detail.value)} spellcheck={false} />
        </FormField>
        <Container header={<Header variant="h2">Send</Header>}>
          <Tabs
            tabs={[
              { id: "file", label: "A file", content: <Code text={`sluice put ${stream} video.mkv --create --endpoint-url ${endpoint}`} /> },
              {
                id: "rtsp",
                label: "An RTSP camera",
                content: <Code text={`sluice bridge ${stream} rtsp://user:password@camera/path --create --endpoint-url ${endpoint}`} />,
              },
              {
                id: "gst",
                label: "GStreamer",
                content: (
                  <Code
                    text={`export CONTROL_PLANE_URI=${endpoint}
gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=1280,height=720,framerate=30/1 ! x264enc bframes=0 key-int-max=30 tune=zerolatency ! \\
  h264parse ! video/x-h264,stream-format=avc,alignment=au ! kvssink stream-name=${stream} aws-region=${server.region}`}
                  />
                ),
              },
              {
                id: "ffmpeg",
                label: "ffmpeg",
                content: (
                  <Code
                    text={`ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -c:v libx264 -tune zerolatency -g 30 -f matroska - | \\
  sluice put ${stream} - --create --realtime --endpoint-url ${endpoint}`}
                  />
                ),
              },
            ]}
          />
        </Container>
        <Container header={<Header variant="h2">Read</Header>}>
          <Tabs
            tabs={[
              {
                id: "cli",
                label: "AWS CLI",
                content: (
                  <Code
                    text={`aws kinesis-video-media get-media --endpoint-url ${endpoint} --stream-name ${stream} \\
  --start-selector StartSelectorType=EARLIEST out.mkv`}
                  />
                ),
              },
              {
                id: "python",
                label: "Python",
                content: (
                  <Code
                    text={`import boto3
media = boto3.client("kinesis-video-media", endpoint_url="${endpoint}", region_name="${server.region}")
answer = media.get_media(StreamName="${stream}", StartSelector={"StartSelectorType": "NOW"})
for part in answer["Payload"].iter_chunks():
    print(len(part))`}
                  />
                ),
              },
              { id: "sluice", label: "sluice", content: <Code text={`sluice get ${stream} --from -60s --to now -o out.mkv --endpoint-url ${endpoint}\nsluice tap ${stream} --endpoint-url ${endpoint}`} /> },
            ]}
          />
        </Container>
        <Container
          header={
            <Header
              variant="h2"
              description="A page needs no keys, only the URL of a session, which your own server asks for. Here is one that is good for 12 hours."
              actions={<Button onClick={session.reload}>New session</Button>}
            >
              Embed
            </Header>
          }
        >
          <SpaceBetween size="m">
            {session.error && !absent && <Problem error={session.error} type="warning" />}
            {absent && <Alert type="info">There is no stream {stream} yet. The commands above make it; then there is a session for it here.</Alert>}
            {note && !session.error && <Alert type="info">{note} The picture plays.</Alert>}
            <Code
              text={`aws kinesis-video-archived-media get-hls-streaming-session-url --endpoint-url ${endpoint} \\
  --stream-name ${stream} --playback-mode LIVE --query HLSStreamingSessionURL --output text`}
            />
            <Tabs tabs={players.map((p) => ({ id: p.id, label: p.label, content: <Code text={p.page((!session.error && session.value?.url) || "SESSION_URL", markup)} /> }))} />
          </SpaceBetween>
        </Container>
      </SpaceBetween>
    </ContentLayout>
  );
}
