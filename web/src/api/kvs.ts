// The calls of Kinesis Video Streams that the console makes, and Sluice's two
// extensions, with their shapes as the wire has them.
import type { Client } from "./client";

export interface StreamInfo {
  StreamName: string;
  StreamARN: string;
  Status: "CREATING" | "ACTIVE" | "UPDATING" | "DELETING";
  Version: string;
  CreationTime: number;
  DataRetentionInHours: number;
  MediaType?: string | null;
  DeviceName?: string | null;
  KmsKeyId?: string | null;
}

export interface Fragment {
  FragmentNumber: string;
  FragmentSizeInBytes: number;
  ProducerTimestamp: number;
  ServerTimestamp: number;
  FragmentLengthInMilliseconds: number;
}

/** Span is a stretch of time with footage, in seconds since the epoch. */
export interface Span {
  Start: number;
  End: number;
  Fragments: number;
  Bytes: number;
}

export interface TrackInfo {
  Number: number;
  Type: string;
  CodecID: string;
  Codec: string; // RFC 6381, "" when it has no such name
  Width?: number;
  Height?: number;
  SamplingFrequency?: number;
  Channels?: number;
  HasCodecPrivate: boolean;
}

export interface Activity {
  Sessions: { ID: string; Remote: string; UserAgent: string; Since: number; Fragments: number; Bytes: number }[];
  Readers: number;
  LastFragment?: (Fragment & { Durable: boolean }) | null;
  FirstFragment?: Fragment | null;
  FragmentCount: number;
  StoredBytes: number;
  BitsPerSecond: number;
  FramesPerSecond: number;
  FragmentsPerSecond: number;
  ProducerLagMilliseconds: number;
  Tracks: TrackInfo[];
  Acks: { Time: number; EventType: string; FragmentNumber?: string; ErrorId?: number }[]; // newest first
  Errors: { Time: number; ErrorId: number; ErrorCode: string; FragmentNumber?: string; Detail: string }[];
  MemoryBytes: number;
}

export type By = "SERVER_TIMESTAMP" | "PRODUCER_TIMESTAMP";

export class KVS {
  constructor(readonly client: Client) {}

  /** list gives a page of streams by the beginnings of their name and of a tag, as key=value. */
  list(prefix: string, tag: string, token?: string, max = 100, signal?: AbortSignal) {
    return this.client.json<{ StreamInfoList: StreamInfo[]; NextToken?: string | null }>(
      "/listStreams",
      {
        MaxResults: max,
        NextToken: token,
        StreamNameCondition: prefix ? { ComparisonOperator: "BEGINS_WITH", ComparisonValue: prefix } : undefined,
        TagCondition: tag ? { ComparisonOperator: "BEGINS_WITH", ComparisonValue: tag } : undefined,
      },
      signal,
    );
  }

  async describe(name: string, signal?: AbortSignal): Promise<StreamInfo> {
    const r = await this.client.json<{ StreamInfo: StreamInfo }>("/describeStream", { StreamName: name }, signal);
    return r.StreamInfo;
  }

  create(s: { name: string; retention: number; mediaType?: string; device?: string; key?: string; tags?: Record<string, string> }) {
    return this.client.json<{ StreamARN: string }>("/createStream", {
      StreamName: s.name,
      DataRetentionInHours: s.retention,
      MediaType: s.mediaType || undefined,
      DeviceName: s.device || undefined,
      KmsKeyId: s.key || undefined,
      Tags: s.tags && Object.keys(s.tags).length > 0 ? s.tags : undefined,
    });
  }

  remove(s: StreamInfo) {
    return this.client.json<object>("/deleteStream", { StreamARN: s.StreamARN, CurrentVersion: s.Version });
  }

  /** setRetention takes the wanted hours; the API takes a difference. */
  setRetention(s: StreamInfo, hours: number) {
    const difference = hours - s.DataRetentionInHours;
    if (difference === 0) return Promise.resolve({});
    return this.client.json<object>("/updateDataRetention", {
      StreamName: s.StreamName,
      CurrentVersion: s.Version,
      Operation: difference > 0 ? "INCREASE_DATA_RETENTION" : "DECREASE_DATA_RETENTION",
      DataRetentionChangeInHours: Math.abs(difference),
    });
  }

  update(s: StreamInfo, change: { mediaType?: string; device?: string }) {
    return this.client.json<object>("/updateStream", {
      StreamName: s.StreamName,
      CurrentVersion: s.Version,
      MediaType: change.mediaType,
      DeviceName: change.device,
    });
  }

  async tags(name: string): Promise<Record<string, string>> {
    const all: Record<string, string> = {};
    let token: string | undefined;
    do {
      const r = await this.client.json<{ Tags?: Record<string, string> | null; NextToken?: string | null }>("/listTagsForStream", {
        StreamName: name,
        NextToken: token,
      });
      Object.assign(all, r.Tags ?? {});
      token = r.NextToken ?? undefined;
    } while (token);
    return all;
  }

  tag(name: string, tags: Record<string, string>) {
    return this.client.json<object>("/tagStream", { StreamName: name, Tags: tags });
  }

  untag(name: string, keys: string[]) {
    return this.client.json<object>("/untagStream", { StreamName: name, TagKeyList: keys });
  }

