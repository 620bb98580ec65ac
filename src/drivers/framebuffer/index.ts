/**
 * Framebuffers: the back-end that maps what guests draw, pictures of it, and the front-end of guests in TypeScript.
 *
 * @module
 */
export { FRAMEBUFFER_TYPE } from './protocol.ts'
export { FramebufferBackend } from './backend.ts'
export type { FramebufferBackendOptions } from './backend.ts'
export type { FramebufferInterference, UpdateFacts } from './interference.ts'
export type { FramebufferEvent, FramebufferStatistics, ServedFramebuffer } from './served-framebuffer.ts'
export { FramebufferFrontend, GuestScreen } from './frontend.ts'
export type { Colour, FramebufferFrontendOptions } from './frontend.ts'
export { joined as joinedArea, overlap as overlapOfAreas } from './picture.ts'
export { encodePng } from './png.ts'
export type { Picture, ScreenArea } from './picture.ts'
