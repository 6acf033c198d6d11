/**
 * Where the Hugging Face Hub is and where its files are kept: read from the environment by the names and with the precedence that Python's
 * huggingface_hub has, so that both share one cache. It knows nothing of what the files hold.
 */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string
  /** The folder of `models--owner--name`. */
  readonly cache: string
  readonly token: string | undefined
  /** Nothing is asked of the network. */
  readonly offline: boolean
  /** How long a silent connection is waited for, how often a request is made again, and what a first wait is, in seconds. */
  readonly patience: { readonly stall: number; readonly tries: number; readonly wait: number; readonly longestWait: number }
}

type Environment = Readonly<Record<string, string | undefined>>

const defaultPatience = { stall: 30, tries: 5, wait: 1, longestWait: 120 }

/** @param environment HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE and their older names */
export function hubSettings(environment: Environment = process.env): HubSettings {
  const home = environment.HF_HOME || join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  return {
    endpoint: (environment.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    cache: environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE || join(home, 'hub'),
    token: tokenOf(environment, home),
    offline: isOn(environment.HF_HUB_OFFLINE) || isOn(environment.TRANSFORMERS_OFFLINE),
    patience: defaultPatience,
  }
}

const isOn = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '')

function tokenOf(environment: Environment, home: string): string | undefined {
  const given = environment.HF_TOKEN || environment.HUGGING_FACE_HUB_TOKEN
  if (given) return given.trim() || undefined
  if (isOn(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined
  try {
    return readFileSync(environment.HF_TOKEN_PATH || join(home, 'token'), 'utf8').trim() || undefined
  } catch {
    return undefined
  }
}
