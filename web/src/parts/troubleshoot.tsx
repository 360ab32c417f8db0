import Alert from "@cloudscape-design/components/alert";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import Link from "@cloudscape-design/components/link";
import SpaceBetween from "@cloudscape-design/components/space-between";
import type { Activity, StreamInfo } from "../api/kvs";
import { ago, duration } from "../text";

export interface Finding {
  type: "error" | "warning" | "info" | "success";
  title: string;
  text: string;
  anchor: string; // heading in docs/troubleshooting.md
}

/** ackHeading is the number in the heading of an ERROR acknowledgement: those of keys share one. */
export const ackHeading = (id: number) => (id >= 4500 && id <= 4599 ? 4500 : id);

/** findings says why there is no picture, most likely reason first. */
export function findings(s: StreamInfo, a: Activity, now = Date.now()): Finding[] {
  const out: Finding[] = [];
  const video = a.Tracks.find((t) => t.Type === "video");
  if (!a.LastFragment) {
    out.push({
      type: "error",
      title: "No data",
      text: "Nothing has been sent to this stream yet. Point a producer at it: the Try it page has the commands, filled in.",
      anchor: "no-data",
    });
  } else if (a.Sessions.length === 0) {
    out.push({
      type: "warning",
      title: "No producer is connected",
      text: `The last fragment came ${ago(a.LastFragment.ServerTimestamp * 1000, now)}. Live playback needs one within 30 seconds; older footage plays from the timeline.`,
      anchor: "no-producer",
    });
  }
  if (s.DataRetentionInHours === 0) {
    out.push({
      type: "warning",
      title: "Nothing is kept",
      text: "The retention of this stream is 0. HLS, DASH and clips need stored footage: raise the retention to at least 1 hour.",
      anchor: "retention-0",
    });
  }
  if (a.Tracks.length > 0 && !video && !a.Tracks.some((t) => t.Codec.startsWith("mp4a"))) {
    out.push({
      type: "error",
      title: "No video track",
      text: `The producer sends ${a.Tracks.map((t) => t.CodecID).join(", ")}. Browsers play H.264 or H.265 video, or AAC sound.`,
      anchor: "unsupported-codec",
    });
  }
  for (const t of a.Tracks) {
    if ((t.Type === "video" || t.Type === "audio") && !t.HasCodecPrivate && !["A_MS/ACM"].includes(t.CodecID)) {
      out.push({
        type: "error",
        title: "No codec private data",
        text: `Track ${t.Number} (${t.CodecID}) came without codec private data, so players can't be told how to decode it. The producer must send its parameter sets (SPS and PPS for H.264).`,
        anchor: "no-codec-private-data",
      });
    } else if (t.Type === "video" && !t.Codec) {
      out.push({
        type: "error",
        title: "Unsupported codec",
        text: `Track ${t.Number} is ${t.CodecID}. HLS and DASH play H.264 and H.265; GetMedia and the SDKs return any codec.`,
        anchor: "unsupported-codec",
      });
    } else if (t.Type === "video" && t.Codec.startsWith("hvc1") && !MediaSource.isTypeSupported(`video/mp4; codecs="${t.Codec}"`)) {
      out.push({
        type: "warning",
        title: "This browser does not play H.265",
        text: "The stream is fine: Safari, and Chrome with hardware decoding, play it. Clips can be downloaded here.",
        anchor: "browser-codec",
      });
    } else if (t.Type === "audio" && !t.Codec.startsWith("mp4a") && video) {
      out.push({
        type: "info",
        title: "The sound is left out",
        text: `Track ${t.Number} is ${t.CodecID}, which browsers don't play in HLS. The video plays without it; GetMedia returns it.`,
        anchor: "browser-codec",
      });
    }
  }
  const length = a.LastFragment?.FragmentLengthInMilliseconds ?? 0;
  if (length > 10_000) {
    out.push({
      type: "warning",
      title: "Fragments are long",
      text: `The last fragment is ${(length / 1000).toFixed(1)} s long. Playback starts at key frames, so it begins late: set the camera's key frame interval to 1 or 2 seconds.`,
      anchor: "long-fragments",
    });
  }
  if (Math.abs(a.ProducerLagMilliseconds) > 10_000 && a.Sessions.length > 0) {
    out.push({
      type: "warning",
      title: "The producer's clock is off",
      text: `Its timestamps are ${duration(Math.abs(a.ProducerLagMilliseconds))} ${a.ProducerLagMilliseconds > 0 ? "behind" : "ahead of"} the server's clock. Searching by producer time will miss; synchronise the camera's clock.`,
      anchor: "clock",
    });
  }
  if (a.Sessions.length > 1) {
    out.push({
      type: "info",
      title: `${a.Sessions.length} producers at once`,
      text: "A producer overlaps two connections for a moment when it renews its credentials. If this stays, two cameras are sending to one stream.",
      anchor: "two-producers",
    });
  }
  for (const e of a.Errors.slice(0, 5)) {
    out.push({
      type: "error",
      title: `${e.ErrorId} ${e.ErrorCode}`,
      text: `${e.Detail || "The producer was told of this error and its fragment was refused."} (${ago(e.Time * 1000, now)})`,
      anchor: `ack-${ackHeading(e.ErrorId)}`,
    });
  }
  if (out.every((f) => f.type === "info")) {
    out.unshift({ type: "success", title: "Nothing is wrong", text: "Media arrives, is stored and can be played.", anchor: "" });
  }
  return out;
}

export function Troubleshoot({ stream, activity }: { stream: StreamInfo; activity: Activity }) {
  return (
    <Container header={<Header description="What the server sees of this stream, in order of likelihood.">Why is there no picture?</Header>}>
      <SpaceBetween size="s">
        {findings(stream, activity).map((f, i) => (
          <Alert key={i} type={f.type} header={f.title}>
            {f.text}{" "}
            {f.anchor && (
              <Link href={`/console/docs/troubleshooting.html#${f.anchor}`} external externalIconAriaLabel="Opens in a new tab">
                More about this
              </Link>
            )}
          </Alert>
        ))}
      </SpaceBetween>
    </Container>
  );
}
