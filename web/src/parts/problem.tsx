import Alert from "@cloudscape-design/components/alert";
import Link from "@cloudscape-design/components/link";
import { ApiError } from "../api/client";
import { errorText } from "../text";

/** Problem shows an error with the link to what the docs say about it. */
export function Problem({ error, header, type = "error" }: { error: Error; header?: string; type?: "error" | "warning" }) {
  return (
    <Alert type={type} header={header}>
      {errorText(error)} <More to={error instanceof ApiError ? error.more : undefined} />
    </Alert>
  );
}

/** More leads to a heading of the troubleshooting page, in a tab of its own. */
export function More({ to }: { to?: string }) {
  if (!to) return null;
  return (
    <Link href={to} external externalIconAriaLabel="Opens in a new tab" variant="primary">
      More about this
    </Link>
  );
}
