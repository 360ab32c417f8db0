import Badge from "@cloudscape-design/components/badge";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Header from "@cloudscape-design/components/header";
import Link from "@cloudscape-design/components/link";
import Pagination from "@cloudscape-design/components/pagination";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import Table from "@cloudscape-design/components/table";
import TextFilter from "@cloudscape-design/components/text-filter";
import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { type Activity, type StreamInfo } from "../api/kvs";
import { Problem } from "../parts/problem";
import { useEvery, useMay } from "../hooks";
import { CreateStream } from "../parts/create-stream";
import { DeleteStream } from "../parts/delete-stream";
import { Thumbnail } from "../parts/thumbnail";
import { useSession } from "../session";
import { ago, bits, day, hours } from "../text";

interface Page {
  items: StreamInfo[];
  next?: string; // token of the page after it
}

const pageSize = 50;

/** The list of streams: a page at a time, and nothing is asked about a row that is off screen. */
export default function Streams({ go }: { go: (path: string) => void }) {
  const { kvs } = useSession();
  const [prefix, setPrefix] = useState("");
  const [tag, setTag] = useState("");
  const [pages, setPages] = useState<Page[]>([]);
  const [at, setAt] = useState(0); // the page that is shown
  const [loading, setLoading] = useState(true);
  const [error, setError] = useState<Error>();
  const [creating, setCreating] = useState(false);
  const [deleting, setDeleting] = useState<StreamInfo>();
  const [selected, setSelected] = useState<StreamInfo[]>([]);
  useState(() => details.clear()); // what other pages, or another user, have changed meanwhile
  const mayCreate = useMay("kinesisvideo:CreateStream", "*");

  const mayDelete = useMay("kinesisvideo:DeleteStream", selected[0]?.StreamARN ?? "*");
  const turn = useRef<AbortController>(undefined);

  /** load shows the page after those that are known, or the first one. */
  const load = useCallback(
    async (known: Page[]) => {
      turn.current?.abort();
      const abort = (turn.current = new AbortController());
      setLoading(true);
      try {
        // A page of a tag may come short although there is more.
        const page: Page = { items: [], next: known.at(-1)?.next };
        do {
          const r = await kvs.list(prefix, tag, page.next, pageSize - page.items.length, abort.signal);
          page.items.push(...r.StreamInfoList);
          page.next = r.NextToken ?? undefined;
        } while (page.next && page.items.length < pageSize);
        setPages([...known, page]);
        setAt(known.length);
        setSelected([]);
        setError(undefined);
      } catch (e) {
        if (abort.signal.aborted) return;
        setError(e as Error);
        setPages([]);
      }
      setLoading(false);
    },
    [kvs, prefix, tag],
  );
  useEffect(() => {
    const id = setTimeout(() => void load([]), prefix || tag ? 200 : 0); // while somebody types
    return () => clearTimeout(id);
  }, [load]);
  const items = pages[at]?.items ?? [];
  const more = !!pages.at(-1)?.next;
  const known = pages.reduce((n, p) => n + p.items.length, 0);

  return (
    <>
      <Table
        variant="full-page"
        selectionType="single"
        trackBy="StreamARN"
        items={items}
        loading={loading && items.length === 0}
        loadingText="Loading streams"
        selectedItems={selected}
        onSelectionChange={(e) => setSelected(e.detail.selectedItems)}
        ariaLabels={{ selectionGroupLabel: "Streams", itemSelectionLabel: (_, s) => s.StreamName, tableLabel: "Streams" }}
        header={
          <Header
            variant="h1"
            counter={known ? `(${known}${more ? "+" : ""})` : undefined}
            actions={
              <SpaceBetween direction="horizontal" size="xs">
                <Button iconName="refresh" ariaLabel="Refresh" onClick={() => void load([])} />
                <Button disabled={!selected[0] || !!mayDelete} disabledReason={mayDelete ?? "Choose a stream first."} onClick={() => setDeleting(selected[0])}>
                  Delete
                </Button>
                <Button variant="primary" disabled={!!mayCreate} disabledReason={mayCreate} onClick={() => setCreating(true)}>
                  Create stream
                </Button>
              </SpaceBetween>
            }
          >
            Streams
          </Header>
        }
        filter={
          <SpaceBetween direction="horizontal" size="xs">
            <TextFilter
              filteringText={prefix}
              filteringPlaceholder="Name begins with"
              filteringAriaLabel="Name begins with"
              onChange={(e) => setPrefix(e.detail.filteringText)}
            />
            <TextFilter
              filteringText={tag}
              filteringPlaceholder="Tag, as key=value"
              filteringAriaLabel="Tag begins with, as key=value"
              onChange={(e) => setTag(e.detail.filteringText)}
            />
          </SpaceBetween>
        }
        empty={
          error ? (
            <Problem error={error} />
          ) : (
            <Box textAlign="center" color="inherit" padding="l">
              <SpaceBetween size="m">
                <b>
                  {prefix || tag
                    ? [prefix && `No stream begins with “${prefix}”`, tag && `no stream has a tag “${tag}”`].filter(Boolean).join(", or ").replace(/^n/, "N")
                    : "No streams yet"}
                </b>
                {prefix || tag ? (
                  <Button
                    onClick={() => {
                      setPrefix("");
                      setTag("");
                    }}
                  >
                    Show all
                  </Button>
                ) : (
                  <>
                    <Box variant="p">Create one here, or let a producer create it when it first connects.</Box>
                    <Button disabled={!!mayCreate} disabledReason={mayCreate} onClick={() => setCreating(true)}>
                      Create stream
                    </Button>
                  </>
                )}
              </SpaceBetween>
            </Box>
          )
        }
        columnDefinitions={[
          { id: "thumb", header: "Picture", width: 130, cell: (s) => <Row stream={s} show="picture" /> },
          {
            id: "name",
            header: "Name",
            isRowHeader: true,
            cell: (s) => <Link href={`#/stream/${encodeURIComponent(s.StreamName)}`}>{s.StreamName}</Link>,
          },
          { id: "live", header: "Live", cell: (s) => <Row stream={s} show="live" /> },
          { id: "last", header: "Last fragment", cell: (s) => <Row stream={s} show="last" /> },
          {
            id: "status",
            header: "Status",
            cell: (s) => <StatusIndicator type={s.Status === "ACTIVE" ? "success" : "in-progress"}>{s.Status.toLowerCase()}</StatusIndicator>,
          },
          { id: "media", header: "Media type", cell: (s) => s.MediaType || "–" },
          { id: "retention", header: "Kept", cell: (s) => hours(s.DataRetentionInHours) },
          { id: "tags", header: "Tags", cell: (s) => <Row stream={s} show="tags" tag={tag} /> },
        ]}
        pagination={
          (pages.length > 1 || more) && (
            <Pagination
              currentPageIndex={at + 1}
              pagesCount={pages.length}
              openEnd={more}
              disabled={loading}
              ariaLabels={{ nextPageLabel: "Next page", previousPageLabel: "Previous page", paginationLabel: "Pages of streams", pageLabel: (n) => `Page ${n}` }}
              onChange={(e) => {
                const to = e.detail.currentPageIndex - 1;
                if (to < pages.length) setAt(to);
              }}
              onNextPageClick={(e) => {
                if (!e.detail.requestedPageAvailable) void load(pages);
              }}
            />
          )
        }
      />
      {creating && (
        <CreateStream
          onClose={(name) => {
            setCreating(false);
            if (name) go(`/stream/${encodeURIComponent(name)}`);
          }}
        />
      )}
      {deleting && (
        <DeleteStream
          stream={deleting}
          onClose={(deleted) => {
            setDeleting(undefined);
            setSelected([]);
            if (deleted) void load([]);
          }}
        />
      )}
    </>
  );
}

