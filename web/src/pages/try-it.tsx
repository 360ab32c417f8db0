import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Tabs from "@cloudscape-design/components/tabs";
import { useState } from "react";
import { Code } from "../parts/code";
import { useSession } from "../session";

/** Commands and pages, filled in with this server's address and the chosen stream. */
export default function TryIt({ stream: chosen }: { stream?: string }) {
  const { server } = useSession();
  const [stream, setStream] = useState(chosen || "my-stream");
  const endpoint = location.origin;
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
              { id: "sluice", label: "sluice", content: <Code text={`sluice get ${stream} --from -60s -o out.mkv --endpoint-url ${endpoint}\nsluice tap ${stream} --endpoint-url ${endpoint}`} /> },
            ]}
          />
        </Container>
        <Container
          header={
            <Header variant="h2" description="Ask for a session URL on your server (it needs keys), then give the URL to the page: the URL is all a player needs.">
              Embed
            </Header>
          }
        >
          <SpaceBetween size="m">
            <Code
              text={`aws kinesis-video-archived-media get-hls-streaming-session-url --endpoint-url ${endpoint} \\
  --stream-name ${stream} --playback-mode LIVE --query HLSStreamingSessionURL --output text`}
            />
            <Tabs
              tabs={[
                {
                  id: "hls",
                  label: "hls.js",
                  content: (
                    <Code
                      text={`<video id="video" controls autoplay muted></video>
<script src="hls.js"></script>
<script>
  const player = new Hls();
  player.loadSource(SESSION_URL);
  player.attachMedia(document.getElementById("video"));
</script>`}
                    />
                  ),
                },
                {
                  id: "videojs",
                  label: "video.js",
                  content: (
                    <Code
                      text={`<link rel="stylesheet" href="video-js.css" />
<video id="video" class="video-js" controls autoplay muted></video>
<script src="video.js"></script>
<script>
  videojs("video").src({ src: SESSION_URL, type: "application/x-mpegURL" });
</script>`}
                    />
                  ),
                },
                {
                  id: "shaka",
                  label: "Shaka",
                  content: (
                    <Code
                      text={`<video id="video" controls autoplay muted></video>
<script src="shaka-player.compiled.js"></script>
<script>
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.attach(document.getElementById("video")).then(() => player.load(SESSION_URL));
</script>`}
                    />
                  ),
                },
              ]}
            />
          </SpaceBetween>
        </Container>
      </SpaceBetween>
    </ContentLayout>
  );
}
