import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadTokenizer } from '../../src/formats/tokenizer.js'
import { type Json, mutateBytes, mutateJson } from './mutate.js'
import type { FuzzTarget } from './run.js'

const keys =
  'type vocab merges model added_tokens normalizer pre_tokenizer post_processor decoder content special normalized single_word lstrip rstrip id pattern Regex String behavior invert Sequence ByteLevel Split Metaspace Replace Digits Prepend BPE Unigram WordPiece unk_token unk_id byte_fallback fuse_unk ignore_merges continuing_subword_prefix end_of_word_suffix dropout prepend_scheme replacement split single SpecialToken special_tokens ids pretokenizers normalizers decoders length delimiter bos_token eos_token tokenizer_class GPT2Tokenizer LlamaTokenizer Qwen2Tokenizer add_prefix_space added_tokens_decoder chat_template extra_special_tokens'.split(
    ' ',
  )
const texts = ['Hello  world, 1 2 3 \ud83d\ude00', '<s>cat concat</s>\n\n \u00a0x', 'a'.repeat(300), '']

/** A folder of one of the generated tokenizers or the tiny one: its JSON changed in one file or several. */
export const tokenizer: FuzzTarget = {
  name: 'tokenizer',
  async prepare(folder) {
    const fixtures = 'test/fixtures/tokenizer'
    const generated = JSON.parse(await readFile(join(fixtures, 'pipelines.json'), 'utf8')) as {
      models: Record<string, { [key: string]: Json }>
      cases: { tokenizer: { model: { of: string; [key: string]: Json } }; config: Json; modelConfig: Json }[]
    }
    const sources = generated.cases.map(({ tokenizer: { model, ...rest }, config, modelConfig }) => {
      const { of, ...options } = model
      return [{ ...rest, model: { ...generated.models[of], ...options } }, config, modelConfig].map(value =>
        JSON.stringify(value),
      )
    })
    const names = ['tokenizer.json', 'tokenizer_config.json', 'config.json']
    return async chance => {
      const files = [...chance.pick(sources)]
      const i = chance.pick([0, 0, 0, 1, 2])
      if (chance.below(6) === 0) {
        const bytes = files.map(text => Buffer.from(text))
        files[i] = Buffer.from(mutateBytes(chance, bytes[i]!, bytes)).toString('latin1')
      } else files[i] = JSON.stringify(mutateJson(chance, JSON.parse(files[i]!) as Json, keys))
      await Promise.all(files.map((text, file) => writeFile(join(folder, names[file]!), text)))
      const loaded = await loadTokenizer({ folder })
      for (const text of texts) loaded.decode(loaded.encode(text), { skipSpecialTokens: true })
      loaded.token(0)
      return loaded.hash
    }
  },
}
