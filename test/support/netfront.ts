/** The kernel of test/guests/netfront.c, built on mini's sources. */
import { buildMini } from './build-mini.ts'
import type { NativeProgram } from './native-build.ts'

/** Builds it, or says why not. */
export const buildNetfront = (): NativeProgram => buildMini('pv64', {
  more: ['test/guests/netfront.c'],
  variables: { SOURCES: 'console.c events.c memory.c pv.c text.c traps.c', WARNINGS: '-Wno-unused-function' },
})
