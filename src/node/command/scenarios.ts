/** Tests that modules export. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isScenario, type Scenario } from '../../testing/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'

/** A test, and the name that its module exports it by. */
export interface FoundScenario {
  readonly exported: string
  readonly scenario: Scenario
  readonly url: string
}

/** Files that are modules. */
export const isModule = (path: string): boolean => /\.[cm]?[jt]s$/.test(path)

/** Imports modules that others need to be imported, such as what lets Node read TypeScript. */
export async function importFirst(modules: readonly string[]): Promise<readonly string[]> {
  const urls = modules.map((name) => (/^[./]/.test(name) ? pathToFileURL(resolve(name)).href : name))
  for (const url of urls) await import(url)
  return urls
}

/** The tests of a module, or the one of a name. Throws INVALID_ARGUMENT where there are none, and IO where the module cannot be imported. */
export async function scenariosOf(path: string, only: string | undefined): Promise<readonly FoundScenario[]> {
  const url = pathToFileURL(resolve(path)).href
  const exports = await import(url).catch((error: unknown) => {
    throw new XenError('IO', `${path} cannot be imported: ${thrownMessage(error)}`, { cause: error })
  }) as Readonly<Record<string, unknown>>
  const found = Object.entries(exports).flatMap(([exported, value]) => (isScenario(value) ? [{ exported, scenario: value, url }] : []))
  const wanted = only === undefined ? found : found.filter(({ exported, scenario }) => exported === only || scenario.name === only)
  if (wanted.length > 0) return wanted
  const names = found.map(({ exported }) => exported).join(', ')
  throw new XenError('INVALID_ARGUMENT', only === undefined ? `${path} exports no test: make one by scenario({ body })` : `${path} exports no test ${only}; it has ${names || 'none'}`)
}
