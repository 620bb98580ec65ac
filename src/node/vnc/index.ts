/** Screens of guests by VNC. */
export { serveScreens } from './serve-screens.ts'
export type { Screens, ScreensOptions, ServedScreen } from './serve-screens.ts'
