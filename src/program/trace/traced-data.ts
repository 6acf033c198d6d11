/** The data of tensors that stand for what a function made while it was traced, as TF.js holds them: there are none. */

/** What TF.js knows a traced tensor's data by. */
export class TracedData {
  constructor(
    /** Of the trace that it belongs to. */
    readonly recorder: object,
    readonly id: number,
  ) {}
}

interface DataInfo {
  readonly backend: unknown
}

/** What TF.js's engine asks of the map from tensors' data to where they are. */
export interface DataKnown {
  has(data: object): boolean
  get(data: object): DataInfo | undefined
  set(data: object, info: DataInfo): unknown
  delete(data: object): boolean
}

/**
 * What TF.js knows of the data of tensors, while a function is traced. It is asked for each tensor that is made: traced ones say all by
 * themselves, and a map of so many that die so soon takes a sixth of a trace's time.
 */
export class KnownData implements DataKnown {
  constructor(
    readonly others: DataKnown,
    readonly traced: DataInfo,
  ) {}

  has = (data: object): boolean => data instanceof TracedData || this.others.has(data)
  get = (data: object): DataInfo | undefined => (data instanceof TracedData ? this.traced : this.others.get(data))
  set = (data: object, info: DataInfo): void => {
    if (!(data instanceof TracedData)) this.others.set(data, info)
  }
  delete = (data: object): boolean => this.others.delete(data)
}
