// Signed cookies: HMAC and JSON by hand, ours, signed and encrypted, and iron-session. "read" verifies, "write" signs.
import { createHmac, createSecretKey } from 'node:crypto'
import { createRequire } from 'node:module'
import { deflateSync, inflateSync } from 'node:zlib'
import type { SessionRecord } from '@coatcheck/core/store'
import { HERE, load } from '../checkout.ts'
import { changesOf, EXPIRES, type Engine, type Side } from '../sides.ts'

const require = createRequire(import.meta.url)
const DRIVER = 'node:crypto'
/** From so many bytes on ours compresses, so its limit does too. */
const COMPRESSED_FROM = 1024
const SECRET = 'a secret of thirty-two characters or more'

export const signedCookie: Engine = {
  title: 'Signed cookie',
  atOnce: [1],
  async open({ payload, roots }) {
    const key = createSecretKey(Buffer.from(SECRET))
    const sign = (text: string) => createHmac('sha256', key).update(text).digest('base64url')
    const next = changesOf(payload)
    const isLarge = JSON.stringify(payload).length >= COMPRESSED_FROM
    const pack = (data: string) => {
      const bytes = Buffer.from(data)
      return (isLarge ? deflateSync(bytes) : bytes).toString('base64url')
    }
    const unpack = (text: string) => {
      const bytes = Buffer.from(text, 'base64url')
      return (isLarge ? inflateSync(bytes) : bytes).toString()
    }
    const text = pack(next())
    const signature = sign(text)
    const sides: Side[] = [
      {
        name: `HMAC-SHA256, base64url, ${isLarge ? 'deflate, ' : ''}JSON`,
        role: 'raw',
        driver: DRIVER,
        read() {
          if (sign(text) !== signature) throw new Error('forged')
          return JSON.parse(unpack(text))
        },
        write: () => sign(pack(next())),
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
