import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Link from "@cloudscape-design/components/link";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import { useState } from "react";
import { Problem } from "../parts/problem";
import { useLoad, useMay } from "../hooks";
import { useSession } from "../session";

export default function Users({ go }: { go: (path: string) => void }) {
  const { iam } = useSession();
  const users = useLoad(() => iam.users(), []);
  const [name, setName] = useState<string>();
  const [error, setError] = useState<Error>();
  const not = useMay("iam:CreateUser", "*");
  return (
    <>
      <Table
        variant="full-page"
        items={users.value ?? []}
        loading={users.loading && !users.value}
        loadingText="Loading users"
        trackBy="name"
        ariaLabels={{ tableLabel: "Users" }}
        header={
          <Header
            variant="h1"
            counter={users.value && `(${users.value.length})`}
            description="A user has access keys and policies; without a policy it may do nothing."
            actions={
              <Button variant="primary" disabled={!!not} disabledReason={not} onClick={() => setName("")}>
                Create user
              </Button>
            }
          >
            Users
          </Header>
        }
        empty={users.error ? <Problem error={users.error} /> : <Box padding="l">No users yet: only the root keys exist.</Box>}
        columnDefinitions={[
          { id: "name", header: "Name", isRowHeader: true, cell: (u) => <Link href={`#/user/${encodeURIComponent(u.name)}`}>{u.name}</Link> },
          { id: "arn", header: "ARN", cell: (u) => <span className="mono">{u.arn}</span> },
          { id: "created", header: "Created", cell: (u) => u.created.replace("T", " ").replace("Z", " UTC") },
        ]}
      />
      {name !== undefined && (
        <Modal
          visible
          header="Create user"
          closeAriaLabel="Close"
          onDismiss={() => setName(undefined)}
          footer={
            <Box float="right">
              <SpaceBetween direction="horizontal" size="xs">
                <Button variant="link" onClick={() => setName(undefined)}>
                  Cancel
                </Button>
                <Button
                  variant="primary"
                  disabled={!name}
                  onClick={() =>
                    iam.createUser(name).then(
                      () => go(`/user/${encodeURIComponent(name)}`),
                      (e: Error) => setError(e),
                    )
                  }
                >
                  Create
                </Button>
              </SpaceBetween>
            </Box>
          }
        >
          <SpaceBetween size="m">
            {error && <Problem error={error} />}
            <FormField label="User name" constraintText="1 to 64 letters, digits and +=,.@_-">
              <Input value={name} onChange={(e) => setName(e.detail.value)} autoFocus spellcheck={false} />
            </FormField>
          </SpaceBetween>
        </Modal>
      )}
    </>
  );
}
