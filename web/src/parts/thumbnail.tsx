import { useEffect, useRef, useState } from "react";
import { pictureOf } from "../media/picture";
import { useSession } from "../session";

/** Thumbnail draws the first key frame of a fragment; it says why when it cannot. */
export function Thumbnail({ stream, fragment, className = "thumb" }: { stream: string; fragment?: string; className?: string }) {
  const { kvs } = useSession();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [reason, setReason] = useState("no picture");
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (!fragment) return;
    const abort = new AbortController();
    pictureOf(kvs, stream, fragment, abort.signal).then(
      (p) => {
        if (abort.signal.aborted) return;
        if ("reason" in p) {
          setReason(p.reason);
          return;
        }
        const c = canvas.current;
        if (!c) return;
        c.width = c.clientWidth * devicePixelRatio || 192;
        c.height = c.clientHeight * devicePixelRatio || 108;
        c.getContext("2d")?.drawImage(p.bitmap, 0, 0, c.width, c.height);
        p.bitmap.close();
        setShown(true);
      },
      () => {
        if (!abort.signal.aborted) setReason("no picture");
      },
    );
    return () => abort.abort();
  }, [kvs, stream, fragment]);
  return (
    <div className={className}>
      <canvas ref={canvas} style={{ display: shown ? "block" : "none" }} role="img" aria-label={`Newest picture of ${stream}`} />
      {!shown && <span>{reason}</span>}
    </div>
  );
}
