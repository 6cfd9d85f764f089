// Sends the twenty requests together, to the one side and then to the other, and shows what arrived in the carts.
const section = document.getElementById('at-once').closest('section')
const [go, said] = [section.querySelector('button'), section.querySelector('[role="status"]')]
const sides = [...section.querySelectorAll('[data-side]')]
// Twenty products, from this page's shelf.
const shelf = [...document.querySelectorAll('.shelf form')].map((form) => ({
  product: form.elements.product.value,
  icon: form.querySelector('.icon').textContent,
}))
const wanted = Array.from({ length: 20 }, (_, n) => shelf[n % shelf.length])

async function post(path, fields) {
  const response = await fetch(path, { method: 'POST', body: new URLSearchParams(fields) })
  // To its end: express-session may send the headers before it has saved.
  const text = await response.text()
  if (!response.ok) throw new Error(`${path} answered ${response.status}`)
  return text
}

function show(side, kept, cart = []) {
  side.querySelector('strong').textContent = `${kept} of 20`
  for (const [at, slot] of [...side.querySelectorAll('.slots i')].entries()) {
    slot.textContent = shelf.find(({ product }) => product === cart[at])?.icon ?? ''
    slot.className = cart.length === 0 ? '' : at < cart.length ? 'kept' : 'lost'
  }
}

async function tryOn(side) {
  const { side: name, path } = side.dataset
  await post(`${path}/begin`)
  const answers = await Promise.allSettled(
    wanted.map(({ product }) => post(`${path}/add`, { product })),
  )
  const cart = JSON.parse(await post(`${path}/end`))
  show(side, cart.length, cart)
  const refused = answers.filter(({ status }) => status === 'rejected').length
  return `${name} ${cart.length} of 20${refused ? ` (${refused} answered with an error)` : ''}`
}

go.addEventListener('click', async () => {
  // Not `disabled`, which would take the focus away.
  if (go.ariaDisabled === 'true') return
  go.ariaDisabled = 'true'
  said.textContent = 'Twenty requests to each are on their way…'
  for (const side of sides) show(side, '–')
  try {
    const sentences = []
    for (const side of sides) sentences.push(await tryOn(side))
    said.textContent = `Kept: ${sentences.join(', ')}.`
  } catch {
    said.textContent = 'The demo did not answer as it should. Is it still running?'
  }
  go.ariaDisabled = 'false'
})
