import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Device, defaultDevice } from '../../program/devices.js'

/**
 * Which graphics adapters the system says it has: read from the system's own tools and files, as ONNX Runtime does not tell. A machine
 * without such a tool has no adapters here, and may have them all the same. What programs run on them is unknown here.
 */

export interface Adapter {
  readonly name: string
  readonly driver?: string
  /** Bytes of its own memory; undefined where the system does not say, or where it shares the machine's. */
  readonly memory?: number
  /** Of these, what is free. */
  readonly free?: number
  /** Its number among those that CUDA counts. */
  readonly cuda?: number
}

const mostMilliseconds = 5000

export async function adapters(): Promise<Adapter[]> {
  const nvidia = await nvidiaAdapters()
  if (process.platform === 'darwin') return await appleAdapters()
  if (process.platform === 'win32') return nvidia.length > 0 ? nvidia : await windowsAdapters()
  return [...nvidia, ...(await linuxAdapters(nvidia.length > 0))]
}

/** What a program prints; nothing where it is not there, fails or takes too long. */
async function printed(file: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(file, args, { timeout: mostMilliseconds, maxBuffer: 2 ** 20, windowsHide: true })
    return stdout
  } catch {
    return ''
  }
}

async function nvidiaAdapters(): Promise<Adapter[]> {
  const fields = 'index,name,driver_version,memory.total,memory.free'
  return readNvidia(await printed('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv,noheader,nounits']))
}

/** Reads what `nvidia-smi` prints: a line an adapter, memory in MiB. */
export function readNvidia(text: string): Adapter[] {
  return text.split('\n').flatMap(line => {
    const [index, name, driver, total, free] = line.split(',').map(part => part.trim())
    if (!name || !/^\d+$/.test(index ?? '')) return []
    // Some adapters share the machine's memory, and say [N/A].
    const bytes = (mebibytes: string | undefined) => (/^\d+$/.test(mebibytes ?? '') ? Number(mebibytes) * 2 ** 20 : undefined)
    const [memory, unused] = [bytes(total), bytes(free)]
    return [
      {
        name,
        cuda: Number(index),
        ...(driver ? { driver } : {}),
        ...(memory !== undefined && { memory }),
        ...(unused !== undefined && { free: unused }),
      },
    ]
  })
}

const vendors: Readonly<Record<string, string>> = { '0x1002': 'AMD', '0x8086': 'Intel', '0x10de': 'NVIDIA' }

/** Adapters that the kernel has a driver of; those of NVIDIA say more by their own tool. */
async function linuxAdapters(hasNvidia: boolean): Promise<Adapter[]> {
  const root = '/sys/class/drm'
  const cards = (await readdir(root).catch(() => [])).filter(name => /^card\d+$/.test(name))
  const found = cards.sort().map(async (card): Promise<Adapter[]> => {
    const read = (name: string) =>
      readFile(join(root, card, 'device', name), 'utf8').then(
        text => text.trim(),
        () => '',
      )
    const vendor = vendors[await read('vendor')]
    if (vendor === undefined || (vendor === 'NVIDIA' && hasNvidia)) return []
    const [total, used] = [Number(await read('mem_info_vram_total')), Number(await read('mem_info_vram_used'))]
    const driver = /^DRIVER=(.*)$/m.exec(await read('uevent'))?.[1]
    return [
      {
        name: `${vendor} ${(await read('product_name')) || (await read('device'))}`,
        ...(driver ? { driver } : {}),
        ...(total > 0 ? { memory: total, free: total - used } : {}),
      },
    ]
  })
  return (await Promise.all(found)).flat()
}

async function appleAdapters(): Promise<Adapter[]> {
  try {
    const { SPDisplaysDataType: list } = JSON.parse(await printed('system_profiler', ['SPDisplaysDataType', '-json']))
    return (list as Record<string, string>[]).map(({ sppci_model: name, spdisplays_mtlgpufamilysupport: driver }) => ({
      name: name ?? 'unknown',
      ...(driver ? { driver } : {}),
    }))
  } catch {
    return []
  }
}

async function windowsAdapters(): Promise<Adapter[]> {
  const query = 'Get-CimInstance Win32_VideoController | Select-Object Name,DriverVersion | ConvertTo-Json -Compress'
  try {
    const list = [JSON.parse(await printed('powershell.exe', ['-NoProfile', '-NonInteractive', '-Command', query]))].flat()
    return (list as Record<string, string>[]).map(({ Name: name, DriverVersion: driver }) => ({
      name: name ?? 'unknown',
      ...(driver ? { driver } : {}),
    }))
  } catch {
    return []
  }
}

/** Of CUDA's adapters the first counts; of others it is known which is meant only where there is but one. */
export function freeMemory(device: Device, found: readonly Adapter[]): number | undefined {
  if (device === defaultDevice) return undefined
  if (device === 'cuda') return found.find(({ cuda }) => cuda === 0)?.free
  return found.length === 1 ? found[0]!.free : undefined
}
