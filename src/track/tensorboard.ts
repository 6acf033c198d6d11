import { appendFile, mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import protobuf from 'protobufjs/light.js'
import { maskedCrc32c } from './crc32c.js'
import type { Scalar, Tracker } from './tracker.js'

/**
 * Event files as `tensorboard --logdir runs` reads them: records of a length, its checksum, an `Event` of tensorflow's protocol, its
 * checksum (tensorflow/core/util/event.proto, summary.proto; tensorflow/core/lib/io/record_writer). Each sitting of a run writes a file.
 */
export const tensorboard: Tracker = {
  name: 'tensorboard',
  description: 'event files under tensorboard/ in the run folder',
  async open({ folder, step }) {
    const place = join(folder, 'tensorboard')
    await mkdir(place, { recursive: true })
    const seconds = Date.now() / 1000
    const path = join(place, `events.out.tfevents.${Math.floor(seconds)}.${hostname()}.${process.pid}.${step}`)
    const first = [versionEvent(seconds)]
    // TensorBoard forgets what earlier files say of the steps that are done again.
    if (step > 0) first.push(startEvent(seconds, step + 1))
    await appendFile(path, Buffer.concat(first.map(record)))
    return {
      scalars: scalars => appendFile(path, Buffer.concat(scalarEvents(Date.now() / 1000, scalars).map(record))),
      close() {},
    }
  },
}

/** Field numbers of the protocol, with the wire types of their values. */
const tag = (field: number, wire: 0 | 1 | 2 | 5): number => (field << 3) | wire

const event = (seconds: number): protobuf.Writer => protobuf.Writer.create().uint32(tag(1, 1)).double(seconds)

export const versionEvent = (seconds: number): Uint8Array => event(seconds).uint32(tag(3, 2)).string('brain.Event:2').finish()

/** A `SessionLog` of the status START. */
export const startEvent = (seconds: number, step: number): Uint8Array =>
  event(seconds).uint32(tag(2, 0)).int64(step).uint32(tag(7, 2)).fork().uint32(tag(1, 0)).int32(1).ldelim().finish()

/** An event for each step, with all of its figures. */
export function scalarEvents(seconds: number, scalars: readonly Scalar[]): Uint8Array[] {
  const steps = [...new Set(scalars.map(({ step }) => step))]
  return steps.map(step => {
    const writer = event(seconds)
    if (step !== 0) writer.uint32(tag(2, 0)).int64(step)
    writer.uint32(tag(5, 2)).fork()
    for (const { name, value } of scalars.filter(scalar => scalar.step === step))
      writer.uint32(tag(1, 2)).fork().uint32(tag(1, 2)).string(name).uint32(tag(2, 5)).float(value).ldelim()
    return writer.ldelim().finish()
  })
}

/** Length, its checksum, the bytes, their checksum. */
export function record(bytes: Uint8Array): Buffer {
  const framed = Buffer.alloc(bytes.length + 16)
  framed.writeBigUInt64LE(BigInt(bytes.length), 0)
  framed.writeUInt32LE(maskedCrc32c(framed.subarray(0, 8)), 8)
  framed.set(bytes, 12)
  framed.writeUInt32LE(maskedCrc32c(bytes), 12 + bytes.length)
  return framed
}
