/**
 * The other half of forkserver.c: takes inputs at its input, executes them in a guest, and says at its output what came of each: 1 where something went wrong, and AFL's
 * map of edges. Nothing else may be printed there.
 */
import type { FuzzExecutor } from 'paravirt/debug'

/** A count of each class of counts: afl-fuzz makes classes of counts itself. */
const COUNTS: Readonly<Record<number, number>> = { 1: 1, 2: 2, 4: 3, 8: 4, 16: 8, 32: 16, 64: 32, 128: 128 }
const WORD = 4

/** The bytes of standard input, so many at a time. */
async function* inputs(): AsyncGenerator<Uint8Array> {
  let kept = Buffer.alloc(0)
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    kept = Buffer.concat([kept, chunk])
    while (kept.length >= WORD && kept.length >= WORD + kept.readUInt32LE(0)) {
      const end = WORD + kept.readUInt32LE(0)
      yield kept.subarray(WORD, end)
      kept = kept.subarray(end)
    }
  }
}

const say = (bytes: Uint8Array): Promise<void> => new Promise((resolve, reject) => { process.stdout.write(bytes, (error) => (error ? reject(error) : resolve())) })
const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)

/** Executes what afl-fuzz sends until it sends no more. */
export async function serveAfl(executor: FuzzExecutor): Promise<void> {
  await say(word(0))
  for await (const input of inputs()) {
    const { findings, classes } = await executor.execute(input)
    await say(word(findings.length > 0 ? 1 : 0))
    await say(classes.map((value) => COUNTS[value] ?? 0))
  }
  await executor.end()
}
