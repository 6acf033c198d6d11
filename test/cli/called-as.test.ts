import { expect, test } from 'vitest'
import { commandCalled } from '../../src/cli/terminal/called-as.js'
import { command } from './command.js'

test.each([
  ['/home/a/my/node_modules/.bin/gradprompt', { npm_config_user_agent: 'npm/11.0.0 node/v24' }, 'npx gradprompt'],
  ['/home/a/my/node_modules/.bin/gradprompt', { npm_config_user_agent: 'pnpm/10.1.0 npm/?' }, 'pnpm exec gradprompt'],
  ['/home/a/my/node_modules/gradprompt/dist/src/cli/main.js', { npm_config_user_agent: 'bun/1.2.0' }, 'bunx gradprompt'],
  ['/usr/local/bin/gradprompt', { PATH: '/usr/bin:/usr/local/bin' }, 'gradprompt'],
  ['/home/a/my/node_modules/.bin/gradprompt', { PATH: '/usr/bin' }, 'node_modules/.bin/gradprompt'],
  ['/home/a/my/dist/src/cli/main.js', { PATH: '/usr/bin' }, 'node dist/src/cli/main.js'],
  ['/home/a/my/main.js', {}, 'node ./main.js'],
  ["/home/a/it's here/main.js", {}, "node '/home/a/it'\\''s here/main.js'"],
])('%s with %o is %s', (script, env, called) => {
  expect(commandCalled(script, { env, folder: '/home/a/my' })).toBe(called)
})

test('what a message says to type works as this process was called, from the computing process as well', async () => {
  const env = { npm_config_user_agent: '' }
  const { stderr } = await command(['resum'], { env })
  expect(stderr).toContain('hint: did you mean node dist/src/cli/main.js resume?')
  const offline = { ...env, HF_HUB_OFFLINE: '1' }
  const computed = await command(['generate', '--model', 'nobody/nothing', 'Once'], { env: offline })
  expect(computed.stderr).toContain('hint: node dist/src/cli/main.js models')
})
