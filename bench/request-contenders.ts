// What the benchmark of requests compares on each framework, and which ratios are the goals.

/** What a request is served with. */
export interface RequestContender {
  /** Its name in the tables. */
  readonly label: string
  /** The framework alone, the store's driver by hand, ours, or somebody else's. */
  readonly role: 'alone' | 'raw' | 'ours' | 'peer'
  /** Whether the session itself is in the cookie, so that a change is in the cookie of the answer. */
  readonly isStateless?: true
}

/** What the handler does: it does not look at the session, reads a value, or changes one. */
export const MODES = ['untouched', 'read', 'write'] as const
export type Mode = (typeof MODES)[number]

/** The frameworks, and what is compared on each by the name that the command knows it by; the framework alone comes first. */
export const requestContenders: Readonly<
  Record<string, Readonly<Record<string, RequestContender>>>
> = {
  express: {
    alone: { label: 'alone', role: 'alone' },
    memory: { label: 'express-session, MemoryStore', role: 'peer' },
    lru: { label: 'lru', role: 'ours' },
    sqlite: { label: 'sqlite', role: 'ours' },
    'raw-sqlite': { label: 'better-sqlite3, statements by hand', role: 'raw' },
    'signed-cookie': { label: 'signed-cookie', role: 'ours', isStateless: true },
    'cookie-session': { label: 'cookie-session', role: 'peer', isStateless: true },
    redis: { label: 'redis', role: 'ours' },
    'connect-redis': { label: 'express-session, connect-redis', role: 'peer' },
  },
  fastify: {
    alone: { label: 'alone', role: 'alone' },
    lru: { label: 'lru', role: 'ours' },
    memory: { label: '@fastify/session, its store in memory', role: 'peer' },
    'signed-cookie': { label: 'signed-cookie', role: 'ours', isStateless: true },
    'secure-session': { label: '@fastify/secure-session', role: 'peer', isStateless: true },
  },
}

/** What ours may cost at most of what another costs: the ratio of the processor time that each adds. */
export interface Goal {
  readonly framework: string
  readonly ours: string
  readonly beside: string
  readonly atMost: Partial<Record<Mode, number>>
}

export const goals: readonly Goal[] = [
  {
    framework: 'express',
    ours: 'lru',
    beside: 'memory',
    atMost: { untouched: 0.3, read: 0.3, write: 0.5 },
  },
  {
    framework: 'express',
    ours: 'redis',
    beside: 'connect-redis',
    atMost: { untouched: 0.75, read: 0.75, write: 0.75 },
  },
  // Untouched the driver does nothing at all, so that there is no ratio.
  {
    framework: 'express',
    ours: 'sqlite',
    beside: 'raw-sqlite',
    atMost: { read: 1.3, write: 1.3 },
  },
  {
    framework: 'fastify',
    ours: 'signed-cookie',
    beside: 'secure-session',
    atMost: { untouched: 0.9, read: 0.9, write: 0.9 },
  },
]
