/** What a failed test leaves behind for people to look at: files, by whoever can write them. */
import type { FailureReport } from './failure-report.ts'

/** Takes files; `paravirt/node` has a folder. */
export interface ArtifactWriter {
  /** Keeps one file under a name without folders. */
  write(name: string, contents: Uint8Array): Promise<void>
}

/** A name as files may have it. */
const fileName = (name: string): string => name.replace(/[^\w.-]+/g, '-').replace(/^[-.]+|-+$/g, '').slice(0, 100) || 'test'

/** Writes a report and its capture. Rejects with what the writer rejects with. */
export async function writeArtifacts(writer: ArtifactWriter, name: string, { text, capture }: FailureReport): Promise<void> {
  await writer.write(`${fileName(name)}.txt`, new TextEncoder().encode(`${text}\n`))
  if (capture !== undefined) await writer.write(`${fileName(name)}.pcapng`, capture)
}
