import { ApiError } from "./api/client";

// Numbers and times as people read them.
export const bytes = (n: number) => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${i === 0 ? n : n.toPrecision(3)} ${units[i]}`;
};

export const bits = (n: number) => (n >= 1e6 ? `${(n / 1e6).toFixed(2)} Mbit/s` : `${Math.round(n / 1e3)} kbit/s`);

/** clock is a time of day with milliseconds; day puts the date before it. */
export const clock = (ms: number) => new Date(ms).toISOString().slice(11, 23);
export const day = (ms: number) => new Date(ms).toISOString().replace("T", " ").slice(0, 23) + " UTC";

export const ago = (ms: number, now = Date.now()) => {
  const s = Math.round((now - ms) / 1000);
  if (Math.abs(s) < 2) return "now";
  if (s < 0) return `${duration(-s * 1000)} ahead`;
  return `${duration(s * 1000)} ago`;
};

export const duration = (ms: number) => {
  const s = Math.round(ms / 1000);
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
};

export const hours = (h: number) => (h === 0 ? "not kept" : h % 24 === 0 && h > 24 ? `${h / 24} days` : `${h} hours`);

/** errorText is what a person reads of an error. */
export function errorText(e: Error): string {
  if (e instanceof ApiError) {
    const id = e.requestId ? ` (request ${e.requestId})` : "";
    return `${e.message}${e.help ? " " + e.help : ""}${id}`;
  }
  return e.message;
}
