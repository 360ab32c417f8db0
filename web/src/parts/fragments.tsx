import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Header from "@cloudscape-design/components/header";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import Table from "@cloudscape-design/components/table";
import Toggle from "@cloudscape-design/components/toggle";
import { useEffect, useState } from "react";
import { errorText } from "../app";
import { type Chunk, readChunks } from "../media/chunks";
import { useSession } from "../session";
import { bytes, clock, day } from "../text";
import { save } from "./save";

/** Fragments as they arrive, over one GetMedia connection while the table can be seen. */
export function Fragments({ stream }: { stream: string }) {
  const { kvs } = useSession();
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
          await readChunks(answer, (c) =>
            setChunks((old) => {
              const at = old.findIndex((o) => o.number === c.number);
              return at < 0 ? [c, ...old].slice(0, 200) : old.map((o, i) => (i === at ? c : o));
            }),
          );
        } catch (e) {
          if (abort.signal.aborted) return;
          setError(e as Error);
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
            description="Fragments as they arrive; the newest first."
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
          error ? <Alert type="error">{errorText(error)}</Alert> : <Box padding="l">Waiting for the next fragment. Nothing is sent to this stream right now.</Box>
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
          { id: "frames", header: "Frames", cell: (c) => c.frames.length },
          { id: "size", header: "Size", cell: (c) => bytes(c.bytes) },
          { id: "tracks", header: "Tracks", cell: (c) => c.tracks.map((t) => t.codecID).join(", ") },
          { id: "tags", header: "Metadata", cell: (c) => <span className="clipped">{c.tags.map(([k, v]) => `${k}=${v}`).join(", ") || "–"}</span> },
        ]}
      />
      {open && <Details stream={stream} chunk={open} onClose={() => setOpen(undefined)} />}
    </>
  );
}

function Details({ stream, chunk, onClose }: { stream: string; chunk: Chunk; onClose: () => void }) {
  const { kvs } = useSession();
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
        {error && <Alert type="error">{errorText(error)}</Alert>}
        <div className="mono">{chunk.number}</div>
        <div>
          Producer {day(chunk.producer)}, server {day(chunk.server)}, {bytes(chunk.bytes)}
          {chunk.behind !== undefined && `, ${chunk.behind} ms behind now`}
        </div>
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
