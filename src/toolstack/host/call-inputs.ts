/** Calls as the host's door notes them: of their options what counts for the host, as plain data. */
import { parseDuration, named, tryRead } from '../../util/index.ts'
import type { DomainOptions } from '../config/domain-config.ts'
import type { CreateOptions } from '../create/create-options.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { CallLimits, HostCall } from '../run/inputs.ts'
import type { UntilOptions } from '../run/run-loop.ts'

/** What is no duration is refused by the call itself, and by the call that is made of the record. */
function plainTimeout(timeout: NonNullable<UntilOptions['timeout']>): CallLimits['timeout'] {
  try {
    return parseDuration(timeout, 'timeout', { most: Infinity })
  } catch {
    return named(timeout)
  }
}

/** How long a call waits, and whether its caller had given up before it began. */
export function limitsOf(options: UntilOptions | undefined): CallLimits {
  const timeout = tryRead(() => options?.timeout)
  return {
    ...(timeout === undefined ? {} : { timeout: plainTimeout(timeout) }),
    ...(tryRead(() => options?.signal?.aborted) === true ? { aborted: true } : {}),
  }
}

/** The call that creates a domain; a domain that comes with what is no plain data, such as a program, is named only. */
export function creation(config: string | DomainOptions<KernelSource>, options: CreateOptions | undefined): HostCall {
  try {
    const { signal, ...plain } = options ?? {}
    return { call: 'create', ...structuredClone({ config, options: plain }), ...limitsOf({ signal }) }
  } catch {
    return { call: 'other', name: 'createDomain with a program' }
  }
}
