import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The console is served by the server itself under /console/, from files that
// are embedded in the binary; nothing is loaded from anywhere else.
export default defineConfig({
  base: "/console/",
  plugins: [react()],
  build: {
    outDir: "../internal/console/dist",
    emptyOutDir: false, // the folder holds a committed file for builds without the console
    assetsInlineLimit: 0, // data: URLs would need a wider content security policy
    chunkSizeWarningLimit: 1500,
  },
});
