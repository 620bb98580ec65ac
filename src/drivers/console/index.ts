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
export { CHANNEL_NAME_LIMIT, ChannelBackend } from './channel-backend.ts'
export { ChannelFrontend } from './channel-frontend.ts'
export { CONSOLE_WRITE_LIMIT, ConsoleStream } from './console-stream.ts'
export type { ConsoleBackendServices, ConsoleEvent, ConsoleStatistics } from './console-stream.ts'
export { CONSOLE_EVENTS } from './console-stream.ts'
export { ConsoleLog } from './console-log.ts'
export type { ConsoleOutputOptions } from './console-log.ts'
export { byteLogState } from './byte-log.ts'
export type { ByteLogState } from './byte-log.ts'
