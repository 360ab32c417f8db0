// A key frame becomes a picture, decoded by the browser itself (WebCodecs).
import type { KVS } from "../api/kvs";
import { type Chunk, readChunks } from "./chunks";

export type Picture = { bitmap: ImageBitmap; time: number } | { reason: string };

/** pictureOf fetches one fragment and decodes its first key frame. */
export async function pictureOf(kvs: KVS, stream: string, fragment: string, signal?: AbortSignal): Promise<Picture> {
  let chunk: Chunk | undefined;
  await readChunks(await kvs.mediaFor(stream, [fragment], signal), (c) => (chunk = c));
  if (!chunk) return { reason: "the fragment is empty" };
  return decode(chunk);
}

async function decode(c: Chunk): Promise<Picture> {
  const track = c.tracks.find((t) => t.type === 1);
  if (!track) return { reason: "no video track" };
  if (!c.firstKey) return { reason: "no key frame in the fragment" };
  const codec = codecString(track.codecID, track.codecPrivate);
  if (!codec) return { reason: `this browser does not decode ${track.codecID}` };
  if (typeof VideoDecoder === "undefined") return { reason: "this browser decodes single pictures over https or localhost only" };
  const config: VideoDecoderConfig = { codec, description: track.codecPrivate, optimizeForLatency: true };
  if (!(await VideoDecoder.isConfigSupported(config).catch(() => ({ supported: false }))).supported) {
    return { reason: `this browser does not decode ${codec}` };
  }
  return new Promise((resolve) => {
    const decoder = new VideoDecoder({
      output: (frame) => {
        createImageBitmap(frame).then(
          (bitmap) => resolve({ bitmap, time: c.producer }),
          () => resolve({ reason: "the picture could not be drawn" }),
        );
        frame.close();
      },
      error: (e) => resolve({ reason: e.message }),
    });
    decoder.configure(config);
    decoder.decode(new EncodedVideoChunk({ type: "key", timestamp: 0, data: c.firstKey?.data ?? new Uint8Array() }));
    decoder.flush().then(
      () => {
        decoder.close();
        resolve({ reason: "the decoder gave no picture" });
      },
      (e: Error) => resolve({ reason: e.message }),
    );
  });
}

function codecString(codecID: string, cpd: Uint8Array): string | undefined {
  const hex = (n: number | undefined) => (n ?? 0).toString(16).padStart(2, "0");
  if (codecID === "V_MPEG4/ISO/AVC" && cpd.length > 6 && cpd[0] === 1) return `avc1.${hex(cpd[1])}${hex(cpd[2])}${hex(cpd[3])}`;
  if (codecID === "V_MPEGH/ISO/HEVC" && cpd.length > 22) return "hvc1.1.6.L120.90";
  if (codecID === "V_VP9") return "vp09.00.10.08";
  return undefined;
}
