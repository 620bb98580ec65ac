/** What each kind of guest says must hold of its own, page tables say. Notes the uses that it finds. */
import type { Rule } from './parts.ts'

/** Asks all kinds that a host has. */
export const auditKinds: Rule = ({ kinds }, recount) => {
  for (const kind of kinds.all()) kind.audit?.(recount)
}
