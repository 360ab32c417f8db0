// Who is signed in. Keys live in memory, or in the tab's storage when the user asks for it; never longer.
import { createContext, useContext } from "react";
import { Client, type Keys, type ServerInfo } from "./api/client";
import { IAM } from "./api/iam";
import { KVS } from "./api/kvs";

export interface Session {
  kvs: KVS;
  iam: IAM;
  server: ServerInfo;
  arn: string;
  signOut: () => void;
  /** may says whether the signed-in user may do an action on a stream; see useMay. */
  may: (action: string, resource: string) => Promise<boolean>;
}

const stored = "sluice-keys";

export function storedKeys(): Keys | undefined {
  const text = sessionStorage.getItem(stored);
  if (!text) return undefined;
  try {
    return JSON.parse(text) as Keys;
  } catch {
    return undefined;
  }
}

export function storeKeys(keys: Keys | undefined) {
  if (keys) sessionStorage.setItem(stored, JSON.stringify(keys));
  else sessionStorage.removeItem(stored);
}

/** openSession proves the keys by asking who they belong to. */
export async function openSession(keys: Keys, server: ServerInfo, signOut: () => void): Promise<Session> {
  const client = new Client(keys, server);
  const iam = new IAM(client);
  const { arn } = await iam.me();
  const known = new Map<string, Promise<boolean>>();
  return {
    kvs: new KVS(client),
    iam,
    server,
    arn,
    signOut,
    may: (action, resource) => {
      if (arn.endsWith(":root")) return Promise.resolve(true);
      const id = action + " " + resource;
      let answer = known.get(id);
      if (!answer) {
        // Who may not even simulate is let try: the call itself will say no.
        answer = iam.simulate(arn, [action], resource).then(
          (d) => d[0]?.decision !== "implicitDeny" && d[0]?.decision !== "explicitDeny",
          () => true,
        );
        known.set(id, answer);
      }
      return answer;
    },
  };
}

export const SessionContext = createContext<Session | undefined>(undefined);

export function useSession(): Session {
  const s = useContext(SessionContext);
  if (!s) throw new Error("no session");
  return s;
}
