/** What is known of a stored tensor before its bytes are read. */
export interface StoredTensor {
  readonly name: string
  /** As the file names it: `F32`, `BF16`, `Q4_1`, … */
  readonly dtype: string
  /** Row-major, outermost dimension first: a linear layer's weight is `[out, in]`, as torch prints it. */
  readonly shape: readonly number[]
}

/** An open file (or set of shards) of named tensors. Tensors are read one by one, by range, as float32. */
export interface TensorFile {
  readonly path: string
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** Reads and dequantises one tensor, into `out` when given (its length must be the tensor's element count). */
  read(name: string, out?: Float32Array): Promise<Float32Array>
  close(): Promise<void>
}
