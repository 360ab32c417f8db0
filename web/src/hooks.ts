import { useCallback, useEffect, useRef, useState } from "react";
import { useSession } from "./session";

/** useLoad runs an asynchronous load, again when its inputs change or on reload(). */
export function useLoad<T>(load: (signal: AbortSignal) => Promise<T>, inputs: unknown[]) {
  const [value, setValue] = useState<T>();
  const [error, setError] = useState<Error>();
  const [loading, setLoading] = useState(true);
  const [round, setRound] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const abort = new AbortController();
    setLoading(true);
    latest.current(abort.signal).then(
      (v) => {
        if (abort.signal.aborted) return;
        setValue(v);
        setError(undefined);
        setLoading(false);
      },
      (e: Error) => {
        if (abort.signal.aborted) return;
        setError(e);
        setLoading(false);
      },
    );
    return () => abort.abort();
    // The inputs are the caller's list; load itself is held in a ref.
  }, [...inputs, round]);
  const reload = useCallback(() => setRound((r) => r + 1), []);
  return { value, error, loading, reload };
}

/** useEvery calls again and again while the page is visible. */
export function useEvery(ms: number, call: () => void) {
  const latest = useRef(call);
  latest.current = call;
  useEffect(() => {
    const id = setInterval(() => {
      if (!document.hidden) latest.current();
    }, ms);
    return () => clearInterval(id);
  }, [ms]);
}

/** useMay says why a button is off: undefined while the action is allowed. */
export function useMay(action: string, resource: string): string | undefined {
  const { may } = useSession();
  const [reason, setReason] = useState<string>();
  useEffect(() => {
    if (!resource) return; // not known yet
    let here = true;
    void may(action, resource).then((ok) => {
      if (here) setReason(ok ? undefined : `Your user is not allowed ${action} on this resource.`);
    });
    return () => {
      here = false;
    };
  }, [may, action, resource]);
  return reason;
}

export function useDark(): [boolean, (dark: boolean) => void] {
  const [dark, setDark] = useState(() => {
    const wish = localStorage.getItem("sluice-theme");
    return wish ? wish === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  });
  useEffect(() => {
    localStorage.setItem("sluice-theme", dark ? "dark" : "light");
  }, [dark]);
  return [dark, setDark];
}

/** decoded is a part of an address as it was meant; a mistyped one stays as it is. */
const decoded = (part: string) => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};

/** The console's own addresses live behind the #, so that the server has one page. */
export function useRoute(): [string[], (path: string) => void] {
  const read = () => location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const on = () => setRoute(read());
    addEventListener("hashchange", on);
    return () => removeEventListener("hashchange", on);
  }, []);
  const go = useCallback((path: string) => {
    location.hash = path;
  }, []);
  return [route, go];
}
