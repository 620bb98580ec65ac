/** One host: `a` begins at the moment of a Debian Linux at its shell, `b` has no domain yet. Both keep the wall's time. */
import { Host } from 'paravirt'
import { fetchMoment, serveWorker } from 'paravirt/browser'

const own = self as unknown as { readonly name: string }

serveWorker(async () => {
  if (own.name === 'b') return Host.boot({ memory: 192, dom0Memory: 16, clock: 'realtime' })
  const { moment } = await fetchMoment('/debian.moment')
  return moment.branch({ clock: 'realtime' })
})