  async fragments(name: string, by: By, from: Date, to: Date, max = 1000, signal?: AbortSignal): Promise<Fragment[]> {
    const all: Fragment[] = [];
    let token: string | undefined;
    do {
      const r = await this.client.json<{ Fragments: Fragment[]; NextToken?: string | null }>(
        "/listFragments",
        token
          ? { StreamName: name, NextToken: token }
          : {
              StreamName: name,
              MaxResults: Math.min(max, 1000),
              FragmentSelector: {
                FragmentSelectorType: by,
                TimestampRange: { StartTimestamp: from.getTime() / 1000, EndTimestamp: to.getTime() / 1000 },
              },
            },
        signal,
      );
      all.push(...r.Fragments);
      token = r.NextToken ?? undefined;
    } while (token && all.length < max);
    return all.sort((a, b) => (a.FragmentNumber < b.FragmentNumber ? -1 : 1));
  }

  /** media is the raw answer of GetMedia, from now on. */
  media(name: string, signal: AbortSignal): Promise<Response> {
    return this.client.send(
      "/getMedia",
      JSON.stringify({ StreamName: name, StartSelector: { StartSelectorType: "NOW" } }),
      "application/json",
      "kinesisvideo",
      signal,
    );
  }

  mediaFor(name: string, numbers: string[], signal?: AbortSignal): Promise<Response> {
    return this.client.send(
      "/getMediaForFragmentList",
      JSON.stringify({ StreamName: name, Fragments: numbers }),
      "application/json",
      "kinesisvideo",
      signal,
    );
  }

  /** hls opens a session; skipped names sound that had to be left out. */
  async hls(name: string, range?: { by: By; from: Date; to: Date }): Promise<{ url: string; skipped?: string }> {
    const r = await this.client.json<{ HLSStreamingSessionURL: string; SkippedCodec?: string }>("/getHLSStreamingSessionURL", {
      StreamName: name,
      PlaybackMode: range ? "ON_DEMAND" : "LIVE",
      DisplayFragmentTimestamp: "ALWAYS",
      DiscontinuityMode: "ON_DISCONTINUITY", // at each fragment, sound and picture would wait for each other
      Expires: 43200,
      MaxMediaPlaylistFragmentResults: range ? 5000 : undefined,
      SkipUnsupported: true,
      HLSFragmentSelector: {
        FragmentSelectorType: range?.by ?? "PRODUCER_TIMESTAMP",
        TimestampRange: range ? { StartTimestamp: range.from.getTime() / 1000, EndTimestamp: range.to.getTime() / 1000 } : undefined,
      },
    });
    return { url: r.HLSStreamingSessionURL, skipped: r.SkippedCodec };
  }

  clip(name: string, by: By, from: Date, to: Date, signal?: AbortSignal): Promise<Response> {
    return this.client.send(
      "/getClip",
      JSON.stringify({
        StreamName: name,
        ClipFragmentSelector: {
          FragmentSelectorType: by,
          TimestampRange: { StartTimestamp: from.getTime() / 1000, EndTimestamp: to.getTime() / 1000 },
        },
      }),
      "application/json",
      "kinesisvideo",
      signal,
    );
  }

  timeline(name: string, by: By, from: Date, to: Date, buckets: number, signal?: AbortSignal) {
    return this.client.json<{ Spans: Span[] }>(
      "/getTimeline",
      {
        StreamName: name,
        TimestampType: by,
        StartTimestamp: from.getTime() / 1000,
        EndTimestamp: to.getTime() / 1000,
        Buckets: buckets,
      },
      signal,
    );
  }

  activity(name: string, signal?: AbortSignal): Promise<Activity> {
    return this.client.json<Activity>("/describeStreamActivity", { StreamName: name }, signal);
  }

  /** keys are what a stream can be encrypted with: by alias where there is one, with why a key can't be used now. */
  async keys(): Promise<{ id: string; label: string; description: string; not?: string }[]> {
    const kms = this.client;
    const [keys, aliases] = await Promise.all([
      kms.kms<{ Keys: { KeyId: string; KeyArn: string }[] }>("ListKeys", {}),
      kms.kms<{ Aliases: { AliasName: string; AliasArn: string; TargetKeyId?: string }[] }>("ListAliases", {}),
    ]);
    return Promise.all(
      keys.Keys.slice(0, 100).map(async (k) => {
        const alias = aliases.Aliases.find((a) => a.TargetKeyId === k.KeyId);
        const named = { id: alias?.AliasArn ?? k.KeyArn, label: alias?.AliasName.replace(/^alias\//, "") ?? k.KeyId };
        try {
          const { KeyMetadata: m } = await kms.kms<{ KeyMetadata: { Description: string; KeyState: string; KeyManager: string } }>("DescribeKey", { KeyId: k.KeyId });
          const description = m.Description || (m.KeyManager === "AWS" ? "made and kept by the server" : "");
          return { ...named, description, not: m.KeyState === "Enabled" ? undefined : `The key is ${m.KeyState}.` };
        } catch {
          return { ...named, description: "" }; // who may not describe it may use it all the same
        }
      }),
    );
  }
}
