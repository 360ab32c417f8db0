import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import Multiselect from "@cloudscape-design/components/multiselect";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import Table from "@cloudscape-design/components/table";
import Textarea from "@cloudscape-design/components/textarea";
import { useState } from "react";
import { ApiError } from "../api/client";
import { type Decision } from "../api/iam";
import { Problem } from "../parts/problem";
import { useLoad, useMay } from "../hooks";
import { Code } from "../parts/code";
import { useSession } from "../session";

const example = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["kinesisvideo:Describe*", "kinesisvideo:Get*", "kinesisvideo:List*"],
      "Resource": "*"
    }
  ]
}`;

/** One user: keys, policies, and a simulator that explains what they allow. */
export default function User({ name, go }: { name: string; go: (path: string) => void }) {
  const { iam, server } = useSession();
  const data = useLoad(async () => {
    const [keys, inline, attached] = await Promise.all([iam.accessKeys(name), iam.policies(name), iam.attached(name)]);
    return { keys, inline, attached };
  }, [name]);
  // Who may not ask for these still sees the rest.
  const self = useLoad(() => iam.user(name), [name]);
  const groups = useLoad(() => iam.groups(name), [name]);
  const managed = useLoad(() => iam.managed(), []);
  const [error, setError] = useState<Error>();
  const [secret, setSecret] = useState<{ id: string; secret: string }>();
  const [policy, setPolicy] = useState<{ name: string; text: string; isNew: boolean }>();
  const [removing, setRemoving] = useState(false);
  const run = (work: Promise<unknown>) => {
    setError(undefined);
    work.then(data.reload, (e: Error) => setError(e));
  };
  const arn = self.value?.arn ?? `arn:aws:iam::${server.account}:user/${name}`; // with its path
  const may = {
    remove: useMay("iam:DeleteUser", arn),
    createKey: useMay("iam:CreateAccessKey", arn),
    setKey: useMay("iam:UpdateAccessKey", arn),
    deleteKey: useMay("iam:DeleteAccessKey", arn),
    attach: useMay("iam:AttachUserPolicy", arn),
    put: useMay("iam:PutUserPolicy", arn),
    drop: useMay("iam:DeleteUserPolicy", arn),
  }; // each the reason why not
  if (data.error instanceof ApiError && data.error.code === "NoSuchEntity") {
    return (
      <ContentLayout header={<Header variant="h1">{name}</Header>}>
        <Problem header="This user can't be shown" error={data.error} />
      </ContentLayout>
    );
  }
  return (
    <ContentLayout
      header={
        <Header variant="h1" description={arn} actions={<Button disabled={!!may.remove} disabledReason={may.remove} onClick={() => setRemoving(true)}>Delete user</Button>}>
          {name}
        </Header>
      }
    >
      <SpaceBetween size="l">
        {(error ?? data.error) && <Problem error={(error ?? data.error) as Error} />}
        {secret && (
          <Alert type="success" dismissible dismissAriaLabel="Close" onDismiss={() => setSecret(undefined)} header="The new key. Its secret is shown only now.">
            <Code text={`export AWS_ACCESS_KEY_ID=${secret.id}\nexport AWS_SECRET_ACCESS_KEY=${secret.secret}`} />
          </Alert>
        )}
        <Table
          items={data.value?.keys ?? []}
          loading={data.loading && !data.value}
          ariaLabels={{ tableLabel: "Access keys" }}
          header={
            <Header
              counter={data.value && `(${data.value.keys.length} of 2)`}
              actions={
                <Button
                  disabled={(data.value?.keys.length ?? 0) >= 2 || !!may.createKey}
                  disabledReason={may.createKey ?? "A user has at most two access keys."}
                  onClick={() =>
                    run(
                      iam.createKey(name).then((k) => {
                        setSecret(k);
                      }),
                    )
                  }
                >
                  Create access key
                </Button>
              }
            >
              Access keys
            </Header>
          }
          empty={data.error ? "–" : "No access keys."}
          columnDefinitions={[
            { id: "id", header: "Access key ID", isRowHeader: true, cell: (k) => <span className="mono">{k.id}</span> },
            {
              id: "status",
              header: "Status",
              cell: (k) => <StatusIndicator type={k.status === "Active" ? "success" : "stopped"}>{k.status}</StatusIndicator>,
            },
            { id: "created", header: "Created", cell: (k) => k.created.replace("T", " ").replace("Z", " UTC") },
            {
              id: "do",
              header: "Actions",
              cell: (k) => (
                <SpaceBetween direction="horizontal" size="xs">
                  <Button variant="inline-link" ariaLabel={`${k.status === "Active" ? "Deactivate" : "Activate"} ${k.id}`} disabled={!!may.setKey} disabledReason={may.setKey} onClick={() => run(iam.setKey(name, k.id, k.status !== "Active"))}>
                    {k.status === "Active" ? "Deactivate" : "Activate"}
                  </Button>
                  <Button variant="inline-link" ariaLabel={`Delete ${k.id}`} disabled={!!may.deleteKey} disabledReason={may.deleteKey} onClick={() => run(iam.deleteKey(name, k.id))}>
                    Delete
                  </Button>
                </SpaceBetween>
              ),
            },
          ]}
        />
        <Container header={<Header variant="h2" description={may.attach}>Managed policies</Header>}>
          <Multiselect
            deselectAriaLabel={(o) => `Take away ${o.label}`}
            ariaLabel="Managed policies"
            placeholder="Choose policies"
            disabled={!!may.attach}
            selectedOptions={(data.value?.attached ?? []).map((p) => ({ value: p.arn, label: p.name }))}
            options={(managed.value ?? []).map((p) => ({ value: p.arn, label: p.name }))}
            filteringType="auto"
            filteringAriaLabel="Find a policy"
            statusType={managed.loading ? "loading" : managed.error ? "error" : "finished"}
            loadingText="Loading policies"
            errorText={managed.error?.message}
            empty="No managed policies."
            onChange={(e) => {
              const want = new Set(e.detail.selectedOptions.map((o) => o.value ?? ""));
              const have = new Set((data.value?.attached ?? []).map((p) => p.arn));
              run(
                Promise.all([
                  ...[...want].filter((w) => !have.has(w)).map((w) => iam.attach(name, w)),
                  ...[...have].filter((h) => !want.has(h)).map((h) => iam.detach(name, h)),
                ]),
              );
            }}
          />
        </Container>
        <Table
          items={data.value?.inline ?? []}
          ariaLabels={{ tableLabel: "Inline policies" }}
          header={<Header actions={<Button disabled={!!may.put} disabledReason={may.put} onClick={() => setPolicy({ name: "", text: example, isNew: true })}>Add policy</Button>}>Inline policies</Header>}
          empty={data.error ? "–" : "No inline policies."}
          columnDefinitions={[
            { id: "name", header: "Name", isRowHeader: true, cell: (p) => p },
            {
              id: "do",
              header: "Actions",
              cell: (p) => (
                <SpaceBetween direction="horizontal" size="xs">
                  <Button
                    variant="inline-link"
                    ariaLabel={`Edit ${p}`}
                    onClick={() =>
                      iam.policy(name, p).then(
                        (text) => setPolicy({ name: p, text: pretty(text), isNew: false }),
                        (e: Error) => setError(e),
                      )
                    }
                  >
                    Edit
                  </Button>
                  <Button variant="inline-link" ariaLabel={`Delete ${p}`} disabled={!!may.drop} disabledReason={may.drop} onClick={() => run(iam.deletePolicy(name, p))}>
                    Delete
                  </Button>
                </SpaceBetween>
              ),
            },
          ]}
        />
        {(groups.value?.length ?? 0) > 0 && (
          <Container header={<Header variant="h2" description="Their policies count for this user too.">Groups</Header>}>{groups.value?.join(", ")}</Container>
        )}
        <Simulator arn={arn} />
      </SpaceBetween>
      {policy && (
        <PolicyEditor
          user={name}
          policy={policy}
          onClose={(saved) => {
            setPolicy(undefined);
            if (saved) data.reload();
          }}
        />
      )}
      {removing && (
        <Modal
          visible
          header={`Delete ${name}?`}
          closeAriaLabel="Close"
          onDismiss={() => setRemoving(false)}
          footer={
            <Box float="right">
              <SpaceBetween direction="horizontal" size="xs">
                <Button variant="link" onClick={() => setRemoving(false)}>
                  Cancel
                </Button>
                <Button
                  variant="primary"
                  onClick={() =>
                    iam.deleteUser(name).then(
                      () => go("/users"),
                      (e: Error) => {
                        setRemoving(false);
                        setError(e);
                      },
                    )
                  }
                >
                  Delete
                </Button>
              </SpaceBetween>
            </Box>
          }
        >
          Its keys stop working at once, and players that it opened end within seconds.
        </Modal>
      )}
    </ContentLayout>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function PolicyEditor({ user, policy, onClose }: { user: string; policy: { name: string; text: string; isNew: boolean }; onClose: (saved: boolean) => void }) {
  const { iam } = useSession();
  const [name, setName] = useState(policy.name);
  const [text, setText] = useState(policy.text);
  const [error, setError] = useState<Error>();
  return (
    <Modal
      visible
      size="large"
      header={policy.isNew ? "Add policy" : `Edit ${policy.name}`}
      closeAriaLabel="Close"
      onDismiss={() => onClose(false)}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={() => onClose(false)}>
              Cancel
            </Button>
            <Button
              variant="primary"
              disabled={!name}
              onClick={() =>
                iam.putPolicy(user, name, text).then(
                  () => onClose(true),
                  (e: Error) => setError(e),
                )
              }
            >
              Save
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {error && <Problem error={error} />}
        {policy.isNew && (
          <FormField label="Name">
            <Input value={name} onChange={(e) => setName(e.detail.value)} autoFocus />
          </FormField>
        )}
        <FormField label="Policy document" description="The JSON of IAM. What is not allowed is denied; an explicit Deny wins.">
          <Textarea value={text} rows={16} spellcheck={false} onChange={(e) => setText(e.detail.value)} />
        </FormField>
      </SpaceBetween>
    </Modal>
  );
}

const actions = [
  "CreateStream", "DescribeStream", "ListStreams", "UpdateStream", "UpdateDataRetention", "DeleteStream", "GetDataEndpoint", "TagStream",
  "PutMedia", "GetMedia", "ListFragments", "GetMediaForFragmentList", "GetHLSStreamingSessionURL", "GetDASHStreamingSessionURL", "GetClip",
].map((a) => "kinesisvideo:" + a);

/** Simulator asks the server what this user may do, and which policy decides it. */
function Simulator({ arn }: { arn: string }) {
  const { iam, server } = useSession();
  const [action, setAction] = useState(actions[8] ?? "");
  const [stream, setStream] = useState("*");
  const [result, setResult] = useState<Decision>();
  const [error, setError] = useState<Error>();
  const resource = stream === "*" ? "*" : `arn:aws:kinesisvideo:${server.region}:${server.account}:stream/${stream}/*`;
  return (
    <Container header={<Header variant="h2" description="Nothing is called: the policies are evaluated, and the answer names the statement.">What may this user do?</Header>}>
      <SpaceBetween size="m">
        <SpaceBetween direction="horizontal" size="s" alignItems="end">
          <FormField label="Action">
            <Select
              selectedOption={{ value: action, label: action }}
              options={actions.map((a) => ({ value: a, label: a }))}
              onChange={(e) => setAction(e.detail.selectedOption.value ?? "")}
            />
          </FormField>
          <FormField label="Stream name, or *">
            <Input value={stream} onChange={(e) => setStream(e.detail.value)} />
          </FormField>
          <Button
            onClick={() => {
              setError(undefined);
              iam.simulate(arn, [action], resource).then(
                (d) => setResult(d[0]),
                (e: Error) => setError(e),
              );
            }}
          >
            Simulate
          </Button>
        </SpaceBetween>
        {error && <Problem error={error} />}
        {result && (
          <Alert type={result.decision === "allowed" ? "success" : "error"} header={`${result.action}: ${result.decision}`}>
            {result.statements.length > 0 ? `Decided by ${result.statements.join(", ")}.` : "No statement speaks of it, so it is denied."}
          </Alert>
        )}
      </SpaceBetween>
    </Container>
  );
}
