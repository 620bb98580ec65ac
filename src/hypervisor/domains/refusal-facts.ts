/** What an operation tells beside a negative error number, for whoever puts it into words: a cause by name, and facts. */
export type RefusalFacts = Record<string, unknown>

/** Notes facts, the fact `cause` among them where one number stands for several causes, and gives the number back. */
export function because(facts: RefusalFacts, told: RefusalFacts, result: number): number {
  Object.assign(facts, told)
  return result
}
