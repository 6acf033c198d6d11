/** What is tried of an engine where it is installed. */
export interface EngineCheck {
  readonly name: string
  /** Why it cannot be tried here; undefined where it can. */
  missing(): string | undefined
  /**
   * @param folder an empty one, which is removed afterwards
   * @param say a line for each thing that was seen
   * @throws what was not as it should be
   */
  run(folder: string, say: (seen: string) => void): Promise<void>
}
