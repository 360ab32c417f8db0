import CopyToClipboard from "@cloudscape-design/components/copy-to-clipboard";
import SpaceBetween from "@cloudscape-design/components/space-between";

/** Code is text to copy, with its button. */
export function Code({ text }: { text: string }) {
  return (
    <SpaceBetween size="xxs">
      <pre className="code" tabIndex={0}>
        {text}
      </pre>
      <CopyToClipboard copyButtonText="Copy" copyErrorText="Not copied" copySuccessText="Copied" textToCopy={text} />
    </SpaceBetween>
  );
}
