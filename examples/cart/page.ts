// The page, as HTML. Every action is a form, so it works by keyboard and without a script.
import * as add from './at-once-handlers.ts'

export const products = [
  { id: 'scarf', name: 'Scarf', icon: '🧣', price: 19 },
  { id: 'gloves', name: 'Gloves', icon: '🧤', price: 14 },
  { id: 'coat', name: 'Coat', icon: '🧥', price: 120 },
  { id: 'hat', name: 'Hat', icon: '🎩', price: 35 },
  { id: 'umbrella', name: 'Umbrella', icon: '☂️', price: 22 },
  { id: 'boots', name: 'Boots', icon: '🥾', price: 89 },
] as const

export const languages = [
  { code: 'en', name: 'English', welcome: 'Welcome' },
  { code: 'hi', name: 'हिन्दी', welcome: 'स्वागत है' },
  { code: 'de', name: 'Deutsch', welcome: 'Willkommen' },
  { code: 'ja', name: '日本語', welcome: 'ようこそ' },
] as const

/** What the page shows: the session's values and the plain cookie's. */
export interface PageData {
  cart?: Record<string, number>
  theme?: string
  language?: string
  user?: string
  visits?: number
  notice?: string
  favourite?: string | undefined
  goodbye?: boolean
  /** The engine keeps the session in its cookie. */
  stateless?: boolean
}

