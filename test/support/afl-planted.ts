/** What afl-fuzz is given in place of a program: the kernel with planted mistakes, by the example's server. */
import { fuzzExecutor } from '../../src/debug/index.ts'
import { Host } from '../../src/toolstack/index.ts'
import { serveAfl } from '../../examples/afl/serve.ts'
import { plantedKernel, REQUEST } from './planted-kernel.ts'

const host = await Host.boot({ memory: 32, dom0Memory: 8 })
await host.createDomain({ name: 'planted', memory: 4, kernel: plantedKernel(), actions: { crash: 'preserve' } })
const held = await host.hold()
await held.run(20_000)
held.release()
await serveAfl(await fuzzExecutor({
  moment: await host.checkpoint(), target: 'planted', every: 600,
  input: {
    inject: (bytes, { memory }) => {
      const request = new Uint8Array(4 + Math.min(bytes.length, 128))
      request.set(bytes.subarray(0, 128), 4)
      new DataView(request.buffer).setUint32(0, Math.max(1, bytes.length), true)
      memory.write(REQUEST, request)
    },
  },
  until: ({ memory }) => memory.read(REQUEST, 4).every((byte) => byte === 0),
}))
await host.shutdown()
