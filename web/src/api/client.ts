// Signed calls to the server this page came from, the way every AWS SDK makes
// them. The console has no other way in: what a user may not do, it cannot do.
import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";

export interface Keys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

export interface ServerInfo {
  region: string;
  account: string;
  version: string;
}

/** ApiError is an exception of the service, or what stopped us from reaching it. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status: number,
    readonly requestId: string,
    /** more is where the docs answer this error: a page of this server. */
    readonly more?: string,
  ) {
    super(message);
  }

  get denied(): boolean {
    return this.code === "AccessDeniedException" || this.code === "AccessDenied" || this.code === "NotAuthorizedException";
  }

  /** help says what to do about it, where that can be said in a line. */
  get help(): string | undefined {
    switch (this.code) {
      case "InvalidSignatureException":
      case "SignatureDoesNotMatch":
        return "The secret key is wrong, or the clocks of this computer and the server differ by more than 15 minutes.";
      case "UnrecognizedClientException":
      case "InvalidClientTokenId":
        return "The server does not know this access key. It may have been deleted.";
      case "ExpiredTokenException":
      case "ExpiredToken":
        return "Sign out, and in again.";
      default:
        return undefined;
    }
  }
}

export class Client {
  private offset = 0; // ms the server's clock is ahead of ours

  constructor(
    readonly keys: Keys,
    readonly server: ServerInfo,
  ) {}

  private signer(service: string) {
    return new SignatureV4({
      service,
      region: this.server.region,
      sha256: Sha256,
      applyChecksum: false,
      credentials: this.keys,
    });
  }

  /** send signs and sends one request; a body that is not ok becomes an ApiError. */
  async send(path: string, body: string, contentType: string, service: string, signal?: AbortSignal): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      const signed = await this.signer(service).sign(
        {
          method: "POST",
          protocol: location.protocol,
          hostname: location.hostname,
          port: location.port ? Number(location.port) : undefined,
          path,
          query: {},
          headers: { host: location.host, "content-type": contentType },
          body,
        },
        { signingDate: new Date(Date.now() + this.offset) },
      );
      const { host: _host, ...headers } = signed.headers;
      let answer: Response;
      try {
        answer = await fetch(path, { method: "POST", headers, body, signal });
      } catch (e) {
        if (signal?.aborted) throw e;
        throw new ApiError("Unreachable", "The server does not answer. Is it still running?", 0, "");
      }
      if (answer.ok) return answer;
      const error = await readError(answer);
      // A wrong clock is mended once, as the SDKs do: the server says its time.
      const serverTime = Date.parse(answer.headers.get("date") ?? "");
      if (attempt === 0 && error.code === "InvalidSignatureException" && Math.abs(serverTime - Date.now()) > 4 * 60_000) {
        this.offset = serverTime - Date.now();
        continue;
      }
      throw error;
    }
  }

  async json<T>(path: string, input: object, signal?: AbortSignal): Promise<T> {
    const answer = await this.send(path, JSON.stringify(input), "application/json", "kinesisvideo", signal);
    const text = await answer.text();
    return (text ? JSON.parse(text) : {}) as T;
  }

  /** query makes a call of IAM's Query API and returns its result element. */
  async query(action: string, input: Record<string, string | undefined>, service = "iam", signal?: AbortSignal): Promise<Element> {
    const form = new URLSearchParams({ Action: action, Version: service === "sts" ? "2011-06-15" : "2010-05-08" });
    for (const [k, v] of Object.entries(input)) if (v !== undefined) form.set(k, v);
    const answer = await this.send("/", form.toString(), "application/x-www-form-urlencoded; charset=utf-8", service, signal);
    return new DOMParser().parseFromString(await answer.text(), "text/xml").documentElement;
  }

  /** kms makes a call of the key service's JSON 1.1 API. */
  async kms<T>(operation: string, input: object): Promise<T> {
    // The target header picks the operation; it is signed like the others.
    const signed = await this.signer("kms").sign(
      {
        method: "POST",
        protocol: location.protocol,
        hostname: location.hostname,
        port: location.port ? Number(location.port) : undefined,
        path: "/",
        query: {},
        headers: { host: location.host, "content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService." + operation },
        body: JSON.stringify(input),
      },
      { signingDate: new Date(Date.now() + this.offset) },
    );
    const { host: _host, ...headers } = signed.headers;
    const answer = await fetch("/", { method: "POST", headers, body: JSON.stringify(input) });
    if (!answer.ok) throw await readError(answer);
    return (await answer.json()) as T;
  }
}

async function readError(answer: Response): Promise<ApiError> {
  const text = await answer.text().catch(() => "");
  const requestId = answer.headers.get("x-amzn-requestid") ?? "";
  let code = (answer.headers.get("x-amzn-errortype") ?? "").split(":")[0] ?? "";
  let message = "";
  if (text.startsWith("<")) {
    const xml = new DOMParser().parseFromString(text, "text/xml");
    code ||= xml.querySelector("Code")?.textContent ?? "";
    message = xml.querySelector("Message")?.textContent ?? "";
  } else {
    try {
      const body = JSON.parse(text) as Record<string, string>;
      message = body.Message ?? body.message ?? "";
      code ||= (body.__type ?? "").split("#").pop() ?? "";
    } catch {
      message = text;
    }
  }
  const more = /^<(\/console\/docs\/[\w.]+#[\w-]+)>; rel="help"$/.exec(answer.headers.get("link") ?? "")?.[1];
  return new ApiError(code || `HTTP ${answer.status}`, message || answer.statusText, answer.status, requestId, more);
}

/** serverInfo is what the page needs before anybody signs in. */
export async function serverInfo(): Promise<ServerInfo> {
  const answer = await fetch("/console/config.json");
  if (!answer.ok) throw new ApiError("Unreachable", "The server does not answer. Is it still running?", answer.status, "");
  return (await answer.json()) as ServerInfo;
}

/** exchangeCode turns the one-time code of "sluice demo" into a temporary user's keys. */
export async function exchangeCode(code: string): Promise<Keys> {
  const answer = await fetch("/console/sign-in", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ Code: code }),
  });
  if (!answer.ok) throw await readError(answer);
  const keys = (await answer.json()) as { AccessKeyId: string; SecretAccessKey: string; SessionToken: string };
  return { accessKeyId: keys.AccessKeyId, secretAccessKey: keys.SecretAccessKey, sessionToken: keys.SessionToken };
}
