import { describe, expect, test } from 'vitest'
import { NATIVE, RUNSTATE, VcpuRunstateInfo } from '../../../../src/abi/index.ts'
import { RunstateClock, writeRunstateArea, runstateShape } from '../../../../src/hypervisor/time/index.ts'

describe('run state', () => {
  test('time goes to the state that the vCPU is in', () => {
    const clock = new RunstateClock(100)
    expect(clock.change(RUNSTATE.runnable, 150)).toBe(true)
    expect(clock.change(RUNSTATE.running, 160)).toBe(true)
    expect(clock.change(RUNSTATE.running, 170)).toBe(false)
    clock.change(RUNSTATE.blocked, 200)
    expect(clock.at(230)).toEqual({ state: RUNSTATE.blocked, entered: 200, times: [40, 10, 30, 50] })
    expect(clock.cpuTime(1000)).toBe(40)
  })

  test('a saved clock goes on, and one that makes no sense is refused', () => {
    const clock = new RunstateClock(0, RUNSTATE.running)
    clock.change(RUNSTATE.blocked, 70)
    const other = new RunstateClock(0)
    other.load(clock.save())
    expect(other.at(90)).toEqual(clock.at(90))
    for (const broken of [{ times: [1, 2, 3] }, { times: [1, 2, 3, -4] }, { entered: NaN }, { state: 7 as 0 }]) {
      expect(runstateShape({ ...clock.save(), ...broken })).toContain(' must ')
    }
  })
})

describe("the guest's copy", () => {
  const snapshot = { state: RUNSTATE.blocked, entered: 2 ** 40 + 5, times: [1, 2, 2 ** 45, 4] } as const
  const UPDATE = 1n << 63n

  test('holds the state, the time of entry and the times', () => {
    const area = new Uint8Array(VcpuRunstateInfo.size)
    expect(writeRunstateArea(snapshot, { abi: NATIVE, announce: false, write: (offset, bytes) => { area.set(bytes, offset); return true } })).toBe(true)
    expect(VcpuRunstateInfo.decode(new DataView(area.buffer), 0)).toEqual({
      state: 2, stateEntryTime: BigInt(2 ** 40 + 5), time: [1n, 2n, 2n ** 45n, 4n],
    })
  })

  test('is marked while it is being written, for guests that asked for it', () => {
    const area = new Uint8Array(VcpuRunstateInfo.size)
    const view = new DataView(area.buffer)
    const marks: boolean[] = []
    const write = (offset: number, bytes: Uint8Array): boolean => {
      area.set(bytes, offset)
      marks.push((VcpuRunstateInfo.stateEntryTime.get(view, 0) & UPDATE) !== 0n)
      return true
    }
    writeRunstateArea(snapshot, { abi: NATIVE, announce: true, write })
    expect(marks).toEqual([true, true, false])
    expect(VcpuRunstateInfo.stateEntryTime.get(view, 0)).toBe(BigInt(snapshot.entered))
  })

  test('a copy that cannot be written is reported, not thrown', () => {
    expect(writeRunstateArea(snapshot, { abi: NATIVE, announce: true, write: () => false })).toBe(false)
    expect(writeRunstateArea(snapshot, { abi: NATIVE, announce: false, write: () => false })).toBe(false)
  })
})
