/**
 * The console: the smallest split driver.
 *
 * @module
 */
export { CONSOLE_LOG_LIMIT, CONSOLE_TYPE, consolePath, parseConsoleNodes } from './protocol.ts'
export type { ConsoleNodes } from './protocol.ts'
export { ConsoleFrontend } from './frontend.ts'
export { ConsoleBackend } from './backend.ts'
export type { ConsoleOpenOptions } from './backend.ts'
export { CONSOLE_WRITE_LIMIT, ConsoleStream } from './console-stream.ts'
export type { ConsoleBackendServices, ConsoleEvent, ConsoleOutputOptions } from './console-stream.ts'
