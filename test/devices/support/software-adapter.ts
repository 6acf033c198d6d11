import { existsSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * A graphics adapter in software, for machines without one: SwiftShader, which Chromium brings along. Programs are computed by it as
 * by a device, only slowly.
 */

const drivers = ['/usr/lib/chromium/vk_swiftshader_icd.json', '/usr/lib/chromium-browser/vk_swiftshader_icd.json']

/** What a process needs in its environment to find the adapter; undefined where there is none. */
export function softwareAdapter(): Record<string, string> | undefined {
  const driver = [process.env.VK_ICD_FILENAMES, ...drivers].find(path => path !== undefined && existsSync(path))
  if (driver === undefined) return undefined
  return {
    VK_ICD_FILENAMES: driver,
    VK_DRIVER_FILES: driver,
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? '/tmp',
    // Chromium's own loader of drivers, where the system has none.
    LD_LIBRARY_PATH: [process.env.LD_LIBRARY_PATH, dirname(driver)].filter(path => path !== undefined).join(':'),
  }
}
