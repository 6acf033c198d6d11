import { convolution } from './convolution.js'
import { elementwise } from './elementwise.js'
import { gather, gatherComposites } from './gather.js'
import { make } from './make.js'
import type { Composite, Operation } from './operation.js'
import { fusedProducts, products } from './products.js'
import { reduce } from './reduce.js'
import { shape, shapeComposites } from './shape.js'

/** Every TF.js kernel that is traced as it is, by TF.js's name. */
export const operations: ReadonlyMap<string, Operation> = new Map(
  Object.entries({ ...elementwise, ...shape, ...make, ...gather, ...reduce, ...products, ...convolution }),
)

/** Every TF.js kernel that is traced as others. */
export const composites: ReadonlyMap<string, Composite> = new Map(
  Object.entries({ ...fusedProducts, ...gatherComposites, ...shapeComposites }),
)

/** Operations whose every output element comes of the elements at its place. */
export const isElementwise = (operation: string): boolean => Object.hasOwn(elementwise, operation)

/** Names of all kernels that a traced function may use. */
export const operationNames = (): string[] => [...operations.keys(), ...composites.keys()].sort()
