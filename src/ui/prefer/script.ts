/** The script and the style of the page that compares two answers: keys, buttons, and what stands at the moment. It loads nothing else. */

export const preferScript = `
'use strict'
const at = id => document.getElementById(id)
let number
const say = text => { at('said').textContent = text }
async function ask(path, body) {
  const response = await fetch(path, body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const found = await response.json()
  if (!response.ok) throw new Error(found.error.message)
  return found
}
function show({ question, standing }) {
  number = question.number
  at('input').textContent = question.input
  at('left').textContent = question.left
  at('right').textContent = question.right
  at('count').textContent = 'question ' + (question.number + 1) + (standing.same > 0 ? ', ' + standing.same + ' with the same answers left out' : '')
  at('standing').replaceChildren(...standing.prompts.slice(0, 5).map(({ prompt, liking }) => {
    const item = document.createElement('li')
    item.textContent = prompt + '  (' + (liking > 0 ? '+' : '') + liking.toFixed(2) + ')'
    return item
  }))
}
let busy = false
async function turn(act) {
  if (busy) return
  busy = true
  document.body.classList.add('busy')
  say('the model answers …')
  try { show(await act()); say('') } catch (error) {
    say(error.message)
    try { show(await ask('/question')) } catch {}
  }
  busy = false
  document.body.classList.remove('busy')
}
const answer = side => turn(() => ask('/answer', { number, side }))
for (const side of ['left', 'right', 'neither']) at('take-' + side).addEventListener('click', () => answer(side))
document.addEventListener('keydown', event => {
  const side = { ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'neither' }[event.key]
  if (side === undefined || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return
  event.preventDefault()
  answer(side)
})
turn(() => ask('/question'))
`

export const preferPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Which is better?</title><meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem } .pair div, #input { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #8886; border-radius: 8px; padding: .8rem 1rem }
button { font: inherit; padding: .4rem 1rem; margin: .8rem .4rem 0 0 } .busy .pair { opacity: .4 } #said { color: #b3261e; min-height: 1.5em } .busy #said { color: inherit } h2 { font-size: 1rem }
@media (max-width: 640px) { .pair { grid-template-columns: 1fr } } @media (prefers-color-scheme: dark) { body { background: #111; color: #eee } }
</style></head><body>
<h1>Which answer is better?</h1><p id="count"></p><div id="input"></div>
<h2>Answers</h2><div class="pair"><div id="left" aria-label="left answer"></div><div id="right" aria-label="right answer"></div></div>
<button id="take-left">&larr; left</button><button id="take-neither">&darr; neither</button><button id="take-right">right &rarr;</button>
<p id="said" role="status"></p><h2>Liked best so far</h2><ol id="standing"></ol>
<script src="/prefer.js"></script></body></html>
`
