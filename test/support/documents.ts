/** Documents that are made of the library's own tables. `npx tsx test/support/update-documents.ts` writes them anew. */
import { ERROR_CODES } from '../../src/util/index.ts'
import { OWN_CALLS, TRAVELLING } from '../../src/toolstack/service/travelling.ts'
import { ACTIVITIES, DOMAIN_CALLS, EXCLUDES, type Activity } from '../../src/toolstack/run/activities.ts'

const KINDS = Object.keys(ACTIVITIES) as Activity[]
const callsOf = (standing: string): string =>
  Object.entries(DOMAIN_CALLS).filter(([, own]) => own === standing).map(([name]) => `\`${name}\``).join(', ')

/** docs/concurrency.md. */
export const concurrencyDocument = (): string => `# Calls that overlap

Made of the tables in \`src/toolstack/run/activities.ts\` by \`npx tsx test/support/update-documents.ts\`; \`test/sweeps/call-pairs.test.ts\`
tries all pairs on one domain.

Calls may overlap as they like: each is either carried out beside the other, takes the other's place, or is refused at once with BUSY, and
then nothing has changed and the first goes on. \`details.doing\` of the error says what is under way.

| activity | calls | |
| --- | --- | --- |
${KINDS.map((kind) => `| ${kind} | ${callsOf(kind)} | ${ACTIVITIES[kind]} |`).join('\n')}
| look | ${callsOf('look')} | changes nothing, and is never refused |
| destroy | ${callsOf('destroy')} | ends the domain at once: what is under way is undone and rejects with DOMAIN_NOT_FOUND; a second one joins the first |

The same holds for calls of the host that name a domain (\`host.setMemTarget\`). A host that is shut down ends everything with CLOSED.

Under way (rows) and asked for meanwhile (columns):

| | ${KINDS.join(' | ')} | look | destroy |
| --- | ${[...KINDS, 'look', 'destroy'].map(() => '---').join(' | ')} |
${KINDS.filter((kind) => !['pausing', 'naming', 'tuning'].includes(kind)).map((kind) =>
  `| ${kind} | ${KINDS.map((other) => (EXCLUDES[kind].includes(other) ? 'BUSY' : supersedes(kind, other) ? 'newest counts' : 'beside')).join(' | ')} | beside | ends it |`).join('\n')}

Of a whole host: \`createDomain\`, \`restore\` and \`receiveMigration\` go on beside each other; a name that is taken meanwhile is refused with
DOMAIN_EXISTS. \`checkpoint\`, \`reset\` and \`stateHash\` want a host on which nothing is under way: BUSY names what is.
`

const supersedes = (one: Activity, other: Activity): boolean => one === other && (one === 'memory' || one === 'vcpus')

/** docs/errors.md. */
export const errorsDocument = (): string => `# Errors

Made of the table in \`src/util/error-codes.ts\` (\`ERROR_CODES\` of the package) by \`npx tsx test/support/update-documents.ts\`.

Whatever a caller can cause is a \`XenError\` with a stable \`code\`, facts in \`details\`, and often a \`cause\`. Compare codes, not classes or
messages: \`XenError.is(error, 'BUSY')\`. A call that fails leaves everything as it was. Anything else that is thrown is a fault of the library.
At the ABI a guest sees Xen's error numbers instead.

| code | what it means | what to do |
| --- | --- | --- |
${Object.entries(ERROR_CODES).map(([code, { means, doing }]) => `| \`${code}\` | ${means} | ${doing} |`).join('\n')}
`

const SUBJECTS: Readonly<Record<keyof typeof TRAVELLING, string>> = {
  host: 'a host (`RemoteHost`)', domain: 'a domain (`RemoteDomain`)', console: 'a console (`domain.console`)', cpupools: '`host.cpupools`',
  cpupool: 'a pool of CPUs', moment: 'a moment', catalogue: '`host.catalogue`, where `serveHost` was given one',
}

/** docs/service-calls.md. */
export const serviceDocument = (): string => `# What travels to another process

Made of the tables in \`src/toolstack/service/travelling.ts\` by \`npx tsx test/support/update-documents.ts\`; the compiler holds them complete, and
\`test/system/service-contract.test.ts\` uses each over a connection. What answers at once here answers with a promise there; a fact
(\`domain.crash\`) is a call without arguments there (\`await domain.crash()\`). Events: \`on\`, \`onAny\`, \`once\`, \`stream\`, \`recent\` of \`host.events\`.

| of | travels |
| --- | --- |
${Object.entries(SUBJECTS).map(([name, words]) => `| ${words} | ${[...TRAVELLING[name as keyof typeof TRAVELLING].travels, ...OWN_CALLS[name as keyof typeof TRAVELLING] ?? []].map((call) => `\`${call}\``).join(', ')} |`).join('\n')}

| stays | because |
| --- | --- |
${Object.entries(TRAVELLING).flatMap(([name, { stays }]) => Object.entries<string>(stays).map(([member, why]) => `| \`${name}.${member}\` | ${why} |`)).join('\n')}
`

/** Every document, by its place. */
export const DOCUMENTS: Readonly<Record<string, () => string>> = {
  'docs/concurrency.md': concurrencyDocument, 'docs/errors.md': errorsDocument, 'docs/service-calls.md': serviceDocument,
}
