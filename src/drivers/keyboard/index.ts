/**
 * Keyboards and pointers: the back-end, and the front-end of guests in TypeScript.
 *
 * @module
 */
export { KEYBOARD_TYPE, MAX_KEY, MAX_PLACE } from './protocol.ts'
export { KEY_CODES, keyCode, strokeOf, strokesOf } from './keys.ts'
export type { Stroke } from './keys.ts'
export type { KeyInput, PointerInput, ScreenInput } from './protocol.ts'
export { KeyboardBackend } from './backend.ts'
export type { KeyboardBackendOptions } from './backend.ts'
export type { InputEffect, InputFacts, KeyboardInterference } from './interference.ts'
export type { KeyboardStatistics, ServedKeyboard } from './served-keyboard.ts'
export { KeyboardFrontend } from './frontend.ts'
