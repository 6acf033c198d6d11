import { createRequire } from 'node:module'
import type * as tfjs from '@tensorflow/tfjs'

/**
 * TF.js, loaded when it is first used: a program that is found in the cache needs no tensor code, and then a start is shorter by the
 * quarter of a second that loading takes. The module is the one that `import '@tensorflow/tfjs'` gives; it is required, since an import
 * reads all of its code once more to find its names, which takes as long again.
 */
export const tf: typeof tfjs = new Proxy({} as typeof tfjs, {
  get: (_, name) => Reflect.get(load(), name),
})

let loaded: typeof tfjs | undefined

function load(): typeof tfjs {
  loaded ??= createRequire(import.meta.url)('@tensorflow/tfjs') as typeof tfjs
  return loaded
}

/** The types under the same name, so that tensor code reads as it does everywhere else. It compiles to nothing. */
export declare namespace tf {
  type BackendValues = tfjs.BackendValues
  type DataType = tfjs.DataType
  type GradConfig = tfjs.GradConfig
  type NamedAttrMap = tfjs.NamedAttrMap
  type NamedTensorMap = tfjs.NamedTensorMap
  type Scalar = tfjs.Scalar
  type Tensor = tfjs.Tensor
  type Tensor1D = tfjs.Tensor1D
  type Tensor2D = tfjs.Tensor2D
  type Tensor3D = tfjs.Tensor3D
  type TensorInfo = tfjs.TensorInfo
}
