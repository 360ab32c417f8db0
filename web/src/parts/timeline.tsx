import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import type { By, Fragment, Span } from "../api/kvs";
import { pictureOf } from "../media/picture";
import { Problem } from "./problem";
import { useSession } from "../session";
import { clock, day } from "../text";

export interface Range {
  from: number;
  to: number;
}

/** What was loaded, for which view; see Timeline. */
interface Loaded extends Range {
  span: number; // length of the view that it was loaded for
  round: number;
  of: string;
  spans: Span[];
}

/**
 * Timeline shows where there is footage. Wheel or +/- zooms, dragging or arrows pan, a click goes to a
 * time, dragging with shift selects a range. Only the visible stretch is asked for, at its own resolution.
 */
export function Timeline(props: {
  stream: string;
  by: By;
  view: Range;
  onView: (r: Range) => void;
  selection?: Range;
  onSelect: (r: Range | undefined) => void;
  onPick: (ms: number) => void;
  position?: number;
  horizon: number; // the oldest moment that can be kept
}) {
  const { kvs } = useSession();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [loaded, setLoaded] = useState<Loaded>();
  const [failed, setFailed] = useState<Error>();
  const denied = failed instanceof ApiError && failed.denied;
  const [hover, setHover] = useState<{ x: number; ms: number }>();
  const drag = useRef<{ x: number; view: Range; select: boolean; moved: boolean }>(null);
  const { selection, position, horizon } = props;
  // While it is panned the view is kept here and drawn at once; the page around
  // it hears of it a few times a second.
  const shown = useRef(props.view);
  if (!drag.current?.moved) shown.current = props.view;
  const onView = useRef(props.onView);
  onView.current = props.onView;
  const telling = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(telling.current), []);

  // What is loaded reaches half a view to both sides. It is asked for again when
  // the view leaves it or needs another resolution, and where it moves with now.
  const { from, to } = props.view;
  const span = to - from;
  const nowShown = to > Date.now() && from < Date.now();
  const fits =
    loaded && loaded.of === props.stream + props.by && from >= loaded.from && to <= loaded.to && span > loaded.span * 0.6 && span < loaded.span * 1.5;
  const round = nowShown ? Math.floor(Date.now() / Math.min(Math.max(span / 1000, 2000), 15_000)) : 0;
  const busy = useRef(false);
  useEffect(() => {
    // While an answer is on its way none else is asked for; it brings us here again.
    if ((fits && loaded.round === round) || busy.current || denied) return;
    const id = setTimeout(
      () => {
        busy.current = true;
        const pad = span / 2; // so that panning shows something at once
        const asked = { from: from - pad, to: to + pad };
        kvs
          .timeline(props.stream, props.by, new Date(asked.from), new Date(asked.to), 2000)
          .finally(() => (busy.current = false))
          .then(
            (r) => {
              setLoaded({ ...asked, span, round, of: props.stream + props.by, spans: r.Spans });
              setFailed(undefined);
            },
            (e: Error) => setFailed(e),
          );
      },
      loaded ? 100 : 0,
    );
    return () => clearTimeout(id);
  }, [kvs, props.stream, props.by, from, to, fits, round, loaded, denied]);

  const draw = useCallback(() => {
    const c = canvas.current;
    const g = c?.getContext("2d");
    if (!c || !g) return;
    const view = shown.current;
    const style = getComputedStyle(c);
    const w = c.clientWidth;
    const h = c.clientHeight;
    const dpr = devicePixelRatio;
    if (c.width !== Math.round(w * dpr)) c.width = Math.round(w * dpr);
    if (c.height !== Math.round(h * dpr)) c.height = Math.round(h * dpr);
    g.setTransform(dpr, 0, 0, dpr, 0, 0);
    const dark = document.body.classList.contains("awsui-dark-mode");
    const ink = style.color;
    g.fillStyle = dark ? "#1b232d" : "#eef1f4";
    g.fillRect(0, 0, w, h);
    const x = (ms: number) => ((ms - view.from) / (view.to - view.from)) * w;
    if (horizon > view.from) {
      g.fillStyle = dark ? "#2a2320" : "#f6ece4";
      g.fillRect(0, 0, Math.min(w, x(horizon)), h - 22);
    }
    g.fillStyle = dark ? "#42b4ff" : "#0972d3";
    for (const s of loaded?.spans ?? []) {
      const a = x(s.Start * 1000);
      const b = x(s.End * 1000);
      if (b < 0 || a > w) continue;
      g.fillRect(a, 16, Math.max(1, b - a), h - 44);
    }
    const now = x(Date.now());
    g.fillStyle = dark ? "#0f141a" : "#ffffff";
    if (now < w) g.fillRect(Math.max(0, now), 0, w - Math.max(0, now), h - 22);
    if (selection) {
      g.fillStyle = "rgba(255, 153, 0, 0.35)";
      g.fillRect(x(selection.from), 0, x(selection.to) - x(selection.from), h - 22);
      g.fillStyle = "#d45b07";
      g.fillRect(x(selection.from) - 1, 0, 2, h - 22);
      g.fillRect(x(selection.to) - 1, 0, 2, h - 22);
    }
    if (position !== undefined) {
      g.fillStyle = "#d91515";
      g.fillRect(x(position) - 1, 0, 2, h - 20);
    }
    // The ruler, with the step that leaves room for its labels.
    g.fillStyle = ink;
    g.font = "11px sans-serif";
    g.textAlign = "center";
    const step = steps.find((s) => (s / (view.to - view.from)) * w > 78) ?? 86_400_000 * 7;
    for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) {
      g.fillRect(x(t), h - 22, 1, 5);
      const text = step >= 86_400_000 ? new Date(t).toISOString().slice(5, 10) : step >= 60_000 ? clock(t).slice(0, 5) : clock(t).slice(0, 8);
      g.fillText(t % 86_400_000 === 0 ? new Date(t).toISOString().slice(0, 10) : text, x(t), h - 5);
    }
  }, [loaded, props.view, selection, position, horizon]);
  const drawing = useRef(0);
  const latest = useRef(draw);
  latest.current = draw;
  const redraw = useCallback(() => {
    cancelAnimationFrame(drawing.current);
    drawing.current = requestAnimationFrame(() => latest.current());
  }, []);
  useEffect(redraw, [draw, redraw]);
  useEffect(() => () => cancelAnimationFrame(drawing.current), []);

  /** move pans to a view: drawn with the next frame, told when there is time. */
  const move = (v: Range) => {
    shown.current = v;
    redraw();
    telling.current ??= setTimeout(() => {
      telling.current = undefined;
      onView.current(shown.current);
    }, 150);
  };
  useEffect(() => {
    addEventListener("resize", draw);
    return () => removeEventListener("resize", draw);
  }, [draw]);

  const at = (clientX: number) => {
    const box = canvas.current?.getBoundingClientRect();
    const view = shown.current;
    if (!box) return view.from;
    return view.from + ((clientX - box.left) / box.width) * (view.to - view.from);
  };
  const { view } = props;
  const zoom = (factor: number, around: number) => {
    const span = Math.min(Math.max((view.to - view.from) * factor, 5_000), 400 * 86_400_000);
    const share = (around - view.from) / (view.to - view.from);
    props.onView({ from: around - share * span, to: around + (1 - share) * span });
  };
  // React's wheel listeners are passive; zooming must keep the page still.
  const wheel = useRef(zoom);
  wheel.current = zoom;
  useEffect(() => {
    const c = canvas.current;
    if (!c) return;
    const on = (e: WheelEvent) => {
      e.preventDefault();
      wheel.current(e.deltaY > 0 ? 1.25 : 0.8, at(e.clientX));
    };
    c.addEventListener("wheel", on, { passive: false });
    return () => c.removeEventListener("wheel", on);
  });

  return (
    <div style={{ position: "relative" }}>
      <canvas
        ref={canvas}
        className="timeline"
        tabIndex={0}
        role="slider"
        aria-label="Timeline of footage. Arrow keys pan, plus and minus zoom, enter plays from the middle."
        aria-valuemin={view.from}
        aria-valuemax={view.to}
        aria-valuenow={position ?? (view.from + view.to) / 2}
        aria-valuetext={day(position ?? (view.from + view.to) / 2)}
        onPointerDown={(e) => {
          e.currentTarget.setPointerCapture(e.pointerId);
          drag.current = { x: e.clientX, view: shown.current, select: e.shiftKey, moved: false };
          if (e.shiftKey) props.onSelect({ from: at(e.clientX), to: at(e.clientX) });
        }}
        onPointerMove={(e) => {
          const box = e.currentTarget.getBoundingClientRect();
          const d = drag.current;
          if (!d) {
            setHover({ x: e.clientX - box.left, ms: at(e.clientX) });
            return;
          }
          if (Math.abs(e.clientX - d.x) > 3 && !d.moved) {
            d.moved = true;
            setHover(undefined);
          }
          if (d.select) {
            const a = d.view.from + ((d.x - box.left) / box.width) * (d.view.to - d.view.from);
            const b = at(e.clientX);
            props.onSelect({ from: Math.min(a, b), to: Math.max(a, b) });
          } else if (d.moved) {
            const shift = ((d.x - e.clientX) / box.width) * (d.view.to - d.view.from);
            move({ from: d.view.from + shift, to: d.view.to + shift });
          }
        }}
        onPointerUp={(e) => {
          const d = drag.current;
          drag.current = null;
          if (d?.moved && !d.select) {
            clearTimeout(telling.current);
            telling.current = undefined;
            props.onView(shown.current);
          }
          if (d && !d.moved && !d.select) props.onPick(at(e.clientX));
        }}
        onPointerCancel={() => (drag.current = null)}
        onPointerLeave={() => setHover(undefined)}
        onKeyDown={(e) => {
          const span = view.to - view.from;
          const middle = (view.from + view.to) / 2;
          if (e.key === "ArrowLeft") props.onView({ from: view.from - span / 10, to: view.to - span / 10 });
          else if (e.key === "ArrowRight") props.onView({ from: view.from + span / 10, to: view.to + span / 10 });
          else if (e.key === "+" || e.key === "=") zoom(0.8, middle);
          else if (e.key === "-") zoom(1.25, middle);
          else if (e.key === "Enter") props.onPick(middle);
          else return;
          e.preventDefault();
        }}
      />
      {failed && <Problem header="What footage there is can't be shown" error={failed} type="warning" />}
      {hover && <Preview stream={props.stream} by={props.by} x={hover.x} ms={hover.ms} />}
    </div>
  );
}

