/** A test of vitest's, with the errors that it has failed with. */
export interface FailedTask {
  readonly name: string
  readonly result?: { readonly errors?: readonly { message: string }[] | undefined } | undefined
}

/** What test runners give a test by which it can be told that it has failed, as far as it is used here: those of vitest and of node:test. */
export interface TestContext {
  /** vitest: called when the test has failed, with the test. */
  onTestFailed?(hook: (failed?: { readonly task: FailedTask }) => void | Promise<void>): unknown
  /** vitest: the test. */
  readonly task?: FailedTask | undefined
  /** node:test: called when the test is over. */
  after?(hook: () => void | Promise<void>): unknown
  /** node:test: whether it has passed, once it is over. */
  readonly passed?: boolean
  /** node:test: what it has failed with. */
  readonly error?: unknown
  readonly name?: string
  /** node:test: shows a line of text with the test. */
  diagnostic?(message: string): void
}

/** What is to be called once a test has failed; the texts go where its runner shows them. */
export function onFailure(context: TestContext, hook: () => Promise<string>): void {
  if (context.onTestFailed !== undefined) {
    context.onTestFailed(async (failed) => {
      const text = await hook()
      const [error] = (failed?.task ?? context.task)?.result?.errors ?? []
      if (error !== undefined && !error.message.includes(text)) error.message = `${error.message}\n\n${text}`
    })
    return
  }
  context.after?.(async () => {
    // A runner that does not say is taken to have passed, unless it has an error.
    if (context.passed !== false && (context.error === undefined || context.error === null)) return
    for (const line of (await hook()).split('\n')) context.diagnostic?.(line)
  })
}