// What a row shows beyond the list is fetched once it can be seen, and shared by its cells.
const details = new Map<string, { activity?: Activity; tags?: Record<string, string>; at: number; waiting?: Promise<void> }>();

function Row({ stream, show, tag = "" }: { stream: StreamInfo; show: "picture" | "live" | "last" | "tags"; tag?: string }) {
  const { kvs } = useSession();
  const ref = useRef<HTMLDivElement>(null);
  const [visible, setVisible] = useState(false);
  const [, redraw] = useState(0);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const watch = new IntersectionObserver((seen) => setVisible(seen.some((s) => s.isIntersecting)));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  const refresh = useCallback(() => {
    const had = details.get(stream.StreamARN);
    if (had?.waiting) {
      void had.waiting.then(() => redraw((n) => n + 1));
      return;
    }
    if (had && Date.now() - had.at < 4000) {
      redraw((n) => n + 1);
      return;
    }
    const mine: NonNullable<ReturnType<typeof details.get>> = { ...had, at: Date.now() };
    mine.waiting = (async () => {
      const [activity, tags] = await Promise.allSettled([
        kvs.activity(stream.StreamName),
        had?.tags ? Promise.resolve(had.tags) : kvs.tags(stream.StreamName),
      ]);
      if (activity.status === "fulfilled") mine.activity = activity.value;
      else if (activity.reason instanceof ApiError && activity.reason.denied) mine.at = Infinity; // not to be asked again
      if (tags.status === "fulfilled") mine.tags = tags.value;
      mine.waiting = undefined;
      redraw((n) => n + 1);
    })();
    details.set(stream.StreamARN, mine);
  }, [kvs, stream.StreamARN, stream.StreamName]);
  useEffect(() => {
    if (visible) refresh();
  }, [visible, refresh]);
  useEvery(5000, () => {
    if (visible) refresh();
  });

  const d = details.get(stream.StreamARN);
  const a = d?.activity;
  let content: React.ReactNode = "–";
  switch (show) {
    case "picture":
      content = <Thumbnail stream={stream.StreamName} fragment={visible && a?.LastFragment?.Durable ? a.LastFragment.FragmentNumber : undefined} />;
      break;
    case "live":
      if (a) content = a.Sessions.length > 0 ? <span className="nowrap"><Badge color="red">Live · {bits(a.BitsPerSecond)}</Badge></span> : <Badge>Off</Badge>;
      break;
    case "last":
      if (a) {
        const t = a.LastFragment?.ServerTimestamp;
        content = t ? <span title={day(t * 1000)}>{ago(t * 1000)}</span> : "none";
      }
      break;
    case "tags": {
      const all = Object.entries(d?.tags ?? {});
      const hit = ([k, v]: [string, string]) => tag !== "" && `${k}=${v}`.startsWith(tag);
      all.sort((x, y) => Number(hit(y)) - Number(hit(x))); // what was searched for comes first
      content = (
        <SpaceBetween direction="horizontal" size="xxs">
          {all.slice(0, 4).map(([k, v]) => (
            <span key={k} className="nowrap">
              <Badge color={hit([k, v]) ? "blue" : "grey"}>{v ? `${k}=${v}` : k}</Badge>
            </span>
          ))}
          {all.length > 4 && <Box color="text-body-secondary">and {all.length - 4} more</Box>}
        </SpaceBetween>
      );
    }
  }
  return <div ref={ref}>{content}</div>;
}
