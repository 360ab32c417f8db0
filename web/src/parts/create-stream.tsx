import AttributeEditor from "@cloudscape-design/components/attribute-editor";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Checkbox from "@cloudscape-design/components/checkbox";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useState } from "react";
import { Problem } from "./problem";
import { errorText } from "../text";
import { useLoad } from "../hooks";
import { useSession } from "../session";

const defaultAlias = "aws/kinesisvideo";
const defaultKey = defaultAlias + " (default)";

/** The guide's create dialog: a name and default settings, or each setting by hand. */
export function CreateStream({ onClose }: { onClose: (created?: string) => void }) {
  const { kvs } = useSession();
  const [name, setName] = useState("");
  const [defaults, setDefaults] = useState(true);
  const [retention, setRetention] = useState("24");
  const [mediaType, setMediaType] = useState("video/h264");
  const [device, setDevice] = useState("");
  const [key, setKey] = useState<{ value?: string; label: string }>({ value: "", label: defaultKey });
  const [tags, setTags] = useState<{ key: string; value: string }[]>([]);
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const keys = useLoad(async () => (defaults ? [] : kvs.keys()), [defaults]);

  const nameError = name && !/^[a-zA-Z0-9_.-]{1,256}$/.test(name) ? "1 to 256 of a-z, A-Z, 0-9, underscore, dot and hyphen" : "";
  const hours = Number(retention);
  const retentionError = !Number.isInteger(hours) || hours < 0 || hours > 87600 ? "A whole number of hours, 0 to 87600" : "";

  const create = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await kvs.create({
        name,
        retention: defaults ? 24 : hours,
        mediaType: defaults ? "video/h264" : mediaType,
        device: defaults ? undefined : device,
        key: defaults ? undefined : key.value,
        tags: Object.fromEntries(tags.filter((t) => t.key).map((t) => [t.key, t.value])),
      });
      onClose(name);
    } catch (e) {
      setError(e as Error);
      setBusy(false);
    }
  };
  return (
    <Modal
      visible
      onDismiss={() => onClose()}
      header="Create stream"
      closeAriaLabel="Close"
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={() => onClose()}>
              Cancel
            </Button>
            <Button variant="primary" loading={busy} disabled={!name || !!nameError || !!retentionError} onClick={() => void create()}>
              Create stream
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="l">
        {error && <Problem error={error} />}
        <FormField label="Stream name" errorText={nameError} constraintText="The producer uses this name. It can't be changed later.">
          <Input value={name} onChange={(e) => setName(e.detail.value)} autoFocus spellcheck={false} placeholder="front-door" />
        </FormField>
        <Checkbox checked={defaults} onChange={(e) => setDefaults(e.detail.checked)} description="Kept for 24 hours, video/h264, default key.">
          Use default settings
        </Checkbox>
        {!defaults && (
          <SpaceBetween size="l">
            <FormField label="Data retention, in hours" errorText={retentionError} description="0 keeps nothing: the stream can only be watched live.">
              <Input type="number" inputMode="numeric" value={retention} onChange={(e) => setRetention(e.detail.value)} />
            </FormField>
            <FormField label="Media type">
              <Input value={mediaType} onChange={(e) => setMediaType(e.detail.value)} placeholder="video/h264,audio/aac" />
            </FormField>
            <FormField label={<>Device name <i>- optional</i></>}>
              <Input value={device} onChange={(e) => setDevice(e.detail.value)} />
            </FormField>
            <FormField label="Encryption key" description="Fragments are always encrypted at rest." errorText={keys.error && errorText(keys.error)}>
              <Select
                selectedOption={key}
                onChange={(e) => setKey({ value: e.detail.selectedOption.value, label: e.detail.selectedOption.label ?? "" })}
                statusType={keys.loading ? "loading" : "finished"}
                options={[
                  // The server makes the default key when a stream first needs it.
                  { value: "", label: defaultKey, description: keys.value?.find((k) => k.label === defaultAlias)?.description },
                  ...(keys.value ?? [])
                    .filter((k) => k.label !== defaultAlias)
                    .map((k) => ({ value: k.id, label: k.label, description: k.description, disabled: !!k.not, disabledReason: k.not })),
                ]}
              />
            </FormField>
          </SpaceBetween>
        )}
        <AttributeEditor
          items={tags}
          onAddButtonClick={() => setTags([...tags, { key: "", value: "" }])}
          onRemoveButtonClick={(e) => setTags(tags.filter((_, i) => i !== e.detail.itemIndex))}
          addButtonText="Add tag"
          removeButtonText="Remove"
          disableAddButton={tags.length >= 50}
          empty="No tags."
          definition={[
            {
              label: "Key",
              control: (t, i) => (
                <Input ariaLabel="Tag key" value={t.key} onChange={(e) => setTags(tags.map((x, j) => (j === i ? { ...x, key: e.detail.value } : x)))} />
              ),
            },
            {
              label: "Value",
              control: (t, i) => (
                <Input ariaLabel="Tag value" value={t.value} onChange={(e) => setTags(tags.map((x, j) => (j === i ? { ...x, value: e.detail.value } : x)))} />
              ),
            },
          ]}
        />
      </SpaceBetween>
    </Modal>
  );
}
