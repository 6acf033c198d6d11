import type { Evaluation, Metrics } from '../evaluate/score.js'
import type { Verdict } from '../evaluate/verdict.js'
import type { CheckpointEvent, WarningEvent } from '../store/events.js'
import type { PrivacySpent } from './privacy/options.js'

/** What a table calls `ControlScores.teacher`. */
export const teacherName = "the teacher's model, no prompt"

/** A condition of the base model, without anything learned, on the rows that the prompt is scored on. */
export interface ControlScores {
  /** With the instruction, where there is one; otherwise the template alone. */
  readonly metrics: Metrics
  /** The template alone. */
  readonly plain: { readonly metrics: Metrics }
  /** What the model of `train.distillation.model` comes to, with the template alone. */
  readonly teacher?: { readonly metrics: Metrics }
}

export interface Control extends ControlScores {
  /** What stands before the template; null when there is none to be made (no label set and no `control.instruction`). */
  readonly instruction: string | null
  readonly test?: ControlScores
}

/** What a run came to: `result.json`, and the last event. */
export interface RunResult {
  /** Of the dev rows (`evaluate.limit` of them); empty without a dev set. Each figure with its 95 % interval. */
  readonly metrics: Metrics
  /** Dev rows scored. */
  readonly rows: number
  /** `confusion[target][prediction]`, in the order of `labels`. */
  readonly confusion?: readonly (readonly number[])[]
  readonly labels?: readonly string[]
  /** The test rows, scored once. */
  readonly test?: Evaluation
  readonly control: Control
  /** Against the base model, in words; of the test rows where there are some, otherwise of dev. Absent where nothing was scored. */
  readonly verdict?: Verdict
  /** What the method says of the learned prompt beside its scores, by name. */
  readonly figures?: Readonly<Record<string, number>>
  /** Numbers that were learned. */
  readonly parameters: number
  /** Optimiser steps done. */
  readonly steps: number
  /** With `train.privacy`: what the training records may show through the prompt. */
  readonly privacy?: PrivacySpent
  /** The step of the best dev score; null without a dev set. */
  readonly bestStep: number | null
  /** Of work, over all the times the run was resumed. */
  readonly seconds: number
  /** The most memory that the process has held so far, in bytes. */
  readonly peakMemory: number
  readonly folder: string
}

/** The model stands ready, before the first step. */
export interface LoadedEvent {
  readonly event: 'loaded'
  readonly model: string
  readonly parameters: number
  readonly rows: { readonly train: number; readonly dev: number; readonly test: number }
  /** Steps the run is to have. */
  readonly steps: number
  readonly folder: string
  /** Reading, loading and compiling. */
  readonly seconds: number
}

export interface ControlEvent extends ControlScores {
  readonly event: 'control'
  readonly instruction: string | null
  readonly rows: number
}

/** An optimiser step, counted from 1. */
export interface StepEvent {
  readonly event: 'step'
  readonly step: number
  /** Mean over the label tokens of the batch, before the update; with `train.regularization`, what that adds is among it. */
  readonly loss: number
  /** With `train.regularization`: mean divergence from the frozen model at the label tokens, in nats. */
  readonly divergence?: number
  /** Further figures that the loss reports, by the names it gives them, such as the rewards of both sides of pairs. */
  readonly [figure: string]: unknown
  readonly learningRate: number
  /** Of all gradients together, before clipping. */
  readonly gradientNorm: number
  /** Tokens of the batch's rows, virtual ones not counted. */
  readonly tokens: number
  /** Over the last ten steps. */
  readonly rowsPerSecond: number
  /** Since the start, over all the times the run was resumed. */
  readonly seconds: number
}

export interface DevEvent {
  readonly event: 'dev'
  readonly step: number
  readonly metrics: Metrics
  /** Whether it is the best so far. */
  readonly best: boolean
  readonly rows: number
  readonly seconds: number
}

/** Of free text, at a dev evaluation: what the prompt as it stands makes of a few dev rows. */
export interface SamplesEvent {
  readonly event: 'samples'
  readonly step: number
  readonly samples: readonly Sample[]
}

export interface Sample {
  /** What the row says. */
  readonly input: string
  /** What it should be answered with. */
  readonly answer: string
  /** What was generated, greedily. */
  readonly text: string
}

export type ResultEvent = { readonly event: 'result' } & RunResult

export type GradpromptEvent =
  | LoadedEvent
  | ControlEvent
  | StepEvent
  | DevEvent
  | SamplesEvent
  | CheckpointEvent
  | WarningEvent
  | ResultEvent

/** How far a scoring of rows has come. */
export interface ScoringProgress {
  /** `texts`: what the prompt starts from is read. */
  readonly what: 'texts' | 'base model' | 'dev' | 'test' | 'base model on test'
  readonly done: number
  readonly total: number
}
