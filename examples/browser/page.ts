/**
 * A page with Debian's Linux in a terminal, and a second host that it moves to, live, over a link that can be cut. The hosts are in
 * workers; this thread only draws.
 *
 *   npx tsx examples/browser/make-moment.ts examples/browser/public/debian.moment
 *   npx vite examples/browser
 */
const begin = (name: string): Worker => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name })

// The first host has the most to do: its worker begins before the rest of the page is loaded.
const first = begin('a')
const { runPage } = await import('./two-hosts.ts')
await runPage(first, () => begin('b'))

export {}
