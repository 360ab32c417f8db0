// Reads the answer of GetMedia as it arrives: chunks with their tags and frames.
// Only what the console shows is read; unknown elements are passed over.

export interface FrameInfo {
  track: number;
  timecode: number; // ticks, absolute
  key: boolean;
  size: number;
}

export interface Chunk {
  number: string;
  server: number; // ms
  producer: number; // ms
  behind?: number; // ms
  error?: string;
  tags: [string, string][]; // the producer's
  tracks: { number: number; type: number; codecID: string; codecPrivate: Uint8Array }[];
  frames: FrameInfo[];
  firstKey?: { track: number; data: Uint8Array };
  bytes: number;
  complete: boolean;
}

const EBML = 0x1a45dfa3;
const SEGMENT = 0x18538067;
const CLUSTER = 0x1f43b675;
const MASTERS = new Set([SEGMENT, CLUSTER, 0x1654ae6b, 0xae, 0x1254c367, 0x7373, 0x67c8, 0xa0, 0x1549a966]);
const text = new TextDecoder();

/**
 * ChunkReader takes bytes and calls back with each chunk: once when its leading
 * tags have come, and again as it grows, until it is complete.
 */
export class ChunkReader {
  private buf = new Uint8Array(0);
  private chunk = blank();
  private cluster = 0;
  private track = { number: 0, type: 0, codecID: "", codecPrivate: new Uint8Array(0) };
  private tagName = "";
  private told = 0; // when on was last called

  constructor(private readonly on: (c: Chunk) => void) {}

  push(p: Uint8Array) {
    const joined = new Uint8Array(this.buf.length + p.length);
    joined.set(this.buf);
    joined.set(p, this.buf.length);
    let at = 0;
    for (;;) {
      const used = this.element(joined, at);
      if (used === 0) break;
      at += used;
    }
    this.buf = joined.slice(at);
    // It grows with every frame; those who look need that a few times a second.
    if (this.chunk.producer && !this.chunk.complete && performance.now() - this.told > 300) this.tell();
    if (this.buf.length > 64 << 20) throw new Error("an element over 64 MB");
  }

  /** element reads the element at at: the bytes it used, 0 when it needs more. */
  private element(b: Uint8Array, at: number): number {
    const id = vint(b, at, true);
    if (!id) return 0;
    const size = vint(b, at + id.length, false);
    if (!size) return 0;
    const head = id.length + size.length;
    if (id.value === EBML) {
      if (this.chunk.number) this.end();
      this.chunk = blank();
    }
    if (MASTERS.has(id.value)) {
      if (id.value === 0xae) {
        this.track = { number: 0, type: 0, codecID: "", codecPrivate: new Uint8Array(0) };
        this.chunk.tracks.push(this.track);
      }
      this.chunk.bytes += head;
      return head;
    }
    if (b.length < at + head + size.value) return 0;
    this.data(id.value, b.subarray(at + head, at + head + size.value));
    this.chunk.bytes += head + size.value;
    return head + size.value;
  }

  private data(id: number, d: Uint8Array) {
    switch (id) {
      case 0xd7:
        this.track.number = uint(d);
        break;
      case 0x83:
        this.track.type = uint(d);
        break;
      case 0x86:
        this.track.codecID = text.decode(d).replace(/\0+$/, "");
        break;
      case 0x63a2:
        this.track.codecPrivate = d.slice();
        break;
      case 0xe7:
        this.cluster = uint(d);
        break;
      case 0xa3:
      case 0xa1:
        this.block(id === 0xa3, d);
        break;
      case 0x45a3:
        this.tagName = text.decode(d);
        break;
      case 0x4487:
        this.tag(this.tagName, text.decode(d));
        break;
    }
  }

  private block(simple: boolean, d: Uint8Array) {
    const n = vint(d, 0, false);
    if (!n || d.length < n.length + 3) return;
    const rel = (((d[n.length] ?? 0) << 8) | (d[n.length + 1] ?? 0)) << 16 >> 16;
    const key = simple && ((d[n.length + 2] ?? 0) & 0x80) !== 0;
    const data = d.subarray(n.length + 3);
    this.chunk.frames.push({ track: n.value, timecode: this.cluster + rel, key, size: data.length });
    if (key && !this.chunk.firstKey && this.chunk.tracks.find((t) => t.number === n.value)?.type === 1) {
      this.chunk.firstKey = { track: n.value, data: data.slice() };
    }
  }

  private tag(name: string, value: string) {
    const c = this.chunk;
    switch (name) {
      case "AWS_KINESISVIDEO_FRAGMENT_NUMBER":
        c.number = value;
        break;
      case "AWS_KINESISVIDEO_SERVER_TIMESTAMP":
        c.server = Math.round(Number(value) * 1000);
        break;
      case "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP":
        c.producer = Math.round(Number(value) * 1000);
        this.tell();
        break;
      case "AWS_KINESISVIDEO_MILLIS_BEHIND_NOW":
        c.behind = Number(value);
        break;
      case "AWS_KINESISVIDEO_CONTINUATION_TOKEN":
        c.complete = true;
        this.tell();
        break;
      case "AWS_KINESISVIDEO_ERROR_CODE":
      case "AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE":
        c.error = value;
        break;
      default:
        if (!name.startsWith("AWS_KINESISVIDEO_")) c.tags.push([name, value]);
    }
  }

  /** end says that no more bytes come, or that the next chunk begins. */
  end() {
    if (this.chunk.number) this.tell();
  }

  private tell() {
    this.told = performance.now();
    this.on({ ...this.chunk });
  }
}

function blank(): Chunk {
  return { number: "", server: 0, producer: 0, tags: [], tracks: [], frames: [], bytes: 0, complete: false };
}

/** vint reads a variable-length number; with keep its marker bit stays, as ids want it. */
function vint(b: Uint8Array, at: number, keep: boolean): { value: number; length: number } | undefined {
  const first = b[at];
  if (first === undefined || first === 0) return undefined;
  const length = Math.clz32(first) - 23;
  if (b.length < at + length) return undefined;
  let value = keep ? first : first & (0xff >> length);
  for (let i = 1; i < length; i++) value = value * 256 + (b[at + i] ?? 0);
  return { value, length };
}

function uint(d: Uint8Array): number {
  let v = 0;
  for (const x of d) v = v * 256 + x;
  return v;
}

/** readChunks follows an answer to its end, or until the signal. */
export async function readChunks(answer: Response, on: (c: Chunk) => void): Promise<void> {
  const reader = new ChunkReader(on);
  const body = answer.body?.getReader();
  if (!body) return;
  for (;;) {
    const { done, value } = await body.read();
    if (done) break;
    reader.push(value);
  }
  reader.end();
}
