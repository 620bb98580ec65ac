/**
 * Compiling on the host, and where it does not: a content security policy without `wasm-unsafe-eval`, no memory for code. What is
 * wrong with a module is a fault of ours and no refusal.
 */
import { XenError, type OwnBytes } from '../util/index.ts'

/** The host compiles no WebAssembly; the message says in its words why. */
export class HostRefusal extends XenError {
  constructor(cause: Error) {
    super('NOT_SUPPORTED', `the host does not compile WebAssembly: ${cause.message}`, { cause })
  }
}

/** What `make` gives of a module's bytes. Throws HostRefusal where the host does not compile them. */
function unlessRefused<T>(bytes: OwnBytes, make: (bytes: OwnBytes) => T): T {
  try {
    return make(bytes)
  } catch (cause) {
    // To validate is to compile nothing: a policy has nothing against it.
    const isRefusal = cause instanceof RangeError || (cause instanceof WebAssembly.CompileError && WebAssembly.validate(bytes))
    throw isRefusal ? new HostRefusal(cause) : cause
  }
}

/** Compiles a module. Throws HostRefusal where the host does not. */
export function compile(bytes: OwnBytes): WebAssembly.Module {
  return unlessRefused(bytes, (own) => new WebAssembly.Module(own))
}

/** Compiles a module and makes an instance. Throws HostRefusal where the host does not. */
export function instantiate(bytes: OwnBytes, imports: WebAssembly.Imports): WebAssembly.Exports {
  return unlessRefused(bytes, (own) => new WebAssembly.Instance(new WebAssembly.Module(own), imports).exports)
}
