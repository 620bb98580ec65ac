import { beforeEach, expect, test } from 'vitest'
import { ERRNO, HYPFS_OP, HYPFS_TYPE, XenHypfsDirentry, XenHypfsDirlistentry } from '../../../../src/abi/index.ts'
import { MachineHost, SOURCE } from '../../../support/machine-host.ts'
import { ToolDomain } from '../../../support/tool-domain.ts'

let host: MachineHost
let tools: ToolDomain

beforeEach(() => {
  host = new MachineHost(SOURCE, { memoryBytes: 16 << 20 })
  tools = new ToolDomain(host.hypervisor, host.machine.memory)
})

function read(path: string, room = 4096): number {
  const bytes = new TextEncoder().encode(`${path}\0`)
  tools.bufferBytes(1, bytes.length).set(bytes)
  return tools.call('hypfs_op', HYPFS_OP.read, tools.buffer(1), bytes.length, tools.buffer(2), room)
}

/** Names in the directory that was read, with their types. */
function names(): Record<string, number> {
  const found: Record<string, number> = {}
  for (let at = tools.buffer(2) + XenHypfsDirentry.size, next = -1; next !== 0; at += next) {
    const end = tools.bytes.indexOf(0, at + 14)
    found[String.fromCharCode(...tools.bytes.subarray(at + 14, end))] = XenHypfsDirentry.type.get(tools.view, at)
    next = XenHypfsDirlistentry.offNext.get(tools.view, at)
  }
  return found
}

test('the file system is walked from its root', () => {
  expect(tools.call('hypfs_op', HYPFS_OP.get_version)).toBe(1)
  expect(read('/')).toBe(0)
  expect(names()).toEqual({ buildinfo: HYPFS_TYPE.DIR, cpupool: HYPFS_TYPE.DIR, params: HYPFS_TYPE.DIR })
  expect(read('/buildinfo/version')).toBe(0)
  expect(names()).toEqual({ extra: HYPFS_TYPE.STRING, major: HYPFS_TYPE.UINT, minor: HYPFS_TYPE.UINT })
  expect(read('/buildinfo/version/extra')).toBe(0)
  const { contentLen, maxWriteLen } = XenHypfsDirentry.decode(tools.view, tools.buffer(2))
  expect([contentLen, maxWriteLen, String.fromCharCode(...tools.bufferBytes(2, 14).subarray(12))]).toEqual([3, 0, '.7'])
})

test('what is too small is told how large it has to be, and what is wrong is refused', () => {
  expect(read('/buildinfo', 12)).toBe(-ERRNO.ENOBUFS)
  expect(XenHypfsDirentry.contentLen.get(tools.view, tools.buffer(2))).toBeGreaterThan(40)
  expect([read('/buildinfo', 11), read('/none'), read('/params/gnttab_max_frames/x'), read('buildinfo'), read(`/${'x'.repeat(2000)}`), read('/__proto__')])
    .toEqual([-ERRNO.EINVAL, -ERRNO.ENOENT, -ERRNO.ENOENT, -ERRNO.EINVAL, -ERRNO.EINVAL, -ERRNO.ENOENT])
  read('/params/gnttab_max_frames')
  expect(tools.call('hypfs_op', HYPFS_OP.write_contents, tools.buffer(1), 26, tools.buffer(2), 3)).toBe(-ERRNO.EACCES)
  expect(tools.call('hypfs_op', HYPFS_OP.get_version, 1)).toBe(-ERRNO.EINVAL)
  expect(new ToolDomain(host.hypervisor, host.machine.memory, { privileged: false }).call('hypfs_op', HYPFS_OP.get_version)).toBe(-ERRNO.EPERM)
})
