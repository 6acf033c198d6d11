import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type * as ort from 'onnxruntime-node'
import { GradpromptError } from '../../errors.js'
import { packageRoot } from '../../package-root.js'

/**
 * Loads ONNX Runtime when it is first needed. It is an optional dependency, so that an install script of its own that fails does not
 * fail the installation of gradprompt; what is missing is said here, with the command that mends it. Knows nothing of programs.
 */

let loaded: typeof ort | undefined

/** The package that holds ONNX Runtime, with the version that gradprompt is made for, as `npm install` takes it. */
function wanted(): string {
  const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'))
  return `onnxruntime-node@${manifest.optionalDependencies['onnxruntime-node']}`
}

/** @throws GradpromptError `runtime-missing` (not installed), `runtime-unusable` (no binary for this machine, or one that does not load) */
export function onnxRuntime(): typeof ort {
  loaded ??= load(createRequire(import.meta.url))
  return loaded
}

/** `onnxRuntime` without its memory: `require` resolves from the file it was made for. */
export function load(require: NodeJS.Require): typeof ort {
  try {
    require.resolve('onnxruntime-node')
  } catch (cause) {
    throw new GradpromptError('runtime-missing', 'ONNX Runtime, which computes everything, is not installed', {
      found: 'no package onnxruntime-node beside gradprompt (optional dependencies were left out, or its install script failed)',
      expected: wanted(),
      hint: `npm install --ignore-scripts ${wanted()}`,
      cause,
    })
  }
  // Since 1.30 it reports how it is used to its makers, and keeps what it has not sent in the folder of temporary files. What people tune and
  // whether they do is theirs; whoever wants to report it sets the variable to 0.
  process.env.ORT_DISABLE_TELEMETRY ??= '1'
  try {
    return require('onnxruntime-node') as typeof ort
  } catch (cause) {
    throw new GradpromptError('runtime-unusable', `ONNX Runtime cannot be loaded on ${process.platform}-${process.arch}`, {
      found: cause instanceof Error ? cause.message.split('\n')[0]! : String(cause),
      expected: 'linux (x64 or arm64, with glibc), win32 (x64 or arm64) or darwin (arm64)',
      hint: `npm install --ignore-scripts ${wanted()}`,
      exitCode: 1,
      cause,
    })
  }
}
