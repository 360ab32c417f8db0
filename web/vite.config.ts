import react from "@vitejs/plugin-react";
import { type Plugin, defineConfig } from "vite";

// The console is served by the server itself under /console/, from files that
// are embedded in the binary; nothing is loaded from anywhere else.
// Of the design system's eight fonts, which are a fifth of the first load, the
// three that the console's components use.
const fonts: Plugin = {
  name: "fonts",
  enforce: "pre",
  transform(code, id) {
    if (!id.includes("global-styles/index.css")) return undefined;
    const used = /font-weight: (400|700);\s*font-style: normal|font-weight: 400;\s*font-style: italic/;
    return code.replace(/@font-face \{[^}]*\}/g, (face) => (used.test(face) ? face : ""));
  },
};

export default defineConfig({
  base: "/console/",
  plugins: [fonts, react()],
  build: {
    outDir: "../internal/console/dist",
    emptyOutDir: false, // the folder holds a committed file for builds without the console
    assetsInlineLimit: 0, // data: URLs would need a wider content security policy
    chunkSizeWarningLimit: 1500,
  },
});
