/** A domain that `xl save` of Xen 4.17 wrote: examples/guests/mini with 4 MiB. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

/** The whole file. */
export const savedMini = (): Uint8Array =>
  new Uint8Array(
    gunzipSync(readFileSync(fileURLToPath(new URL('../golden/mini-saved-by-xen-4.17.xl.gz', import.meta.url)))),
  )
