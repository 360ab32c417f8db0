import Badge from "@cloudscape-design/components/badge";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import CopyToClipboard from "@cloudscape-design/components/copy-to-clipboard";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import Tabs from "@cloudscape-design/components/tabs";
import { memo, useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import type { Activity, By, StreamInfo } from "../api/kvs";
import { Problem } from "../parts/problem";
import { useEvery, useLoad, useMay } from "../hooks";
import { DeleteStream } from "../parts/delete-stream";
import { Fragments } from "../parts/fragments";
import { Labels } from "../parts/labels";
import { Player, type Watch } from "../parts/player";
import { RangeActions } from "../parts/range-actions";
import { Retention } from "../parts/retention";
import { Tags } from "../parts/tags";
import { type Range, Timeline } from "../parts/timeline";
import { Troubleshoot, findings } from "../parts/troubleshoot";
import { useSession } from "../session";
import { ago, bits, bytes, day, hours } from "../text";

/** One stream: watch and rewind, fragments, what is wrong, settings. */
export default function Stream({ name, tab, go }: { name: string; tab?: string; go: (path: string) => void }) {
  const { kvs } = useSession();
  const info = useLoad((signal) => kvs.describe(name, signal), [name]);
  const activity = useLoad((signal) => kvs.activity(name, signal), [name]);
  const [deleting, setDeleting] = useState(false);
  const blind = activity.error instanceof ApiError && activity.error.denied;
  useEvery(tab === "fragments" ? 1000 : 2000, () => {
    if (!blind) activity.reload(); // acknowledgements are shown there
  });
  const mayDelete = useMay("kinesisvideo:DeleteStream", info.value?.StreamARN ?? "");

  if (info.error && !info.value) {
    return (
      <ContentLayout header={<Header variant="h1">{name}</Header>}>
        <Problem header="This stream can't be shown" error={info.error} />
      </ContentLayout>
    );
  }
  const s = info.value;
  const a = activity.value;
  if (!s) return <Spinner size="large" />;
  const wrong = a ? findings(s, a).filter((f) => f.type === "error" || f.type === "warning").length : 0;
  const path = `/stream/${encodeURIComponent(name)}`;
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          info={a && (a.Sessions.length > 0 ? <Badge color="red">Live · {bits(a.BitsPerSecond)}</Badge> : <Badge>Off</Badge>)}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button href={`#/try-it/${encodeURIComponent(name)}`}>Embed and try</Button>
              <Button disabled={!!mayDelete} disabledReason={mayDelete} onClick={() => setDeleting(true)}>
                Delete
              </Button>
            </SpaceBetween>
          }
        >
          {name}
        </Header>
      }
    >
      <Tabs
        activeTabId={tab || "watch"}
        onChange={(e) => go(`${path}/${e.detail.activeTabId}`)}
        ariaLabel="Views of the stream"
        tabs={[
          { id: "watch", label: "Watch", content: <WatchTab stream={s} activity={a} blind={activity.error} /> },
          { id: "fragments", label: "Fragments", content: <Fragments stream={name} arn={s.StreamARN} activity={a} /> },
          {
            id: "troubleshoot",
            label: wrong ? `Troubleshoot (${wrong})` : "Troubleshoot",
            content: a ? <Troubleshoot stream={s} activity={a} /> : activity.error ? <Problem error={activity.error} /> : <Spinner />,
          },
          { id: "settings", label: "Settings", content: <Settings stream={s} onChanged={info.reload} /> },
        ]}
      />
      {deleting && (
        <DeleteStream
          stream={s}
          onClose={(deleted) => {
            setDeleting(false);
            if (deleted) go("/streams");
          }}
        />
      )}
    </ContentLayout>
  );
}

/** endingNow is a view with now near its right end. */
function endingNow(span: number): Range {
  const to = Date.now() + span / 30;
  return { from: to - span, to };
}

/** whyWait says why there can be no live picture now, so that none is asked for. */
function whyWait(s: StreamInfo, a: Activity): string | undefined {
  if (s.DataRetentionInHours === 0) return "Nothing of this stream is kept, so players can't show it. Raise its retention.";
  if (!a.LastFragment) return "Nothing has been sent to this stream yet. Embed and try has the commands for it.";
  if (a.Sessions.length === 0 && Date.now() / 1000 - a.LastFragment.ServerTimestamp > 30) {
    return "No producer is connected. Older footage plays from the timeline.";
  }
  return undefined;
}

