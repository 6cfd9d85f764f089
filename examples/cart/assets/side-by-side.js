// Sends each action to every engine's shop at the same time, and fills the table with what each cookie and store then holds.
const columns = [...document.querySelectorAll('[data-engine]')]

async function show(column) {
  const engine = column.dataset.engine
  const { browser, house } = await (await fetch(`/side-by-side/${engine}/panel`)).json()
  const cell = (row) => document.querySelector(`[data-cell="${engine} ${row}"]`)
  cell('cookie').textContent = browser.sessionid || 'none'
  cell('bytes').textContent = `${browser.lineBytes ?? 0} of 4096 bytes`
  cell('where').textContent = house
    ? house.inCookie
      ? 'nothing: it is all in the cookie'
      : 'this record'
    : 'nothing'
  cell('record').textContent = house ? JSON.stringify(JSON.parse(house.data), null, 2) : '—'
  cell('size').textContent = house ? `${house.bytes} bytes` : '0 bytes'
}

const showAll = () => Promise.all(columns.map(show))

for (const form of document.querySelectorAll('form[data-all]')) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const body = new URLSearchParams(new FormData(form))
    await Promise.all(
      columns.map(async ({ dataset: { engine } }) => {
        const start = performance.now()
        // The shop answers with a redirect to its page, which nobody has to see here.
        await fetch(`/side-by-side/${engine}${form.getAttribute('action')}`, {
          method: 'POST',
          body,
          redirect: 'manual',
        })
        document.querySelector(`[data-cell="${engine} time"]`).textContent =
          `${(performance.now() - start).toFixed(1)} ms`
      }),
    )
    await showAll()
    document.documentElement.dataset.done = String(
      Number(document.documentElement.dataset.done ?? 0) + 1,
    )
  })
}

await showAll()
document.documentElement.dataset.panel = 'ready'
