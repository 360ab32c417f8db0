import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Link from "@cloudscape-design/components/link";
import Modal from "@cloudscape-design/components/modal";
import Pagination from "@cloudscape-design/components/pagination";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import TextFilter from "@cloudscape-design/components/text-filter";
import { useCallback, useEffect, useRef, useState } from "react";
import type { User } from "../api/iam";
import { Problem } from "../parts/problem";
import { useMay } from "../hooks";
import { useSession } from "../session";

const pageSize = 50;

/** The list of users: a page at a time. Who searches has all of them loaded, a thousand a call, as IAM finds no names. */
export default function Users({ go }: { go: (path: string) => void }) {
  const { iam } = useSession();
  const [known, setKnown] = useState<User[]>([]);
  const [next, setNext] = useState<string | undefined>(""); // where the unknown ones begin; "": nothing was asked yet
  const [wish, setWish] = useState(""); // part of a name
  const [at, setAt] = useState(0); // the page that is shown
  const [loading, setLoading] = useState(true);
  const [failed, setFailed] = useState<Error>();
  const turn = useRef<AbortController>(undefined);
  const load = useCallback(
    async (before: User[], from: string | undefined, all: boolean) => {
      turn.current?.abort();
      const abort = (turn.current = new AbortController());
      setLoading(true);
      try {
        do {
          const page = await iam.users(all ? 1000 : pageSize, from || undefined, abort.signal);
          before = [...before, ...page.items];
          from = page.next;
          setKnown(before);
          setNext(from);
        } while (all && from);
        setFailed(undefined);
      } catch (e) {
        if (abort.signal.aborted) return;
        setFailed(e as Error);
      }
      setLoading(false);
    },
    [iam],
  );
  useEffect(() => {
    void load([], undefined, false);
    return () => turn.current?.abort();
  }, [load]);
  useEffect(() => {
    if (wish && next && !loading && !failed) void load(known, next, true);
  }, [wish, next, loading, failed, known, load]);
  const found = wish ? known.filter((u) => u.name.toLowerCase().includes(wish.toLowerCase())) : known;
  const pages = Math.ceil(found.length / pageSize);
  const [name, setName] = useState<string>();
  const [error, setError] = useState<Error>();
  const not = useMay("iam:CreateUser", "*");
  return (
    <>
      <Table
        variant="full-page"
        items={found.slice(at * pageSize, (at + 1) * pageSize)}
        loading={loading && found.length <= at * pageSize}
        loadingText="Loading users"
        trackBy="name"
        ariaLabels={{ tableLabel: "Users" }}
        header={
          <Header
            variant="h1"
            counter={known.length > 0 ? `(${found.length}${next ? "+" : ""})` : undefined}
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
        filter={
          <TextFilter
            filteringText={wish}
            filteringPlaceholder="Part of a name"
            filteringAriaLabel="Part of a name"
            onChange={(e) => {
              setWish(e.detail.filteringText);
              setAt(0);
            }}
          />
        }
        pagination={
          (pages > 1 || (next && !wish)) && (
            <Pagination
              currentPageIndex={at + 1}
              pagesCount={pages}
              openEnd={!!next && !wish}
              disabled={loading}
              ariaLabels={{ nextPageLabel: "Next page", previousPageLabel: "Previous page", paginationLabel: "Pages of users", pageLabel: (n) => `Page ${n}` }}
              onChange={(e) => setAt(e.detail.currentPageIndex - 1)}
              onNextPageClick={(e) => {
                if (!e.detail.requestedPageAvailable) void load(known, next, false);
              }}
            />
          )
        }
        empty={
          failed ? (
            <Problem error={failed} />
          ) : wish ? (
            <Box padding="l">No user has “{wish}” in its name.</Box>
          ) : (
            <Box padding="l">No users yet: only the root keys exist.</Box>
          )
        }
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
