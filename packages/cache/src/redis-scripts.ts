// The commands of the engines on Redis: scripts of a single key, so that each call is one round trip and is done whole or not at all.
import type { Run } from './redis-clients/link.ts'
import { linkOf, type RedisClient } from './redis-clients/pick.ts'
import { isUnknownCommand, wordOf } from './redis-failure.ts'

/**
 * `value` is what is there; `tell` answers without having changed anything. A master that has become a replica would answer of what it
 * has, which may be old or nothing, until somebody has it write: so it is asked for a change that is none, by commands that the others
 * need too. One that the user may not give would ask nothing: that is an error. Another refusal (a full disk's, for one) does not matter.
 */
export const READ = `
  local value = redis.call('GET', KEYS[1])
  local function tell(answer)
    local change
    if value then change = redis.pcall('SET', KEYS[1], '', 'NX')
    else change = redis.pcall('DEL', KEYS[1]) end
    local refusal = type(change) == 'table' and change.err
    if refusal then
      for _, word in ipairs({'READONLY', 'ACL failure', 'The user executing the script'}) do
        if string.find(refusal, word, 1, true) then return change end
      end
    end
    return answer
  end`

/**
 * A record is `<expiresAt>:<data>`, of a retired key nothing after the colon. `colon` is where its data begins; `missing` unless
 * it is live now (ARGV[3], ms).
 */
const FIND = `${READ}
  local expiresAt, colon
  if value then
    expiresAt, colon = string.match(value, '^(%d+)():')
    if not expiresAt then return tell('foreign') end
  end
  local missing = not value or tonumber(expiresAt) <= tonumber(ARGV[3])`

/** A record whose time to live (ARGV[2], ms) is over is removed. */
const put = (record: string) => `
  if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[1], ${record}, 'PX', ARGV[2])
  else redis.call('DEL', KEYS[1]) end
  return 'done'`

/** What a save and a touch find nothing of: a record that is missing, or of a retired key. */
const OPEN = `${FIND}
  if missing or #value == colon then return tell('gone') end`

/** The answers are words, which no option of a client turns into something else, as it may numbers. */
export const SCRIPTS: Readonly<Record<'Load' | 'Create' | 'Save' | 'Touch' | 'Delete', string>> = {
  Load: `${READ}
  if not value then return tell('none') end
  if not string.find(value, '^%d+:') then return tell('foreign') end
  return tell(value)`,

  Create: `${FIND}
  if not missing then return tell('exists') end${put('ARGV[1]')}`,

  // The data is compared where it stands, without a copy of it.
  Save: `${OPEN}
  local expected = ARGV[4]
  if expected then
    if #value ~= colon + #expected then return tell('conflict') end
    if string.find(value, expected, colon + 1, true) ~= colon + 1 then return tell('conflict') end
  end${put('ARGV[1]')}`,

  Touch: `${OPEN}
  if ARGV[4] and expiresAt ~= ARGV[4] then return tell('conflict') end${put('ARGV[1] .. string.sub(value, colon)')}`,

  Delete: `
  redis.call('DEL', KEYS[1])
  return 'done'`,
}

/** Scripts by their names, each as a function that sends it. */
export type Scripts<N extends string> = Readonly<Record<N, Run>>

/** Makes scripts commands of a client, which go by their hash; the text is sent only where the server lacks it. */
export function defineScripts<N extends string>(
  client: RedisClient,
  texts: Readonly<Record<N, string>>,
): Scripts<N> {
  const link = linkOf(client)
  const scripts = Object.entries<string>(texts).map(([what, lua]) => [what, link.script(lua)])
  return Object.fromEntries(scripts) as Record<N, Run>
}

/** What a server says that does not know GETEX (before Redis 6.2) or does not let the user, and one that takes no changes for now. */
const REFUSALS = new Set(['ERR', 'NOPERM', 'NOREPLICAS', 'MISCONF'])

/**
 * Loads by GETEX, which costs Redis as much as a GET and is a change to it: a master that has become a replica refuses it, and a
 * Cluster's client sends it to no replica, which may not have heard yet. The script is asked too where the answer is no record, as it alone
 * is believed, in a word, that there is none; and where the server refuses GETEX for another reason.
 */
export function loadBy(client: RedisClient, script: Run): Run {
  const { getex } = linkOf(client)
  if (!getex) return script
  let isRefused = false
  return (key) => {
    if (isRefused) return script(key)
    return getex(key).then(
      (value) => (typeof value === 'string' && /^\d+:/.test(value) ? value : script(key)),
      (error: unknown) => {
        const word = wordOf(error)
        if (!REFUSALS.has(word)) throw error
        isRefused = word === 'NOPERM' || isUnknownCommand(error)
        return script(key)
      },
    )
  }
}
