import AttributeEditor from "@cloudscape-design/components/attribute-editor";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useEffect, useState } from "react";
import type { StreamInfo } from "../api/kvs";
import { Problem } from "./problem";
import { useLoad, useMay } from "../hooks";
import { useSession } from "../session";

export function Tags({ stream }: { stream: StreamInfo }) {
  const { kvs } = useSession();
  const loaded = useLoad(() => kvs.tags(stream.StreamName), [stream.StreamARN]);
  const [items, setItems] = useState<{ key: string; value: string }[]>([]);
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const not = useMay("kinesisvideo:TagStream", stream.StreamARN);
  useEffect(() => setItems(Object.entries(loaded.value ?? {}).map(([key, value]) => ({ key, value }))), [loaded.value]);
  const save = async () => {
    setBusy(true);
    setError(undefined);
    try {
      const wanted = Object.fromEntries(items.filter((t) => t.key).map((t) => [t.key, t.value]));
      const gone = Object.keys(loaded.value ?? {}).filter((k) => !(k in wanted));
      if (gone.length) await kvs.untag(stream.StreamName, gone);
      if (Object.keys(wanted).length) await kvs.tag(stream.StreamName, wanted);
      loaded.reload();
    } catch (e) {
      setError(e as Error);
    }
    setBusy(false);
  };
  const set = (i: number, change: Partial<{ key: string; value: string }>) => setItems(items.map((x, j) => (j === i ? { ...x, ...change } : x)));
  return (
    <Container header={<Header variant="h2">Tags</Header>}>
      <SpaceBetween size="m">
        {(error ?? loaded.error) && <Problem error={(error ?? loaded.error) as Error} />}
        <AttributeEditor
          items={items}
          onAddButtonClick={() => setItems([...items, { key: "", value: "" }])}
          onRemoveButtonClick={(e) => setItems(items.filter((_, i) => i !== e.detail.itemIndex))}
          addButtonText="Add tag"
          removeButtonText="Remove"
          disableAddButton={items.length >= 50 || !!not}
          empty={loaded.error ? "–" : "No tags."}
          definition={[
            { label: "Key", control: (t, i) => <Input ariaLabel="Tag key" value={t.key} onChange={(e) => set(i, { key: e.detail.value })} /> },
            { label: "Value", control: (t, i) => <Input ariaLabel="Tag value" value={t.value} onChange={(e) => set(i, { value: e.detail.value })} /> },
          ]}
        />
        <Button loading={busy} disabled={!!not} disabledReason={not} onClick={() => void save()}>
          Save tags
        </Button>
      </SpaceBetween>
    </Container>
  );
}
