import { describe, expect, test } from 'vitest'
import { OperationAbort, startOperation } from '../../../../src/toolstack/run/operation.ts'
import { XenError } from '../../../../src/util/index.ts'

type Progress = { readonly type: 'step'; readonly n: number }
const settings = { name: 'the work', now: () => 0 }

describe('an operation', () => {
  test('reports progress to listeners that are attached after it was started', async () => {
    const seen: number[] = []
    const operation = startOperation<string, Progress>(settings, async ({ report }) => {
      report({ type: 'step', n: 1 })
      await Promise.resolve()
      report({ type: 'step', n: 2 })
      return 'done'
    })
    operation.progress.on('step', ({ n }) => seen.push(n))
    expect(await operation).toBe('done')
    expect(seen).toEqual([1, 2])
  })

  test('undoes its steps in reverse order when it fails, and passes the failure on', async () => {
    const log: string[] = []
    const operation = startOperation<void, Progress>(settings, async ({ undo }) => {
      undo(() => void log.push('first'))
      undo(async () => {
        await Promise.resolve()
        log.push('second')
      })
      throw new Error('broken')
    })
    await expect(operation).rejects.toThrow('broken')
    expect(log).toEqual(['second', 'first'])
  })

  test('keeps its steps when it succeeds', async () => {
    let undone = false
    await startOperation<void, Progress>(settings, async ({ undo }) => undo(() => { undone = true }))
    expect(undone).toBe(false)
  })

  test('undoes the other steps when one cannot be undone', async () => {
    let undone = false
    const operation = startOperation<void, Progress>(settings, async ({ undo }) => {
      undo(() => { undone = true })
      undo(() => { throw new Error('stuck') })
      throw new Error('broken')
    })
    await expect(operation).rejects.toThrow(/could not be undone/)
    expect(undone).toBe(true)
    const coded = startOperation<void, Progress>(settings, async ({ undo }) => {
      undo(() => { throw new Error('stuck') })
      throw new XenError('IO', 'broken', { details: { path: 'x' } })
    })
    await expect(coded).rejects.toMatchObject({ code: 'IO', message: 'broken; what it had done could not be undone completely', details: { path: 'x', notUndone: [new Error('stuck')] } })
  })

  test('is aborted before it begins, or between steps', async () => {
    const given = new OperationAbort()
    given.abort('no')
    const early = startOperation<void, Progress>({ ...settings, abort: given }, async () => undefined)
    await expect(early).rejects.toMatchObject({ code: 'ABORTED', message: 'the work was aborted', cause: 'no' })
    const abort = new OperationAbort()
    const late = startOperation<void, Progress>({ ...settings, abort }, async ({ check }) => {
      abort.abort('enough')
      check()
    })
    await expect(late).rejects.toMatchObject({ code: 'ABORTED', cause: 'enough' })
  })

  test('has a signal for whoever asks, before it is aborted and after', async () => {
    const abort = new OperationAbort()
    const reasons: unknown[] = []
    const operation = startOperation<void, Progress>({ ...settings, abort }, async (context) => {
      context.signal?.addEventListener('abort', () => reasons.push(context.signal?.reason))
      abort.abort('first')
      abort.abort('second')
    })
    await operation
    expect(reasons).toEqual(['first'])
    const late = new OperationAbort()
    late.abort('gone')
    expect(late.signal).toMatchObject({ aborted: true, reason: 'gone' })
  })
})
