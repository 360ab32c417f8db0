import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useEffect, useState } from "react";
import type { StreamInfo } from "../api/kvs";
import { Problem } from "./problem";
import { useMay } from "../hooks";
import { useSession } from "../session";

/** Labels are what a stream says of itself: media type and device. They can be changed and not taken away. */
export function Labels({ stream, onChanged }: { stream: StreamInfo; onChanged: () => void }) {
  const { kvs } = useSession();
  const had = { mediaType: stream.MediaType ?? "", device: stream.DeviceName ?? "" };
  const [mediaType, setMediaType] = useState(had.mediaType);
  const [device, setDevice] = useState(had.device);
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const not = useMay("kinesisvideo:UpdateStream", stream.StreamARN);
  useEffect(() => {
    setMediaType(had.mediaType);
    setDevice(had.device);
  }, [had.mediaType, had.device]);
  const change = { mediaType: mediaType !== had.mediaType ? mediaType : undefined, device: device !== had.device ? device : undefined };
  const none = change.mediaType === undefined && change.device === undefined;
  const empty = change.mediaType === "" || change.device === "";
  return (
    <Container header={<Header variant="h2">Media type and device</Header>}>
      <SpaceBetween size="m">
        {error && <Problem error={error} />}
        <FormField label="Media type" constraintText="What producers send, such as video/h264 or video/h264,audio/aac. Players look at the media itself.">
          <Input value={mediaType} onChange={(e) => setMediaType(e.detail.value)} disabled={!!not} spellcheck={false} />
        </FormField>
        <FormField label="Device" constraintText="The name of the device that sends: letters, digits, _ . and -.">
          <Input value={device} onChange={(e) => setDevice(e.detail.value)} disabled={!!not} spellcheck={false} />
        </FormField>
        <Button
          loading={busy}
          disabled={none || empty || !!not}
          disabledReason={not ?? (empty ? "What is set can be changed and not taken away." : undefined)}
          onClick={() => {
            setBusy(true);
            setError(undefined);
            kvs
              .update(stream, change)
              .then(onChanged, (e: Error) => setError(e))
              .finally(() => setBusy(false));
          }}
        >
          Save media type and device
        </Button>
      </SpaceBetween>
    </Container>
  );
}
