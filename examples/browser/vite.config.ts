/** How Vite builds the page: `paravirt` is the package, or, in a checkout of it, its sources. */
import { defineConfig } from 'vite'

export default defineConfig({
  resolve: { tsconfigPaths: true },
  build: { target: 'es2022' },
  worker: { format: 'es' },
})
