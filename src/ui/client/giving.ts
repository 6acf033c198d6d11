/** The scripts of the pages on which data and texts are given. */

export const dataScript = `
function openData() {
  const [form, result, drop] = ['inspect', 'result', 'drop'].map(id => document.getElementById(id))
  const look = async path => {
    try { await follow(result, await ask('/do/inspect', { path })) } catch (error) { saidIn(result, error.message) }
  }
  const upload = async file => {
    saidIn(result, 'reading ' + file.name + ' …', 'quiet')
    try {
      const response = await fetch('/upload?name=' + encodeURIComponent(file.name), { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: file })
      const answer = await response.json()
      if (!response.ok) throw new Error(answer.error.message)
      form.path.value = answer.path
      await look(answer.path)
    } catch (error) { saidIn(result, error.message) }
  }
  form.file.addEventListener('change', () => { if (form.file.files[0]) upload(form.file.files[0]) })
  form.addEventListener('submit', () => { if (form.path.value.trim() !== '') look(form.path.value.trim()) })
  drop.addEventListener('dragover', event => { event.preventDefault(); drop.classList.add('over') })
  drop.addEventListener('dragleave', () => drop.classList.remove('over'))
  drop.addEventListener('drop', event => { event.preventDefault(); drop.classList.remove('over'); if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]) })
}
`

export const speakScript = `
function openSpeak() {
  const [form, result] = ['ask', 'result'].map(id => document.getElementById(id))
  if (!form) return
  const button = form.querySelector('button')
  let filled = ''
  const fill = async () => {
    try {
      const { text, chat } = await ask('/do/template', { id: form.run.value })
      // What somebody has written stays.
      if (form.text.value !== filled) return
      form.text.value = filled = text
      form.chat.checked = chat
    } catch (error) { saidIn(result, error.message) }
  }
  form.run.addEventListener('change', fill)
  fill()
  form.addEventListener('submit', async () => {
    button.disabled = true
    saidIn(result, 'the model is being asked; opening it takes a while …', 'quiet')
    try {
      const { html } = await ask('/do/speak', { run: form.run.value, text: form.text.value, chat: form.chat.checked, maxNewTokens: Number(form.maxNewTokens.value), temperature: Number(form.temperature.value) })
      result.innerHTML = html
    } catch (error) { saidIn(result, error.message) }
    button.disabled = false
  })
}
`
