import { elementwise } from './elementwise.js'
import type { Operation } from './operation.js'
import { products } from './products.js'
import { reduce } from './reduce.js'
import { shape } from './shape.js'

/** Every TF.js kernel that a traced function may use, by TF.js's name. */
export const operations: ReadonlyMap<string, Operation> = new Map(
  Object.entries({ ...elementwise, ...shape, ...reduce, ...products }),
)
