import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Checkbox from "@cloudscape-design/components/checkbox";
import Container from "@cloudscape-design/components/container";
import Form from "@cloudscape-design/components/form";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useState } from "react";
import type { Keys } from "../api/client";
import { Problem } from "../parts/problem";

export function SignIn({ problem, onSignIn }: { problem?: Error; onSignIn: (keys: Keys, keep: boolean) => Promise<void> }) {
  const [id, setId] = useState("");
  const [secret, setSecret] = useState("");
  const [keep, setKeep] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(problem);
  const submit = async () => {
    if (!id.trim() || !secret.trim()) {
      setError(new Error("Give both the access key and its secret. The server showed them when it first started: sluice env prints them."));
      return;
    }
    setBusy(true);
    setError(undefined);
    try {
      await onSignIn({ accessKeyId: id.trim(), secretAccessKey: secret.trim() }, keep);
    } catch (e) {
      setError(e as Error);
      setBusy(false);
    }
  };
  return (
    <main className="signin">
      <form
        onSubmit={(e) => {
          e.preventDefault();
          void submit();
        }}
      >
        <Form
          header={<Header variant="h1">Sluice</Header>}
          actions={
            <Button variant="primary" loading={busy} formAction="submit">
              Sign in
            </Button>
          }
        >
          <Container>
            <SpaceBetween size="l">
              {error && (
                <Problem header="Not signed in" error={error} />
              )}
              <FormField label="Access key ID">
                <Input value={id} onChange={(e) => setId(e.detail.value)} autoComplete="username" spellcheck={false} autoFocus />
              </FormField>
              <FormField label="Secret access key">
                <Input type="password" value={secret} onChange={(e) => setSecret(e.detail.value)} autoComplete="current-password" />
              </FormField>
              <Checkbox checked={keep} onChange={(e) => setKeep(e.detail.checked)} description="Otherwise a reload asks again.">
                Keep me signed in while this tab is open
              </Checkbox>
              <Box variant="small" color="text-body-secondary">
                The keys stay in this browser: requests are signed here and the secret is never sent.
              </Box>
            </SpaceBetween>
          </Container>
        </Form>
      </form>
    </main>
  );
}
