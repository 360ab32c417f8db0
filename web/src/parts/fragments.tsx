import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Header from "@cloudscape-design/components/header";
import Link from "@cloudscape-design/components/link";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import Table from "@cloudscape-design/components/table";
import Toggle from "@cloudscape-design/components/toggle";
import { useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import type { Activity } from "../api/kvs";
import { useMay } from "../hooks";
import { Problem } from "./problem";
import { type Chunk, readChunks } from "../media/chunks";
import { useSession } from "../session";
import { bytes, clock, day } from "../text";
import { save } from "./save";
import { ackHeading } from "./troubleshoot";

/** When a fragment was acknowledged to its producer, by event; ms since the epoch. */
interface Acked {
  BUFFERING?: number;
  RECEIVED?: number;
  PERSISTED?: number;
  ERROR?: number;
  errorId?: number;
}

/** useAcks keeps what the server tells of the last acknowledgements, by fragment. */
function useAcks(list: Activity["Acks"] | undefined): Map<string, Acked> {
  const kept = useRef(new Map<string, Acked>());
  for (const a of list ?? []) {
    if (!a.FragmentNumber) continue;
    let f = kept.current.get(a.FragmentNumber);
    if (!f) {
      kept.current.set(a.FragmentNumber, (f = {}));
      if (kept.current.size > 1000) kept.current.delete(kept.current.keys().next().value as string);
    }
    f[a.EventType as "RECEIVED"] = a.Time * 1000;
    if (a.ErrorId) f.errorId = a.ErrorId;
  }
  return kept.current;
}

/** The furthest a producer was told about a fragment, and when. */
function Ack({ acked }: { acked?: Acked }) {
  if (acked?.ERROR) {
    return (
      <StatusIndicator type="error">
        <Link href={`/console/docs/troubleshooting.html#ack-${ackHeading(acked.errorId ?? 0)}`} external externalIconAriaLabel="Opens in a new tab">
          {acked.errorId}
        </Link>
      </StatusIndicator>
    );
  }
  if (acked?.PERSISTED) return <StatusIndicator type="success">persisted {clock(acked.PERSISTED)}</StatusIndicator>;
  if (acked?.RECEIVED) return <StatusIndicator type="info">received {clock(acked.RECEIVED)}</StatusIndicator>;
  if (acked?.BUFFERING) return <StatusIndicator type="in-progress">buffering {clock(acked.BUFFERING)}</StatusIndicator>;
  return "–";
}

/** Fragments as they arrive, over one GetMedia connection while the table can be seen, and their acknowledgements. */
export function Fragments({ stream, arn, activity }: { stream: string; arn: string; activity?: Activity }) {
  const { kvs } = useSession();
  const acks = useAcks(activity?.Acks);
  const [chunks, setChunks] = useState<Chunk[]>([]);
  const [error, setError] = useState<Error>();
  const [running, setRunning] = useState(true);
  const [open, setOpen] = useState<Chunk>();
  const [visible, setVisible] = useState(!document.hidden);

  useEffect(() => {
    const on = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", on);
    return () => document.removeEventListener("visibilitychange", on);
  }, []);

  useEffect(() => {
    if (!running || !visible) return;
    const abort = new AbortController();
    void (async () => {
      while (!abort.signal.aborted) {
        try {
          const answer = await kvs.media(stream, abort.signal);
          setError(undefined);
          await readChunks(answer, ({ firstKey: _, ...c }) =>
            setChunks((old) => {
              const at = old.findIndex((o) => o.number === c.number);
              return at < 0 ? [c, ...old].slice(0, 200) : old.map((o, i) => (i === at ? c : o));
            }),
          );
        } catch (e) {
          if (abort.signal.aborted) return;
          setError(e as Error);
          if (e instanceof ApiError && e.denied) return; // until it is followed anew
        }
        await new Promise((r) => setTimeout(r, 2000));
      }
    })();
    return () => abort.abort();
  }, [kvs, stream, running, visible]);

  return (
    <>
      <Table
        items={chunks}
        trackBy="number"
        variant="container"
        stripedRows
        header={
          <Header
            counter={`(${chunks.length})`}
            description="As they arrive, and what the producer was told of each; the newest first."
            actions={
              <Toggle checked={running} onChange={(e) => setRunning(e.detail.checked)}>
                Follow
              </Toggle>
            }
          >
            Live fragments
          </Header>
        }
        ariaLabels={{ tableLabel: "Live fragments" }}
        empty={
          error ? <Problem error={error} /> : <Box padding="l">Waiting for the next fragment. Nothing is sent to this stream right now.</Box>
        }
        columnDefinitions={[
          {
            id: "number",
            header: "Fragment number",
            isRowHeader: true,
            cell: (c) => (
              <Button variant="inline-link" onClick={() => setOpen(c)}>
                <span className="mono nowrap">…{c.number.slice(-18)}</span>
              </Button>
            ),
          },
          { id: "producer", header: "Producer time", cell: (c) => <span title={day(c.producer)}>{clock(c.producer)}</span> },
          { id: "server", header: "Server time", cell: (c) => <span title={day(c.server)}>{clock(c.server)}</span> },
          {
            id: "state",
            header: "State",
            cell: (c) =>
              c.error ? (
                <StatusIndicator type="error">{c.error}</StatusIndicator>
              ) : c.complete ? (
                <StatusIndicator type="success">complete</StatusIndicator>
              ) : (
                <StatusIndicator type="in-progress">arriving</StatusIndicator>
              ),
          },
          { id: "ack", header: "Acknowledged", cell: (c) => <span className="nowrap"><Ack acked={acks.get(c.number)} /></span> },
          { id: "frames", header: "Frames", cell: (c) => c.frames.length },
          { id: "size", header: "Size", cell: (c) => bytes(c.bytes) },
          { id: "tracks", header: "Tracks", cell: (c) => c.tracks.map((t) => t.codecID).join(", ") },
          { id: "tags", header: "Metadata", cell: (c) => <span className="clipped">{c.tags.map(([k, v]) => `${k}=${v}`).join(", ") || "–"}</span> },
        ]}
      />
      {open && <Details stream={stream} arn={arn} chunk={chunks.find((c) => c.number === open.number) ?? open} acked={acks.get(open.number)} onClose={() => setOpen(undefined)} />}
    </>
  );
}

function Details({ stream, arn, chunk, acked, onClose }: { stream: string; arn: string; chunk: Chunk; acked?: Acked; onClose: () => void }) {
  const { kvs } = useSession();
  const not = useMay("kinesisvideo:GetMediaForFragmentList", arn);
  const [error, setError] = useState<Error>();
  return (
    <Modal
      visible
      size="large"
      onDismiss={onClose}
      closeAriaLabel="Close"
      header="Fragment"
      footer={
        <Box float="right">
          <Button
            iconName="download"
            disabled={!!not}
            disabledReason={not}
            onClick={() =>
              void kvs
                .mediaFor(stream, [chunk.number])
                .then((r) => r.blob())
                .then((b) => save(b, `${stream}-${chunk.number.slice(-12)}.mkv`))
                .catch((e: Error) => setError(e))
            }
          >
            Download MKV
          </Button>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {error && <Problem error={error} />}
        <div className="mono">{chunk.number}</div>
        <div>
          Producer {day(chunk.producer)}, server {day(chunk.server)}, {bytes(chunk.bytes)}
          {chunk.behind !== undefined && `, ${chunk.behind} ms behind now`}
        </div>
        {acked && (
          <div>
            Acknowledged:{" "}
            {(["BUFFERING", "RECEIVED", "PERSISTED", "ERROR"] as const)
              .filter((e) => acked[e])
              .map((e) => `${e} ${e === "ERROR" ? `${acked.errorId} ` : ""}at ${clock(acked[e] ?? 0)}`)
              .join(", ")}
          </div>
        )}
        {chunk.tags.length > 0 && (
          <div className="wrapped">
            Metadata: {chunk.tags.map(([k, v]) => `${k}=${v}`).join(", ")}
          </div>
        )}
        <Table
          variant="embedded"
          items={chunk.frames}
          ariaLabels={{ tableLabel: "Frames" }}
          columnDefinitions={[
            { id: "i", header: "#", cell: (f) => chunk.frames.indexOf(f) + 1 },
            { id: "track", header: "Track", isRowHeader: true, cell: (f) => `${f.track} ${chunk.tracks.find((t) => t.number === f.track)?.codecID ?? ""}` },
            { id: "time", header: "Timecode", cell: (f) => f.timecode },
            { id: "key", header: "Key", cell: (f) => (f.key ? "key" : "") },
            { id: "size", header: "Size", cell: (f) => bytes(f.size) },
          ]}
        />
      </SpaceBetween>
    </Modal>
  );
}
