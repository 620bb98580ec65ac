/** The settings of the compiling tier out of a machine's options, checked. */
import { XenError, callable, checkOptions, shown, whole, type OptionChecks } from '../../../../util/index.ts'
import type { CompilerOptions } from '../../../interface/compiler.ts'
import { COMPILER_DEFAULTS } from './defaults.ts'
import type { CompilerSettings } from './defaults.ts'

const MOST = Number.MAX_SAFE_INTEGER
const CHECKS: OptionChecks<CompilerOptions> = {
  samples: /* @__PURE__ */ whole(1, MOST), slice: /* @__PURE__ */ whole(1, 0x7fff_0000), limit: /* @__PURE__ */ whole(1, 10_000),
  batch: /* @__PURE__ */ whole(1, 1000), modules: /* @__PURE__ */ whole(1, 10_000), now: callable,
  drop: (value) => (typeof value === 'object' && value !== null ? undefined : `must be an object, got ${shown(value)}`),
}
const DROP_CHECKS: OptionChecks<NonNullable<CompilerOptions['drop']>> = {
  seed: /* @__PURE__ */ whole(0, 0xffff_ffff), oneIn: /* @__PURE__ */ whole(1, MOST),
}

/** The settings, undefined where nothing is compiled. Throws INVALID_ARGUMENT naming the one at fault. */
export function compilerSettings(options: 'off' | CompilerOptions): CompilerSettings | undefined {
  if (options === 'off') return undefined
  if (typeof options === 'string') {
    throw new XenError('INVALID_ARGUMENT', `compiler must be "off" or an object of settings, got ${shown(options)}`)
  }
  checkOptions('compiler', options, CHECKS)
  if (options.drop !== undefined) checkOptions('compiler.drop', options.drop, DROP_CHECKS)
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return { ...COMPILER_DEFAULTS, ...Object.fromEntries(given) }
}