/** blind is why it can't be known what happens on the stream: as a rule because the user may not ask. */
function WatchTab({ stream, activity, blind }: { stream: StreamInfo; activity?: Activity; blind?: Error }) {
  const [by, setBy] = useState<By>("SERVER_TIMESTAMP");
  const [watch, setWatch] = useState<Watch>({ live: true });
  const [view, setView] = useState<Range>(() => endingNow(15 * 60_000));
  const [zoom, setZoom] = useState<string | null>("15"); // null: by hand
  const [following, setFollowing] = useState(true);
  const [selection, setSelection] = useState<Range>();
  const [position, setPosition] = useState<number>();
  const [seek, setSeek] = useState<number>();
  const horizon = Date.now() - stream.DataRetentionInHours * 3_600_000;

  // While nobody has moved it the view slides with time.
  useEvery(1000, () => {
    if (!following) return;
    setView((v) => endingNow(v.to - v.from));
  });

  const video = activity?.Tracks.find((t) => t.Type === "video");
  const pick = (ms: number) => {
    setSeek(ms);
    if (!watch.live && watch.by === by && ms >= watch.from.getTime() && ms <= watch.to.getTime()) return;
    // A pick plays from there for up to an hour; ranges of server time must lie in the past.
    const to = Math.min(ms + 3_600_000, Date.now() - 1000);
    if (to <= ms) setWatch({ live: true });
    else setWatch({ live: false, by, from: new Date(ms - 2000), to: new Date(to) });
    setPosition(ms);
  };
  const ended = useRef(() => {});
  ended.current = () => {
    if (!watch.live && !watch.range) pick(watch.to.getTime()); // there is more by now
  };
  const onEnd = useCallback(() => ended.current(), []);
  return (
    <SpaceBetween size="m">
      <Player
        stream={stream.StreamName}
        watch={watch}
        onTime={setPosition}
        seek={seek}
        codec={video && (video.Codec || video.CodecID)}
        wait={!watch.live || blind ? undefined : activity ? whyWait(stream, activity) : "Loading…"}
        onEnd={onEnd}
      />
      <Container
        header={
          <Header
            variant="h2"
            description={`Kept: ${hours(stream.DataRetentionInHours)}. Click to play from a moment, shift-drag to select, wheel to zoom.`}
            actions={
              <SpaceBetween direction="horizontal" size="xs">
                <SegmentedControl
                  selectedId={by}
                  label="Which time"
                  onChange={(e) => setBy(e.detail.selectedId as By)}
                  options={[
                    { id: "SERVER_TIMESTAMP", text: "Server time" },
                    { id: "PRODUCER_TIMESTAMP", text: "Producer time" },
                  ]}
                />
                <SegmentedControl
                  selectedId={zoom}
                  label="Zoom"
                  onChange={(e) => {
                    setZoom(e.detail.selectedId);
                    const span = Number(e.detail.selectedId) * 60_000;
                    const end = (view.from + view.to) / 2 + span / 2;
                    setView(following || end > Date.now() ? endingNow(span) : { from: end - span, to: end });
                  }}
                  options={[
                    { id: "5", text: "5 min" },
                    { id: "15", text: "15 min" },
                    { id: "60", text: "1 h" },
                    { id: "1440", text: "1 day" },
                    { id: "10080", text: "1 week" },
                    ...(stream.DataRetentionInHours > 192 ? [{ id: "43200", text: "30 days" }] : []),
                  ]}
                />
                <input
                  className="moment"
                  type="datetime-local"
                  aria-label="Go to a time, in UTC"
                  step={1}
                  onChange={(e) => {
                    const t = Date.parse(e.target.value + "Z");
                    if (Number.isNaN(t)) return;
                    setFollowing(false);
                    const span = view.to - view.from;
                    setView({ from: t - span / 2, to: t + span / 2 });
                    pick(t);
                  }}
                />
                <Button
                  variant={watch.live ? "normal" : "primary"}
                  onClick={() => {
                    setWatch({ live: true });
                    setFollowing(true);
                    setSelection(undefined);
                  }}
                >
                  Now
                </Button>
              </SpaceBetween>
            }
          >
            Timeline
          </Header>
        }
      >
        <SpaceBetween size="s">
          <Timeline
          stream={stream.StreamName}
          by={by}
          view={view}
          onView={(v) => {
            setFollowing(false);
            if (Math.abs(v.to - v.from - (view.to - view.from)) > 1) setZoom(null);
            setView(v);
          }}
          selection={selection}
          onSelect={(r) => {
            // What is still to come can't be asked for.
            const last = Date.now() - 1000;
            setSelection(r && { from: Math.min(r.from, last), to: Math.min(r.to, last) });
          }}
          onPick={pick}
          position={position}
          horizon={horizon}
        />
        {selection && (
          <RangeActions
            stream={stream.StreamName}
            arn={stream.StreamARN}
            by={by}
            range={selection}
            onPlay={() => setWatch({ live: false, by, from: new Date(selection.from), to: new Date(selection.to), range: true })}
            onClear={() => setSelection(undefined)}
          />
        )}
        </SpaceBetween>
      </Container>
      <Facts stream={stream} activity={activity} blind={blind} />
    </SpaceBetween>
  );
}

