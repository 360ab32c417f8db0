import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import { Component, type ReactNode } from "react";

/** Boundary shows what went wrong in a page, or that its code can't be loaded, in place of nothing at all. */
export class Boundary extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    if (!this.state.error) return this.props.children;
    return (
      <Alert type="error" header="This page can't be shown" action={<Button onClick={() => location.reload()}>Load again</Button>}>
        The server may have been replaced by another version since the console was loaded. ({this.state.error.message})
      </Alert>
    );
  }
}