const steps = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400].map((s) => s * 1000);

/** Preview shows the picture under the pointer once it rests for a moment. */
function Preview({ stream, by, x, ms }: { stream: string; by: By; x: number; ms: number }) {
  const { kvs } = useSession();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [note, setNote] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    const id = setTimeout(() => {
      void (async () => {
        try {
          const near = await kvs.fragments(stream, by, new Date(ms - 12_000), new Date(ms), 50, abort.signal);
          const start = (f: Fragment) => (by === "PRODUCER_TIMESTAMP" ? f.ProducerTimestamp : f.ServerTimestamp) * 1000;
          const hit = near.filter((f) => start(f) + Math.max(f.FragmentLengthInMilliseconds, 1000) * 1.2 >= ms).pop();
          if (abort.signal.aborted) return;
          if (!hit) {
            setNote("no footage");
            return;
          }
          const p = await pictureOf(kvs, stream, hit.FragmentNumber, abort.signal);
          if (abort.signal.aborted) return;
          if ("reason" in p) {
            setNote(p.reason);
            return;
          }
          canvas.current?.getContext("2d")?.drawImage(p.bitmap, 0, 0, 192, 108);
          p.bitmap.close();
          setNote("");
        } catch {
          // A preview that cannot be had is no news.
        }
      })();
    }, 180);
    return () => {
      clearTimeout(id);
      abort.abort();
    };
  }, [kvs, stream, by, Math.round(ms / 500)]);
  return (
    <div className="timeline-preview" style={{ left: `clamp(100px, ${x}px, calc(100% - 100px))` }} aria-hidden="true">
      <canvas ref={canvas} width={192} height={108} />
      {note || day(ms)}
    </div>
  );
}
