import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useEffect, useState } from "react";
import type { StreamInfo } from "../api/kvs";
import { Problem } from "./problem";
import { useLoad } from "../hooks";
import { useSession } from "../session";
import { bytes, day, hours } from "../text";

/** Retention changes how long footage is kept, and shows first what a lower value deletes. */
export function Retention({ stream, onChanged, not }: { stream: StreamInfo; onChanged: () => void; not?: string }) {
  const { kvs } = useSession();
  const [value, setValue] = useState(String(stream.DataRetentionInHours));
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  useEffect(() => setValue(String(stream.DataRetentionInHours)), [stream.DataRetentionInHours]);
  const wanted = Number(value);
  const bad = !Number.isInteger(wanted) || wanted < 0 || wanted > 87600 ? "A whole number of hours, 0 to 87600 (10 years)" : "";
  const lower = !bad && wanted < stream.DataRetentionInHours;
  const lost = useLoad(
    async (signal) => {
      if (!lower) return undefined;
      const horizon = new Date(Date.now() - wanted * 3_600_000);
      const r = await kvs.timeline(stream.StreamName, "SERVER_TIMESTAMP", new Date(Date.now() - stream.DataRetentionInHours * 3_600_000), horizon, 1000, signal);
      return {
        horizon,
        fragments: r.Spans.reduce((n, s) => n + s.Fragments, 0),
        bytes: r.Spans.reduce((n, s) => n + s.Bytes, 0),
      };
    },
    [lower, wanted],
  );
  return (
    <Container
      header={
        <Header variant="h2" description={`Now: ${hours(stream.DataRetentionInHours)}.`}>
          Data retention
        </Header>
      }
    >
      <SpaceBetween size="m">
        {error && <Problem error={error} />}
        <FormField label="Keep footage for, in hours" errorText={bad} constraintText="0 keeps nothing: the stream can only be watched live.">
          <Input type="number" inputMode="numeric" value={value} onChange={(e) => setValue(e.detail.value)} disabled={!!not} />
        </FormField>
        {lower && lost.value && (
          <Alert type={lost.value.fragments === 0 ? "info" : "warning"} header={lost.value.fragments === 0 ? "No footage is lost now" : "This deletes footage"}>
            {lost.value.fragments === 0
              ? `Nothing is stored before ${day(lost.value.horizon.getTime())}, so nothing is deleted today.`
              : `About ${lost.value.fragments} fragments (${bytes(lost.value.bytes)}) from before ${day(lost.value.horizon.getTime())} can't be read any more at once.`}
          </Alert>
        )}
        <Button
          variant="primary"
          loading={busy}
          disabled={!!bad || wanted === stream.DataRetentionInHours || !!not}
          disabledReason={not}
          onClick={() => {
            setBusy(true);
            setError(undefined);
            kvs
              .setRetention(stream, wanted)
              .then(onChanged, (e: Error) => setError(e))
              .finally(() => setBusy(false));
          }}
        >
          Save
        </Button>
      </SpaceBetween>
    </Container>
  );
}
