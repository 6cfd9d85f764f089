// What may be told of a failing Redis: the server's word or the system's reason, and what it means. Never a key, data or a password.
import { reasonOf } from '@coatcheck/core/store'

/** What a server's word means, after "it". */
const MEANINGS: Readonly<Record<string, string>> = {
  READONLY: 'is a replica, and not the master',
  MASTERDOWN: 'is a replica that has lost its master',
  LOADING: 'is still loading its data',
  NOREPLICAS: 'has fewer replicas than its min-replicas-to-write',
  MISCONF: 'cannot write to its disk, and so takes no changes',
  OOM: 'has used up its maxmemory and evicts nothing',
  BUSY: 'is busy with a script that does not end',
  NOAUTH: 'asks for a password',
  WRONGPASS: 'does not know this user with this password',
  NOPERM: 'does not allow this user to run scripts (EVAL, EVALSHA) on these keys',
  DENIED: 'is in protected mode: it has no password and takes clients of its own machine only',
  MOVED: 'is a node of a Cluster: pass a client for Clusters',
  CLUSTERDOWN: 'is a node of a Cluster that is not whole',
  TRYAGAIN: 'is moving the key to another node',
  WRONGTYPE:
    "keeps something under the key that is no session: is the prefix another application's too?",
}

/** The words of a server that is not the master any more, or not yet: what it was asked it has not done. */
const NOT_MASTER = new Set(['READONLY', 'MASTERDOWN', 'LOADING', 'NOREPLICAS'])

/** Whether the server has refused because the master is elsewhere, or not ready. */
export const isNotMaster = (error: unknown): boolean => NOT_MASTER.has(wordOf(error))

/**
 * The word that a server's error begins with: `READONLY`. Empty for an error that is not the server's.
 * Before Redis 7 a script's error stood inside another: `ERR Error running script (…): @user_script:9: -READONLY You can't write …`.
 */
export function wordOf(error: unknown): string {
  const { message } = (error ?? {}) as { message?: unknown }
  if (typeof message !== 'string') return ''
  const [, word = ''] =
    /^ERR Error running script.*?: -?([A-Z]{2,}) /.exec(message) ??
    /^(?:Ready check failed: |Too many Cluster redirections.*?: )?(?:\w*Error: )?-?([A-Z]{2,})(?: |$)/.exec(
      message,
    ) ??
    []
  return word
}

/** Whether the server does not have the command. */
export const isUnknownCommand = (error: unknown): boolean =>
  wordOf(error) === 'ERR' && (error as Error).message.includes('unknown command')

/** Whether the server has refused to go to the database of the URL. */
export function isRefusedSelect(error: unknown): boolean {
  const { name, command } = (error ?? {}) as { name?: unknown; command?: { name?: unknown } }
  return name === 'ReplyError' && command?.name === 'select'
}

/** Whether the client itself has not waited any longer. */
export const isTimeout = (error: unknown): boolean =>
  /^(?:Command )?timed out$/.test(String((error as Error | undefined)?.message))

/** What node-redis says of a client that is not connected, or not any more. */
export const CLOSED = 'The client is closed'

const SUBSCRIBED =
  'the client has subscribed to channels, and sends nothing else: give the store one of its own'

/** Why Redis failed, in a few words, such as `READONLY, it is a replica` or `connect ECONNREFUSED 127.0.0.1:6379`; empty if nobody knows. */
export function whyOf(error: unknown): string {
  const word = wordOf(error)
  const { message = '', lastNodeError } = (error ?? {}) as Error & { lastNodeError?: unknown }
  if (word === 'ERR') {
    if (message.includes('max number of clients')) return 'it has as many clients as its maxclients'
    if (message.includes('DB index is out of range'))
      return 'it has no database of this number (`databases` in its configuration says how many there are)'
    if (message.includes('SELECT is not allowed in cluster mode'))
      return 'it is a node of a Cluster, which has one database: pass a client for Clusters'
    if (isUnknownCommand(error))
      return 'it does not know a command (are EVAL and EVALSHA disabled?)'
    if (message.includes('are allowed in this context')) return SUBSCRIBED
    if (message.includes('max requests limit exceeded'))
      return 'it has been asked as often as its plan allows'
  }
  if (/ACL failure in script|The user executing the script/.test(message))
    return 'it does not allow this user what the scripts do (GET, SET and DEL on these keys)'
  if (word === 'NOPERM' && isRefusedSelect(error))
    return 'NOPERM, it does not allow this user to choose the database (SELECT)'
  if (word) return Object.hasOwn(MEANINGS, word) ? `${word}, it ${MEANINGS[word]}` : word
  if (lastNodeError) return whyOf(lastNodeError)
  if (isTimeout(error))
    return "no answer within the client's own time (commandTimeout, requestTimeout)"
  if (message.startsWith('Connection in subscriber mode')) return SUBSCRIBED
  // Its queue is full, or the time is over in which it would have sent it.
  if (message === 'The queue is full' || message === 'The command was aborted')
    return 'the client has not sent it'
  if (message === CLOSED) return 'the client is not connected: call its connect() first'
  if (message.startsWith('All sentinels are unreachable')) return 'no Sentinel answers'
  return reasonOf(error)
}

/**
 * The driver's error as it may be shown: ioredis puts the command on it with its arguments (keys, data, and of AUTH the password), its
 * Cluster on an error within; and a server that does not know a command repeats them.
 */
export function showable(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const [message = ''] = error.message.split(', with args beginning with')
  const isPlain = !('command' in error || 'lastNodeError' in error)
  if (isPlain && message === error.message) return error
  const shown = new Error(message)
  shown.name = error.name
  shown.stack = `${error.name}: ${message}`
  return shown
}
