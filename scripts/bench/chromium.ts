import { existsSync } from 'node:fs'

/** The browser that pages are looked at in: the one that GRADPROMPT_CHROMIUM names, or that of the system (Debian: `apt-get install chromium`). */
export const chromiumPath = (): string | undefined =>
  process.env.GRADPROMPT_CHROMIUM ??
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(path => existsSync(path))

/** A container has no user that the sandbox of Chromium could be set up by. */
export const chromiumArguments = ['--no-sandbox']
