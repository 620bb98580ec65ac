/**
 * Specifications of folders: `tag=TAG,path=PATH,security_model=none[,backend=DOMAIN]`, and the same as objects.
 * Reference: xl.cfg(5), p9; tools/xl/xl_parse.c.
 */
import { checkConfig, oneOf, XenError, type OptionChecks } from '../../../util/index.ts'
import { MAX_SPECIFICATION } from '../described-device.ts'
import { parameters, parametersOf, parameterText, unless } from '../parameters.ts'

/** Whose the files are: what the guest says, as far as its host allows it. The only model that xl.cfg(5) knows. */
export const SECURITY_MODELS = ['none'] as const

/** One folder that a guest mounts by 9P. */
export interface FolderConfig {
  /** By which the guest mounts it. Unique in its domain. */
  readonly tag: string
  /** A folder of the host, or what its `openFolder` understands. */
  readonly path: string
  readonly securityModel: (typeof SECURITY_MODELS)[number]
  /** Domain that serves it. */
  readonly backend: string
}

/** A folder as an object. */
export interface FolderDescription {
  readonly tag: string
  readonly path: string
  /** Default `none`. */
  readonly securityModel?: FolderConfig['securityModel'] | undefined
  /** Domain that serves it, by name or number. Default dom0. */
  readonly backend?: string | undefined
}

/** Characters that a tag or path may have: they are nodes of XenStore. */
const LONGEST = 1024
const KEYS = ['tag', 'path', 'security_model', 'backend'] as const

/** Throws INVALID_CONFIG for what cannot be. `shown` is what was given. */
function checked(folder: FolderConfig, shown: string): FolderConfig {
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `folder \`${shown}\`: ${message}`, { details: { folder: shown } })
  for (const what of ['tag', 'path'] as const) {
    const value = folder[what]
    if (value === '') throw fault(`it has no ${what}`)
    if (value.length > LONGEST) throw fault(`its ${what} has more than ${LONGEST} characters`)
    if (/[\0-\x1f\x7f]/.test(value)) throw fault(`its ${what} has control characters`)
  }
  return folder
}

/** Parses one specification. Throws INVALID_CONFIG naming it, also for a parameter that there is none of, as xl does. */
export function parseFolder(specification: string): FolderConfig {
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `folder \`${specification}\`: ${message}`, { details: { folder: specification } })
  if (specification.length > MAX_SPECIFICATION) throw fault(`it has more than ${MAX_SPECIFICATION} characters`)
  const refuse = (message: string): never => { throw fault(message) }
  const found = parametersOf(specification, { keys: KEYS, malformed: refuse, unknown: refuse })
  const { tag, path, security_model: model, backend = '0' } = found
  const missing = KEYS.slice(0, 3).find((key) => found[key] === undefined)
  if (tag === undefined || path === undefined || missing !== undefined) throw fault(`${missing} is missing`)
  const securityModel = SECURITY_MODELS.find((word) => word === model)
  if (securityModel === undefined) throw fault(`\`${model}\` is not a value for security_model: it is none`)
  return checked({ tag, path, securityModel, backend: backend === '' ? '0' : backend }, specification)
}

const DESCRIPTION_CHECKS: OptionChecks<FolderDescription> = { tag: parameterText, path: parameterText, securityModel: /* @__PURE__ */ oneOf(...SECURITY_MODELS), backend: parameterText }

/** A folder out of a text or an object, with its defaults. Throws INVALID_CONFIG. */
export function resolveFolder(folder: string | FolderDescription): FolderConfig {
  if (typeof folder === 'string') return parseFolder(folder)
  checkConfig('folder', folder, DESCRIPTION_CHECKS)
  const { tag, path, securityModel = 'none', backend = '0' } = folder
  return checked({ tag: tag ?? '', path: path ?? '', securityModel, backend }, JSON.stringify(folder))
}

/** A folder as a specification. */
export const formatFolder = ({ tag, path, securityModel, backend }: FolderConfig): string =>
  parameters('folders', [['tag', tag], ['path', path], ['security_model', securityModel], ['backend', unless(backend, '0')]]).join(',')
