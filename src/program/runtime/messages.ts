import type { ErrorMessage } from '../../error-message.js'

/** What is said between the process of a run and those of its further devices. */

export type TypedArray = Float32Array | Int32Array | Uint8Array | BigInt64Array
export type Inputs = Readonly<Record<string, TypedArray>>
export type Shapes = Readonly<Record<string, readonly number[]>>
export type Outputs = Record<string, { data: TypedArray; shape: readonly number[] }>

/** A compiled program on disk, and how a device opens it. */
export interface ProgramOnDisk<Options extends object = object> {
  readonly path: string
  readonly options: Options
}

export type ToDevice<Options extends object = object> =
  | { readonly run: number; readonly program: ProgramOnDisk<Options>; readonly inputs: Inputs; readonly shapes: Shapes }
  | { readonly release: string }

export type FromDevice = { readonly run: number } & ({ readonly outputs: Outputs } | { readonly error: ErrorMessage })
