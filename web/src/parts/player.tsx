import Hls from "hls.js";
import { memo, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import type { By } from "../api/kvs";
import { useSession } from "../session";
import { day, errorText } from "../text";
import { More } from "./problem";

/** range says that the end was chosen: playing stops there. */
export type Watch = { live: true } | { live: false; by: By; from: Date; to: Date; range?: boolean };

const opened = new WeakSet<Hls>();

/**
 * end destroys a player, but not before the browser has opened its source: hls.js takes back the
 * URL of the source at once, and a browser still on its way to it would log a file not found.
 */
function end(player: Hls) {
  player.stopLoad();
  if (opened.has(player)) {
    player.destroy();
    return;
  }
  // A source that another player has taken over never opens; a slow machine opens one late.
  const late = setTimeout(() => player.destroy(), 30_000);
  player.once(Hls.Events.MEDIA_ATTACHED, () => {
    clearTimeout(late);
    player.destroy();
  });
}

/**
 * Player plays live, or a range on demand, by a session URL like any other player's. It shows the
 * producer's time of the picture and how far behind now it is; when there is no picture it says why.
 * While wait gives a reason it asks for nothing.
 */
export const Player = memo(function Player(props: {
  stream: string;
  watch: Watch;
  onTime?: (ms: number) => void;
  onEnd?: () => void;
  seek?: number;
  wait?: string;
  codec?: string; // of the picture, as RFC 6381 names it, for who lacks it
}) {
  const { stream, watch, onTime, seek, wait } = props;
  const { kvs } = useSession();
  const video = useRef<HTMLVideoElement>(null);
  const hls = useRef<Hls>(null);
  const [message, setMessage] = useState<{ text: string; more?: string }>();
  const [time, setTime] = useState<number>();
  const [sound, setSound] = useState("");
  const tell = useRef(onTime);
  tell.current = onTime;
  const wanted = useRef<number>(undefined); // a moment to go to once it can be
  const codec = useRef(props.codec);
  codec.current = props.codec;
  const id = watch.live ? "live" : `${watch.by} ${watch.from.getTime()} ${watch.to.getTime()}`;

  useEffect(() => {
    const element = video.current;
    if (!element) return;
    setTime(undefined);
    if (wait) {
      setMessage({ text: wait });
      return;
    }
    let gone = false;
    let retry: ReturnType<typeof setTimeout> | undefined;
    let player: Hls | undefined;
    let last: number | undefined; // the time of the picture

    const start = async () => {
      setMessage({ text: "Loading…" });
      setSound("");
      let url: string;
      try {
        const session = await kvs.hls(stream, watch.live ? undefined : watch);
        url = session.url;
        if (session.skipped) setSound(`without sound: ${session.skipped}`);
        // hls.js reads parts as they arrive: a second behind instead of four.
        if (watch.live && Hls.isSupported()) url += "&LowLatency=1";
      } catch (e) {
        if (gone) return;
        setMessage({ text: errorText(e as Error), more: e instanceof ApiError ? e.more : undefined });
        if (watch.live && !(e instanceof ApiError && e.denied)) retry = setTimeout(() => void start(), 3000); // a camera may come
        return;
      }
      if (gone) return;
      if (!Hls.isSupported()) {
        element.src = url; // Safari plays HLS by itself
        setMessage(undefined);
        return;
      }
      player = new Hls({
        // The first picture counts more than a long buffer.
        liveSyncDuration: watch.live ? 1 : undefined,
        liveMaxLatencyDuration: watch.live ? 6 : undefined,
        maxLiveSyncPlaybackRate: 1.1,
        maxBufferLength: 20,
        backBufferLength: 60,
        enableWorker: false,
      });
      hls.current = player;
      const it = player;
      it.once(Hls.Events.MEDIA_ATTACHED, () => opened.add(it));
      it.on(Hls.Events.ERROR, (_, data) => {
        if (!data.fatal) return;
        end(it);
        hls.current = null;
        if (gone) return;
        if (data.response?.code === 403) {
          // The session is over: a new one goes on where this one was, or says
          // why there is none.
          const at = last;
          if (!watch.live) wanted.current = at;
          retry = setTimeout(() => void start(), 500);
          return;
        }
        const lacks = data.details === "bufferAddCodecError" || data.details === "manifestIncompatibleCodecsError";
        setMessage(
          lacks
            ? {
                text: `This browser does not play the stream's codec${codec.current ? ` (${codec.current})` : ""}. Download a clip, or watch with sluice play.`,
                more: "/console/docs/troubleshooting.html#browser-codec",
              }
            : { text: `The picture stopped (${data.details}).` },
        );
        if (watch.live) retry = setTimeout(() => void start(), lacks ? 30_000 : 2000);
      });
      it.on(Hls.Events.MANIFEST_PARSED, () => {
        setMessage(undefined);
        void element.play().catch(() => {
          element.muted = true;
          void element.play().catch(() => setMessage({ text: "Press play." }));
        });
      });
      it.loadSource(url);
      it.attachMedia(element);
    };
    void start();
    const clock = setInterval(() => {
      const at = hls.current?.playingDate?.getTime();
      if (at !== undefined) {
        if (wanted.current !== undefined && element.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) {
          element.currentTime += (wanted.current - at) / 1000;
          wanted.current = undefined;
          return;
        }
        last = at;
        setTime(at);
        tell.current?.(at);
      }
    }, 200);
    return () => {
      gone = true;
      clearTimeout(retry);
      clearInterval(clock);
      if (player) end(player);
      hls.current = null;
    };
    // id stands for watch: the same range is the same session.
  }, [kvs, stream, id, wait]);

  // A click on the timeline moves inside a range that is loaded already.
  useEffect(() => {
    const element = video.current;
    const at = hls.current?.playingDate?.getTime();
    if (seek === undefined || !element) return;
    // The session that holds the moment may be on its way; the clock goes there.
    if (watch.live || at === undefined || at < watch.from.getTime() || at > watch.to.getTime()) wanted.current = seek;
    else element.currentTime += (seek - at) / 1000;
  }, [seek]);
  useEffect(() => {
    if (watch.live) wanted.current = undefined;
  }, [watch.live]);

  return (
    <div className="player">
      <video ref={video} controls playsInline muted={watch.live} onEnded={props.onEnd} aria-label={`Video of ${stream}`} />
      <div className="player-badge" aria-hidden="true">
        {watch.live && time !== undefined && !message && <span className="live">LIVE</span>}
        {time !== undefined && !message && <span data-testid="clock">{day(time)}</span>}
        {watch.live && time !== undefined && !message && <span>{((Date.now() - time) / 1000).toFixed(1)} s behind</span>}
        {sound && <span>{sound}</span>}
      </div>
      {message && (
        <div className="player-message" role="status">
          <div>
            {message.text} <More to={message.more} />
          </div>
        </div>
      )}
    </div>
  );
});
