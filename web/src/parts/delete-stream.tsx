import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useState } from "react";
import type { StreamInfo } from "../api/kvs";
import { Problem } from "./problem";
import { useMay } from "../hooks";
import { useSession } from "../session";

/** Deleting asks for the name, because it cannot be taken back. */
export function DeleteStream({ stream, onClose }: { stream: StreamInfo; onClose: (deleted: boolean) => void }) {
  const { kvs } = useSession();
  const [typed, setTyped] = useState("");
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const not = useMay("kinesisvideo:DeleteStream", stream.StreamARN);
  return (
    <Modal
      visible
      onDismiss={() => onClose(false)}
      header={`Delete ${stream.StreamName}?`}
      closeAriaLabel="Close"
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={() => onClose(false)}>
              Cancel
            </Button>
            <Button
              variant="primary"
              loading={busy}
              disabled={typed !== stream.StreamName || !!not}
              disabledReason={not}
              onClick={() => {
                setBusy(true);
                kvs.remove(stream).then(
                  () => onClose(true),
                  (e: Error) => {
                    setError(e);
                    setBusy(false);
                  },
                );
              }}
            >
              Delete
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <Alert type="warning">
          All footage of this stream becomes unreadable at once: its key is erased. Producers that are sending to it are disconnected. This can't be
          undone.
        </Alert>
        {error && <Problem error={error} />}
        <FormField label={`To confirm, type ${stream.StreamName}`}>
          <Input value={typed} onChange={(e) => setTyped(e.detail.value)} spellcheck={false} autoFocus />
        </FormField>
      </SpaceBetween>
    </Modal>
  );
}
