/** save hands a blob to the browser's downloads. */
export function save(data: Blob, name: string) {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(data);
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 60_000);
}

/** fetchAll reads a body with progress in bytes. */
export async function fetchAll(answer: Response, progress: (bytes: number) => void): Promise<Blob> {
  const parts: BlobPart[] = [];
  let total = 0;
  const body = answer.body?.getReader();
  if (!body) return answer.blob();
  for (;;) {
    const { done, value } = await body.read();
    if (done) break;
    parts.push(value);
    total += value.length;
    progress(total);
  }
  return new Blob(parts, { type: answer.headers.get("content-type") ?? "" });
}
