import type { Example } from '../moves/method.js'
import type { Ask } from '../moves/writer.js'
import { type Case, shown, shownCase } from './critic.js'

/**
 * What the optimisers of whole prompts ask, in words of our own. Each says who is asked, shows the text and its evidence apart, and ends with
 * the one place in which the answer goes. Those of which a small model makes little else show how it is done on another task.
 */

/** The words that open an answer, so that a model that goes on with them closes them as well. */
const BEGIN = '<prompt>'
const PLACE = 'Write the new instruction between <prompt> and </prompt>, and nothing else.'

const fenced = (text: string) => `"""\n${text}\n"""`

export const metaAsks = {
  /** A rewrite of one text by what came of it on a few questions (GEPA). */
  reflect: (text: string, cases: readonly Case[]): Ask => ({
    ask: `You improve an instruction for a language model.\n\nThe instruction now:\n${fenced(text)}\n\nWhat the model made of it:\n\n${cases.map(shownCase).join('\n\n')}\n\nFind out which form the inputs have and what the right answers have in common. Keep what is right in the instruction, say what is missing, name facts of the field that are needed, and do not repeat any of these inputs. ${PLACE}`,
    begin: BEGIN,
  }),

  /** A better text after a list of texts with their scores, worst first (OPRO). */
  climb: (
    tried: readonly { readonly text: string; readonly score: number; readonly cost: number }[],
    examples: readonly Example[],
  ): Ask => ({
    ask: `These instructions were tried on a task, the worst first. Score is the percentage of right answers; surprise says how unexpected the right answers were, and less is better.\n\n${tried.map(({ text, score, cost }) => `Instruction: ${text}\nScore: ${score}\nSurprise: ${cost.toFixed(2)}`).join('\n\n')}\n\nThe task looks so:\n\n${examples.map(shown).join('\n\n')}\n\nWrite an instruction that is unlike all of these and has a higher score. ${PLACE}`,
    begin: BEGIN,
  }),

  /** One text of two (EvoPrompt's GA, CAPO). */
  cross: (a: string, b: string): Ask => ({
    ask: `Two instructions are to become one that takes something of each.\n\nExample\nFirst: Translate the sentence into French.\nSecond: You are an interpreter; keep the tone.\nOne of both: <prompt>Translate the sentence into French as an interpreter who keeps the tone.</prompt>\n\nNow these\nFirst: ${a}\nSecond: ${b}\n\nLet the new one ask for the same task. ${PLACE}`,
    begin: BEGIN,
  }),

  /** The same text otherwise (CAPO). */
  vary: (text: string): Ask => ({
    ask: `Say this instruction in other words: change how it is said, not what it asks for.\n\nExample\nInstruction: Decide whether the mail is spam.\nOther words: <prompt>Read the mail and say if it is spam or not.</prompt>\n\nNow this\nInstruction: ${text}\n\n${PLACE}`,
    begin: BEGIN,
  }),

  /** What differs between two texts, worked into the best and crossed with a third (EvoPrompt's DE, as one ask). */
  differ: (a: string, b: string, best: string, own: string): Ask => ({
    ask: `Four instructions for the same task:\n\nFirst: ${a}\nSecond: ${b}\nBest: ${best}\nBasic: ${own}\n\nTake what differs between First and Second, say those parts otherwise, put them in place of the matching parts of Best, and mix the outcome with Basic into one instruction. ${PLACE}`,
    begin: BEGIN,
  }),

  /** An instruction from what is known of the task (MIPROv2). */
  propose: (text: string, summary: string, examples: readonly string[], tip: string): Ask => ({
    ask: `Write an instruction for a language model.\n\nThe task's data: ${summary}\n\nThe instruction so far:\n${fenced(text)}\n${examples.length === 0 ? '' : `\nRight answers:\n\n${examples.join('\n\n')}\n`}\n${tip === '' ? '' : `Advice: ${tip}\n\n`}${PLACE}`,
    begin: BEGIN,
  }),

  /** What the questions of a task have in common (MIPROv2). */
  observe: (examples: readonly Example[], before: string): Ask => ({
    ask: `${before === '' ? '' : `What is known of a set of questions: ${before}\n\n`}Some questions of the set, with their answers:\n\n${examples.map(shown).join('\n\n')}\n\nWhat do they have in common: subject, form, what a right answer needs? Two or three sentences; where nothing is to be added to what is known, say COMPLETE alone.`,
    begin: '',
  }),

  /** What failed, or went well, and why (PromptAgent). */
  analyse: (text: string, cases: readonly Case[]): Ask => ({
    ask: `A language model was given this instruction:\n${fenced(text)}\n\n${cases.map(shownCase).join('\n\n')}\n\n${cases.every(({ isRight }) => isRight) ? 'All of these are right. Say what in the instruction led there, and what could make it surer.' : 'Explain each failure, then list what the instruction has to say differently.'}`,
    begin: '',
  }),

  /** A new text after an analysis and the texts that led to this one (PromptAgent). */
  advance: (text: string, cases: readonly Case[], analysis: string, ancestors: readonly string[]): Ask => ({
    ask: `You improve an instruction for a language model.\n\nThe instruction now:\n${fenced(text)}\n\n${cases.map(shownCase).join('\n\n')}\n\nAn analysis: ${analysis}\n\n${ancestors.length === 0 ? '' : `It came from these, in this order:\n${ancestors.map(one => `- ${one}`).join('\n')}\n\n`}Write a new instruction that heeds the analysis and is unlike the earlier ones. ${PLACE}`,
    begin: BEGIN,
  }),

  /** What mistakes of one kind have in common (PROMST). */
  summarise: (text: string, kind: string, cases: readonly Case[]): Ask => ({
    ask: `A language model was given this instruction:\n${fenced(text)}\n\nMistakes of one kind: ${kind}.\n\n${cases.map(shownCase).join('\n\n')}\n\nSay in one or two sentences what these mistakes have in common, and what would prevent them.`,
    begin: '',
  }),

  /** A new text that heeds a summary of each kind of mistake (PROMST). */
  mend: (text: string, summaries: readonly string[], ancestors: readonly string[]): Ask => ({
    ask: `You improve an instruction for a language model.\n\nThe instruction now:\n${fenced(text)}\n\nWhat goes wrong under it:\n${summaries.map((summary, i) => `${i + 1}. ${summary}`).join('\n')}\n\n${ancestors.length === 0 ? '' : `It came from these, in this order:\n${ancestors.map(one => `- ${one}`).join('\n')}\n\n`}Write a new instruction under which none of this happens. ${PLACE}`,
    begin: BEGIN,
  }),

  /** A new text from answers and requirements alone (SPO). */
  refine: (text: string, answers: readonly { readonly input: string; readonly said: string }[], requirements: string): Ask => ({
    ask: `You improve an instruction for a language model.\n\nRequirements: ${requirements}\n\nThe instruction now:\n${fenced(text)}\n\nWhat the model answers:\n\n${answers.map(({ input, said }) => `Input: ${input}\nAnswer: ${said}`).join('\n\n')}\n\nThink of one thing that would let the answers meet the requirements better, and change the instruction so. ${PLACE}`,
    begin: BEGIN,
  }),

  /** Which of two answers is better (SPO). */
  compare: (input: string, a: string, b: string, requirements: string): Ask => ({
    ask: `Requirements: ${requirements}\n\nInput: ${input}\n\nAnswer A: ${a}\n\nAnswer B: ${b}\n\nWhich answer meets the requirements better, A or B?`,
    begin: 'The better answer is ',
  }),
} as const
