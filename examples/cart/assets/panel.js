// Fills the panel with what the last responses left in the browser and in the store, and counts down.
const byId = (id) => document.getElementById(id)
const { browser, house } = await (await fetch('/panel')).json()

byId('key').textContent = browser.sessionid || 'none'
byId('line').textContent = browser.line ?? 'none'
byId('meter').value = browser.lineBytes ?? 0
byId('bytes').textContent = `${browser.lineBytes ?? 0} of 4096 bytes`
byId('others').textContent =
  Object.entries(browser.others)
    .map(([name, value]) => `${name}=${value}`)
    .join('; ') || 'none'
byId('record').textContent = house ? JSON.stringify(JSON.parse(house.data), null, 2) : 'nothing'
byId('where').textContent = house?.inCookie ? '(in the cookie itself: the house keeps nothing)' : ''
byId('size').textContent = house ? `${house.bytes} bytes` : '0 bytes'

const pad = (number) => String(number).padStart(2, '0')
function countDown() {
  if (!house) return void (byId('ends').textContent = '—')
  const seconds = Math.max(0, Math.ceil((house.expiresAt - Date.now()) / 1000))
  const [days, rest] = [Math.floor(seconds / 86_400), seconds % 86_400]
  const clock = [rest / 3600, (rest / 60) % 60, rest % 60].map((part) => pad(Math.floor(part)))
  byId('ends').textContent = `${days} days ${clock.join(':')}`
  byId('ends').dateTime = new Date(house.expiresAt).toISOString()
}
countDown()
setInterval(countDown, 1000)
document.documentElement.dataset.panel = 'ready'
