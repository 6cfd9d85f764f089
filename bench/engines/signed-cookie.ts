// Signed cookies: HMAC and JSON by hand, ours, signed and encrypted, and iron-session. "read" verifies, "write" signs.
import { createHmac, createSecretKey } from 'node:crypto'
import { createRequire } from 'node:module'
import type { SessionRecord } from '@coatcheck/core/store'
import { HERE, load } from '../checkout.ts'
import { changesOf, EXPIRES, type Engine, type Side } from '../sides.ts'

const require = createRequire(import.meta.url)
const DRIVER = 'node:crypto'
const SECRET = 'a secret of thirty-two characters or more'

export const signedCookie: Engine = {
  title: 'Signed cookie',
  atOnce: [1],
  async open({ payload, roots }) {
    const key = createSecretKey(Buffer.from(SECRET))
    const sign = (text: string) => createHmac('sha256', key).update(text).digest('base64url')
    const next = changesOf(payload)
    const body = () => Buffer.from(next()).toString('base64url')
    const text = body()
    const signature = sign(text)
    const sides: Side[] = [
      {
        name: 'HMAC-SHA256, base64url, JSON',
        role: 'raw',
        driver: DRIVER,
        read() {
          if (sign(text) !== signature) throw new Error('forged')
          return JSON.parse(Buffer.from(text, 'base64url').toString())
        },
        write: () => sign(body()),
      },
    ]
    for (const root of roots) {
      const { signedCookieStore } = await load(root, '@coatcheck/signed-cookie')
      for (const encrypt of [false, true]) {
        const store = signedCookieStore({ secrets: [SECRET], encrypt })
        const create = (data: string) => store.create('', { data, expiresAt: EXPIRES })
        const token = create(JSON.stringify(payload)) as string
        sides.push({
          name: encrypt ? 'signed-cookie, encrypted' : 'signed-cookie',
          role: 'ours',
          // To encrypt is more than the limit does.
          ...(encrypt ? {} : { driver: DRIVER }),
          other: root === HERE ? undefined : root,
          read: () => JSON.parse((store.load(token) as SessionRecord).data),
          write: () => create(next()),
        })
      }
    }
    const { sealData, unsealData } = require('iron-session') as typeof import('iron-session')
    const sealed = await sealData(payload, { password: SECRET })
    sides.push({
      name: 'iron-session',
      role: 'peer',
      read: () => unsealData(sealed, { password: SECRET }),
      write: () => sealData(JSON.parse(next()), { password: SECRET }),
    })
    return sides
  },
}
