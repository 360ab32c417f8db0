import Button from "@cloudscape-design/components/button";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Tabs from "@cloudscape-design/components/tabs";
import { useState } from "react";
import type { By } from "../api/kvs";
import { Problem } from "./problem";
import { useMay } from "../hooks";
import { useSession } from "../session";
import { bytes, day, duration } from "../text";
import { Code } from "./code";
import { fetchAll, save } from "./save";
import type { Range } from "./timeline";

/** What can be done with a selected range: play it, download it, copy the call for it. */
export function RangeActions({ stream, arn, by, range, onPlay, onClear }: { stream: string; arn: string; by: By; range: Range; onPlay: () => void; onClear: () => void }) {
  const { kvs } = useSession();
  const [progress, setProgress] = useState<number>();
  const [error, setError] = useState<Error>();
  const mayClip = useMay("kinesisvideo:GetClip", arn);
  const mayPlay = useMay("kinesisvideo:GetHLSStreamingSessionURL", arn);
  const from = new Date(range.from);
  const to = new Date(range.to);
  const clip = async () => {
    setError(undefined);
    setProgress(0);
    try {
      const answer = await kvs.clip(stream, by, from, to);
      save(await fetchAll(answer, setProgress), `${stream}-${from.toISOString().replace(/[:.]/g, "-")}.mp4`);
    } catch (e) {
      setError(e as Error);
    }
    setProgress(undefined);
  };
  return (
    <SpaceBetween size="s">
      <SpaceBetween direction="horizontal" size="xs">
        <span>
          {day(range.from)} to {day(range.to)} ({duration(range.to - range.from)})
        </span>
        <Button disabled={!!mayPlay} disabledReason={mayPlay} onClick={onPlay}>Play range</Button>
        <Button iconName="download" loading={progress !== undefined} disabled={!!mayClip} disabledReason={mayClip} onClick={() => void clip()}>
          {progress ? `Downloading ${bytes(progress)}` : "Download clip"}
        </Button>
        <Button variant="link" onClick={onClear}>
          Clear
        </Button>
      </SpaceBetween>
      {error && <Problem error={error} />}
      <ExpandableSection headerText="The call for this range">
        <Calls stream={stream} by={by} from={from} to={to} />
      </ExpandableSection>
    </SpaceBetween>
  );
}

function Calls({ stream, by, from, to }: { stream: string; by: By; from: Date; to: Date }) {
  const { server } = useSession();
  const endpoint = location.origin;
  const selector = `FragmentSelectorType=${by},TimestampRange={StartTimestamp=${from.toISOString()},EndTimestamp=${to.toISOString()}}`;
  return (
    <Tabs
      tabs={[
        {
          id: "cli",
          label: "AWS CLI",
          content: (
            <Code
              text={`aws kinesis-video-archived-media get-clip --endpoint-url ${endpoint} --stream-name ${stream} \\
  --clip-fragment-selector '${selector}' clip.mp4`}
            />
          ),
        },
        {
          id: "python",
          label: "Python",
          content: (
            <Code
              text={`import boto3, datetime as dt
media = boto3.client("kinesis-video-archived-media", endpoint_url="${endpoint}", region_name="${server.region}")
clip = media.get_clip(StreamName="${stream}", ClipFragmentSelector={
    "FragmentSelectorType": "${by}",
    "TimestampRange": {"StartTimestamp": dt.datetime.fromtimestamp(${from.getTime() / 1000}, dt.timezone.utc),
                       "EndTimestamp": dt.datetime.fromtimestamp(${to.getTime() / 1000}, dt.timezone.utc)}})
open("clip.mp4", "wb").write(clip["Payload"].read())`}
            />
          ),
        },
        {
          id: "sluice",
          label: "sluice",
          content: (
            <Code
              text={`sluice clip ${stream} --endpoint-url ${endpoint} --by ${by === "SERVER_TIMESTAMP" ? "server" : "producer"} \\
  --from ${from.toISOString()} --to ${to.toISOString()} -o clip.mp4`}
            />
          ),
        },
        {
          id: "go",
          label: "Go",
          content: (
            <Code
              text={`client, err := kvsapi.New(ctx, kvsapi.Options{Endpoint: "${endpoint}", Region: "${server.region}"})
clip, err := client.GetClip(ctx, sluice.StreamRef{Name: "${stream}"}, sluice.${by === "SERVER_TIMESTAMP" ? "ServerClock" : "ProducerClock"},
	time.UnixMilli(${from.getTime()}), time.UnixMilli(${to.getTime()})) // a *kvsapi.Media, to read and close`}
            />
          ),
        },
      ]}
    />
  );
}