const Facts = memo(function Facts({ stream, activity: a, blind }: { stream: StreamInfo; activity?: Activity; blind?: Error }) {
  const video = a?.Tracks.find((t) => t.Type === "video");
  const audio = a?.Tracks.find((t) => t.Type === "audio");
  return (
    <Container header={<Header variant="h2">Stream</Header>}>
      <ColumnLayout columns={1}>
        {blind && !a && <Problem header="What happens on the stream can't be shown" error={blind} type="warning" />}
        <KeyValuePairs
          columns={4}
          items={[
            { label: "Picture", value: video ? `${video.Codec || video.CodecID} ${video.Width ? `${video.Width}×${video.Height}` : ""}` : "–" },
            { label: "Sound", value: audio ? `${audio.Codec || audio.CodecID} ${audio.SamplingFrequency ? `${audio.SamplingFrequency} Hz` : ""}` : "–" },
            { label: "Rate", value: a ? `${bits(a.BitsPerSecond)}, ${a.FramesPerSecond.toFixed(1)} frames/s` : "–" },
            { label: "Fragment length", value: a?.LastFragment ? `${(a.LastFragment.FragmentLengthInMilliseconds / 1000).toFixed(2)} s` : "–" },
            { label: "Producer latency", value: a?.LastFragment ? `${Math.round(a.ProducerLagMilliseconds)} ms` : "–" },
            { label: "Last fragment", value: a ? (a.LastFragment ? ago(a.LastFragment.ServerTimestamp * 1000) : "none") : "–" },
            { label: "Connections", value: a ? `${a.Sessions.length} in, ${a.Readers} out` : "–" },
            { label: "Stored", value: a ? `${bytes(a.StoredBytes)} in ${a.FragmentCount} fragments` : "–" },
          ]}
        />
        <KeyValuePairs
          columns={2}
          items={[
            {
              label: "ARN",
              value: (
                <CopyToClipboard variant="inline" copyButtonAriaLabel="Copy the ARN" copyErrorText="Not copied" copySuccessText="Copied" textToCopy={stream.StreamARN} />
              ),
            },
            { label: "Encryption key", value: <span className="mono">{stream.KmsKeyId}</span> },
          ]}
        />
        {a && a.Sessions.length > 0 && (
          <Box variant="small">
            {a.Sessions.map((x) => (
              <div key={x.ID} className="mono">
                {x.Remote} {x.UserAgent}, since {day(x.Since * 1000)}, {x.Fragments} fragments, {bytes(x.Bytes)}
              </div>
            ))}
          </Box>
        )}
      </ColumnLayout>
    </Container>
  );
});

function Settings({ stream, onChanged }: { stream: StreamInfo; onChanged: () => void }) {
  const mayRetain = useMay("kinesisvideo:UpdateDataRetention", stream.StreamARN);
  useEffect(onChanged, []); // another tab or a program may have changed it
  return (
    <SpaceBetween size="l">
      <Retention stream={stream} onChanged={onChanged} not={mayRetain} />
      <Tags stream={stream} />
      <Labels stream={stream} onChanged={onChanged} />
      <Container header={<Header variant="h2">About this stream</Header>}>
        <KeyValuePairs
          columns={3}
          items={[
            { label: "Created", value: day(stream.CreationTime * 1000) },
            { label: "Version", value: <span className="mono">{stream.Version}</span> },
            { label: "Status", value: stream.Status },
            { label: "Encryption key", value: <span className="mono">{stream.KmsKeyId}</span> },
          ]}
        />
      </Container>
    </SpaceBetween>
  );
}
