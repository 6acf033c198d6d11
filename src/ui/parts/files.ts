import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { Refusal, sandboxed } from './guard.js'

/** Files of a run that a browser may have. A page among them is somebody's, and is opened where it can reach nothing. */

const pages = /(?:^|\/)evaluations\/[^/]+\.html$/
const saved =
  /(?:^|\/)(?:config\.yaml|sweep\.yaml|events\.jsonl|result\.json|run\.json|metrics\.csv|prompt\.safetensors|prompt\.json|(?:evaluations|predictions)\/[^/]+\.jsonl?)$/

/** @throws Refusal `not-found` */
export async function sendFile(path: string, id: string, response: ServerResponse): Promise<void> {
  const isPage = pages.test(id)
  const found = isPage || saved.test(id) ? await stat(path).catch(() => undefined) : undefined
  if (!found?.isFile()) throw new Refusal(404, 'not-found', 'there is no such file to be had here')
  response.writeHead(
    200,
    isPage
      ? { 'content-type': 'text/html; charset=utf-8', ...sandboxed }
      : {
          'content-type': 'application/octet-stream',
          'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(id.split('/').at(-1)!)}`,
        },
  )
  // Who hangs up in the midst of it wants no more.
  await pipeline(createReadStream(path), response).catch(() => {})
}