const entities: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escape = (text: string) => text.replaceAll(/[&<>"']/g, (character) => entities[character]!)

const button = (
  action: string,
  label: string,
  fields: Record<string, string> = {},
  attributes = '',
  formAttributes = '',
) => `
  <form method="post" action="${action}" ${formAttributes}>
    ${Object.entries(fields)
      .map(([name, value]) => `<input type="hidden" name="${name}" value="${value}">`)
      .join('')}
    <button ${attributes}>${label}</button>
  </form>`

export function page(data: PageData): string {
  const language = languages.find(({ code }) => code === data.language) ?? languages[0]
  return document({
    language: language.code,
    theme: data.theme,
    scripts: data.goodbye ? ['panel.js'] : ['panel.js', 'at-once.js'],
    nav: '<a href="/side-by-side">All engines side by side</a>',
    content: `<div class="columns">
    <main>${data.goodbye ? goodbye : shop(data, language.welcome)}</main>
    ${panel}
  </div>`,
  })
}

interface Document {
  language?: string
  theme?: string | undefined
  scripts: string[]
  nav: string
  content: string
}

function document({ language = 'en', theme, scripts, nav, content }: Document): string {
  return `<!doctype html>
<html lang="${language}"${theme ? ` data-theme="${escape(theme)}"` : ''}>
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Coatcheck: a cart that remembers</title>
  <link rel="icon" href="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 100'><text y='.9em' font-size='90'>🧥</text></svg>">
  <link rel="stylesheet" href="/assets/style.css">
  ${scripts.map((script) => `<script type="module" src="/assets/${script}"></script>`).join('\n  ')}
</head>
<body>
  <header>
    <h1>🧥 Coatcheck</h1>
    <p>The visitor holds a ticket, the house keeps the coat.</p>
    <nav>${nav}</nav>
  </header>
  ${content}
</body>
</html>`
}

/** What a click does in every engine's shop: its label, the shop's action, and the fields. */
const actions: [label: string, action: string, fields: Record<string, string>][] = [
  ['🧥 Add a coat', '/cart/add', { product: 'coat' }],
  ['🎩 Add a hat', '/cart/add', { product: 'hat' }],
  ['Clear the cart', '/cart/clear', {}],
  ['Log in as Ann', '/login', { user: 'Ann' }],
  ['Log out', '/logout', {}],
]

const rows: [row: string, title: string][] = [
  ['record', 'The session'],
  ['size', 'Its size'],
  ['where', 'The house keeps'],
  ['cookie', 'The browser holds'],
  ['bytes', 'Its Set-Cookie line'],
  ['time', 'The last click took'],
]

/** The table of all embedded engines. */
export function sideBySidePage(engines: readonly string[]): string {
  return document({
    scripts: ['side-by-side.js'],
    nav: '<a href="/">The shop</a>',
    content: `
  <section aria-labelledby="all">
    <h2 id="all">Every embedded engine, one behaviour</h2>
    <p>Each click goes to all of them: the same handlers, with one line changed.</p>
    <div class="row">${actions
      .map(([label, action, fields]) => button(action, label, fields, '', 'data-all'))
      .join('')}
    </div>
  </section>
  <div class="table" tabindex="0" role="region" aria-label="What each engine keeps">
    <table>
      <thead><tr><td></td>${engines.map((name) => `<th scope="col" data-engine="${name}">${name}</th>`).join('')}</tr></thead>
      <tbody>${rows
        .map(
          ([row, title]) => `
        <tr><th scope="row">${title}</th>${engines.map((name) => `<td data-cell="${name} ${row}">…</td>`).join('')}</tr>`,
        )
        .join('')}
      </tbody>
    </table>
    <noscript><p>This page needs JavaScript; the shop does not.</p></noscript>
  </div>`,
  })
}

const goodbye = `
  <section>
    <h2>Goodbye</h2>
    <p>You are logged out: <code>session.flush()</code> has deleted the record, and this response the cookie.
    Nothing here has touched the session, so there is none.</p>
    <p><a class="button" href="/">Come in again</a></p>
  </section>`

function shop(data: PageData, welcome: string): string {
  const entries = Object.entries(data.cart ?? {}).flatMap(([id, count]) => {
    const product = products.find((candidate) => candidate.id === id)
    return product ? [{ ...product, count }] : []
  })
  const total = entries.reduce((sum, { price, count }) => sum + price * count, 0)
  return `
  ${data.notice ? `<p class="notice" role="status">${escape(data.notice)}</p>` : ''}
  <section aria-labelledby="you">
    <h2 id="you">${welcome}${data.user ? `, <span data-test="user">${escape(data.user)}</span>` : ''}</h2>
    <p>Visit number <strong data-test="visits">${data.visits ?? 0}</strong>.</p>
    <div class="row">${data.user ? button('/logout', 'Log out') : login}</div>
  </section>
  <section aria-labelledby="shelf">
    <h2 id="shelf">On the shelf</h2>
    <ul class="shelf">${products
      .map(
        ({ id, name, icon, price }) => `
      <li>${button('/cart/add', `<span class="icon" aria-hidden="true">${icon}</span> ${name} <small>€${price}</small>`, { product: id }, `aria-label="Add ${name} to the cart" data-test="add-${id}"`)}</li>`,
      )
      .join('')}
    </ul>
  </section>
  <section aria-labelledby="cart">
    <h2 id="cart">Your cart</h2>
    ${
      entries.length === 0
        ? '<p data-test="cart">Empty. Take something from the shelf.</p>'
        : `<ul class="cart" data-test="cart">${entries
            .map(
              ({ icon, name, price, count }) =>
                `<li><span aria-hidden="true">${icon}</span> ${name} <span class="count">× ${count}</span> <span class="sum">€${price * count}</span></li>`,
            )
            .join('')}</ul>
           <div class="row"><strong>Total €${total}</strong>${button('/cart/clear', 'Clear the cart')}</div>`
    }
  </section>
  ${atOnce(data.stateless ?? false)}
  <section aria-labelledby="preferences">
    <h2 id="preferences">Your preferences</h2>
    <div class="row">
      <form method="post" action="/preferences" class="row">
        <label>Theme
          <select name="theme">
            <option value="">as the system</option>
            ${['light', 'dark'].map((theme) => `<option${theme === data.theme ? ' selected' : ''}>${theme}</option>`).join('')}
          </select>
        </label>
        <label>Language
          <select name="language">
            ${languages.map(({ code, name }) => `<option value="${code}"${code === data.language ? ' selected' : ''}>${name}</option>`).join('')}
          </select>
        </label>
        <button>Save</button>
      </form>
      ${button('/preferences/clear', 'Clear')}
    </div>
  </section>
  <section aria-labelledby="plain">
    <h2 id="plain">A plain cookie</h2>
    <p>No session involved: the browser keeps the value itself, where anybody at the keyboard can read and change it.</p>
    <form method="post" action="/cookie" class="row">
      <label>Favourite drink <input name="favourite" value="${escape(data.favourite ?? '')}" maxlength="40"></label>
      <button>Set (empty: delete)</button>
    </form>
  </section>`
}

/** Who takes the twenty requests: a name, where, and with which handler. */
const sides = [
  { name: 'Coatcheck', on: 'this engine', path: '/at-once/coatcheck', handler: add.coatcheck },
  {
    name: 'express-session',
    on: 'MemoryStore',
    path: '/at-once/express-session',
    handler: add.expressSession,
  },
]

/** A handler's text as it runs, with a mark on the lines in which the two differ. */
function listing(handler: { toString(): string }): string {
  const [first, second] = sides.map((side) => side.handler.toString().split('\n'))
  return handler
    .toString()
    .split('\n')
    .map((line, at) =>
      first![at] === second![at]
        ? escape(line)
        : line.replace(/\S.*/, (text) => `<mark>${escape(text)}</mark>`),
    )
    .join('\n')
}

const atOnce = (stateless: boolean) => `
  <section aria-labelledby="at-once" class="at-once">
    <h2 id="at-once">Requests at once</h2>
    <p>A double click, two tabs, a page that saves while you type: requests meet. Here twenty leave your browser together,
    and each puts one product in a cart that is made for the try. Your own cart stays as it is.</p>
    ${
      stateless
        ? `<p class="caution">This engine keeps the session in the cookie, so each request brings a copy of its own, and the answer
    that comes last wins: requests at once cannot be merged. With every other engine they are.</p>`
        : ''
    }
    <noscript><p>This needs JavaScript; the shop does not.</p></noscript>
    <div class="row">
      <button type="button">Two at once</button>
      <p role="status">Not tried yet.</p>
    </div>
    ${sides
      .map(
        ({ name, on, path, handler }) => `
    <div class="side" data-side="${name}" data-path="${path}">
      <div>
        <h3>${name} <small>${on}</small></h3>
        <p><strong data-test="kept-${name}">– of 20</strong> kept</p>
        <div class="slots" aria-hidden="true">${'<i></i>'.repeat(20)}</div>
      </div>
      <pre><code>${listing(handler)}</code></pre>
    </div>`,
      )
      .join('')}
    <p><small>The code is what runs, both in this server, and only the marked lines differ. Over HTTP/1.1 a browser has
    six of the twenty under way at a time.</small></p>
  </section>`

const login = `
  <form method="post" action="/login" class="row">
    <label>Name <input name="user" required maxlength="40" autocomplete="username"></label>
    <button>Log in</button>
  </form>`

const panel = `
  <aside aria-label="What is stored where" aria-live="off">
    <section>
      <h2>The browser holds <small>the ticket</small></h2>
      <dl>
        <dt>Session key</dt><dd><code data-test="key" id="key">…</code></dd>
        <dt>Set-Cookie line</dt><dd><code id="line">…</code></dd>
        <dt>Its size</dt><dd><meter id="meter" min="0" max="4096" value="0"></meter> <span id="bytes">…</span></dd>
        <dt>Other cookies</dt><dd><code id="others">…</code></dd>
      </dl>
    </section>
    <section>
      <h2>The house keeps <small>the coat</small></h2>
      <dl>
        <dt>Record <span id="where"></span></dt><dd><pre id="record" data-test="record" tabindex="0">…</pre></dd>
        <dt>Its size</dt><dd id="size">…</dd>
        <dt>Ends in</dt><dd><time id="ends" data-test="ends">…</time></dd>
      </dl>
    </section>
    <noscript><p>This panel needs JavaScript; the shop does not.</p></noscript>
  </aside>`
