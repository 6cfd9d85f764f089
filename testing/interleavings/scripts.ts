// What requests do: scripts made by hand for every promise, and scripts made by chance.
import type { FaultKind } from './world.ts'

/** One thing that a handler does. Each request sets keys of its own, so that what it set can be told. */
export type Step =
  | 'get'
  | 'set'
  | 'set shared'
  | 'same'
  | 'update'
  | 'push'
  | 'push held'
  | 'set held'
  | 'copy'
  | 'field'
  | 'count'
  | 'who'
  | 'delete'
  | 'clear'
  | 'flush'
  | 'cycle'
  | 'flash'
  | 'expiry'
  | 'save'
  | 'save!'
  | 'pause'
  | 'load twice'

export interface RequestScript {
  readonly process: number
  readonly steps: readonly Step[]
  /** What the handler does after the headers. */
  readonly after?: readonly Step[]
  readonly status: number
  /** Sends no cookie: a new visitor. */
  readonly fresh?: boolean
  /** Begins when all before it are over, with the cookie that the browser has then. */
  readonly later?: boolean
}

export interface Script {
  readonly requests: readonly RequestScript[]
  readonly concurrency: 'merge' | 'overwrite' | 'reject'
  readonly sync: boolean
  readonly lazy: boolean
  readonly saveEveryRequest: boolean
  /** The session has something that was flashed: the request that looks at it takes it away. */
  readonly flashed: boolean
  readonly faults: number
  readonly kinds: readonly FaultKind[]
  readonly jump: number
}

const request = (...steps: Step[]): RequestScript => ({ process: 0, steps, status: 200 })
const other = (...steps: Step[]): RequestScript => ({ process: 1, steps, status: 200 })

const later = (one: RequestScript): RequestScript => ({ ...one, later: true })

const script = (requests: RequestScript[], more: Partial<Script> = {}): Script => ({
  requests,
  concurrency: 'merge',
  sync: false,
  lazy: false,
  saveEveryRequest: false,
  flashed: false,
  faults: 0,
  kinds: [],
  jump: 0,
  ...more,
})

const pairs: Step[][] = [
  ['get'],
  ['set'],
  ['same'],
  ['update'],
  ['push'],
  ['clear'],
  ['flush'],
  ['cycle'],
  ['expiry'],
  ['cycle', 'set'],
  ['flush', 'set'],
  ['flash'],
  ['set', 'save', 'set'],
  ['set', 'save!', 'set'],
  ['set', 'save!', 'flush'],
  ['cycle', 'set', 'save!', 'flush', 'set'],
]

/** Changes that are merged with another request's of the same key. */
const merged: Step[][] = [
  ['push'],
  ['get', 'copy'],
  ['field'],
  ['count'],
  ['who'],
  ['cycle', 'who'],
  ['cycle', 'push'],
  ['get', 'push', 'save', 'copy'],
]

/** Scripts small enough for every interleaving. */
export function smallScripts(): Script[] {
  const scripts: Script[] = [
    // Three in one process: one writes, and the others go together.
    script([request('set'), request('set'), request('set')]),
    script([request('update'), request('update'), request('update')]),
    script([request('set'), request('clear'), request('set')]),
    script([request('set'), request('clear'), request('set')], { concurrency: 'overwrite' }),
    script([request('push', 'save', 'push held'), other('set')]),
    // What is held, or was read, before a save that merges.
    ...(['push held', 'set held', 'copy', 'count', 'field'] as const).flatMap((step) => [
      script([request('get', 'set', 'save', step, 'save', step), other('copy')]),
      script([request('get', 'save!', step), request('push'), request('copy')]),
      script([request('get', step, 'save', step), other(step)], { faults: 1, kinds: ['lose'] }),
    ]),
    // A write in doubt beside another one of the same text.
    script([request('update', 'save'), request('update')], { faults: 1, kinds: ['fail', 'lose'] }),
    // A login in doubt, and what the next request makes of it while the first one's writes may still arrive.
    ...(['get', 'set', 'update', 'cycle', 'flush'] as const).map((step) =>
      script([request('cycle'), { ...other(step), later: true }], { faults: 2, kinds: ['late'] }),
    ),
    ...(['fail', 'lose', 'late'] as const).map((kind) =>
      script([{ ...request('set'), fresh: true, after: ['save', 'save'] }], {
        faults: 1,
        kinds: [kind],
      }),
    ),
  ]
  // One request, with a failure at every call, and a process that dies.
  for (const steps of pairs) {
    for (const kinds of [['fail', 'lose'], ['late'], ['crash']] as FaultKind[][]) {
      scripts.push(script([request(...steps)], { faults: 1, kinds }))
      scripts.push(script([request(...steps, 'save', 'set')], { faults: 1, kinds }))
    }
    for (const sync of [false, true]) {
      scripts.push(script([request(...steps)], { sync, faults: 2, kinds: ['fail', 'lose'] }))
      scripts.push(script([{ ...request(...steps, 'save'), status: 500 }], { sync }))
      scripts.push(script([{ ...request(...steps), after: ['set', 'save'] }], { sync }))
    }
    scripts.push(script([{ ...request(...steps), fresh: true }], { faults: 1, kinds: ['lose'] }))
  }
  for (const one of merged) {
    for (const two of [...merged, ['clear'], ['flush'], ['cycle']] as Step[][]) {
      scripts.push(
        script([request(...one), other(...two)]),
        script([request(...one), request(...two)]),
      )
    }
    scripts.push(script([request(...one)], { faults: 2, kinds: ['fail', 'lose'] }))
    scripts.push(script([request(...one), other('set')], { faults: 1, kinds: ['lose'] }))
  }
  // Two at once, in one process and in two.
  for (const one of pairs) {
    for (const two of pairs) {
      for (const more of [
        {},
        { concurrency: 'overwrite' as const },
        { saveEveryRequest: true },
        { flashed: true },
      ]) {
        scripts.push(script([request(...one), other(...two)], more))
      }
      scripts.push(script([request(...one), request(...two)]))
    }
  }
  scripts.push(script([request('load twice', 'get')], { lazy: true, faults: 1, kinds: ['fail'] }))
  return scripts
}

/** How far the clock jumps in these, in ms: after two jumps a copy is not fresh any more, and the session lives. */
const COPIES_GO_STALE = 300

/** Scripts over cached copies: two processes, either store away for one of them, a crash between the two. */
export function cachedScripts(): Script[] {
  const steps: Step[][] = [['get'], ['set'], ['expiry'], ['flush'], ['cycle']]
  const faulty: FaultKind[][] = [['fail'], ['lose'], ['late'], ['crash'], ['cut']]
  const variants: Partial<Script>[] = [
    {},
    { saveEveryRequest: true },
    { jump: COPIES_GO_STALE },
    ...faulty.map((kinds) => ({ faults: 1, kinds })),
    { faults: 1, kinds: ['late'], saveEveryRequest: true },
    { faults: 2, kinds: ['cut'] },
    { faults: 2, kinds: ['cut', 'lose'] },
    { faults: 1, kinds: ['cut'], saveEveryRequest: true, jump: COPIES_GO_STALE },
  ]
  return [
    // An end that another process waits for.
    script([request('flush'), other('flush')], { faults: 2, kinds: ['cut'] }),
    // An end in doubt, that is found done.
    ...(['cycle', 'flush'] as const).map((step) =>
      script([request(step)], { faults: 2, kinds: ['lose'] }),
    ),
    ...steps.flatMap((one) =>
      steps.flatMap((two) =>
        variants.flatMap((more) => [
          script([request(...one), other(...two)], more),
          script([request('get'), other(...one), later(request(...two))], more),
        ]),
      ),
    ),
  ]
}

/** A script by chance, over cached copies. */
export function randomCachedScript(random: (below: number) => number): Script {
  const scripted = randomScript(random)
  const kinds = [['fail', 'lose'], ['late'], ['crash'], ['cut'], ['cut', 'late', 'crash']]
  return {
    ...scripted,
    sync: false,
    faults: random(3),
    kinds: kinds[random(kinds.length)] as FaultKind[],
    jump: random(3) === 0 ? COPIES_GO_STALE : scripted.jump,
  }
}

const STEPS: readonly Step[] = [
  'get',
  'set',
  'set',
  'set shared',
  'same',
  'update',
  'update',
  'push',
  'push held',
  'set held',
  'copy',
  'copy',
  'field',
  'count',
  'who',
  'delete',
  'clear',
  'flush',
  'flush',
  'cycle',
  'cycle',
  'flash',
  'expiry',
  'save',
  'save',
  'save!',
  'save!',
  'pause',
]

/** A script by chance, of two or three requests. */
export function randomScript(random: (below: number) => number): Script {
  const steps = (most: number) => Array.from({ length: random(most + 1) }, () => pick(STEPS))
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!
  const requests = Array.from({ length: 1 + random(3) }, (): RequestScript => ({
    process: random(2),
    steps: steps(5),
    ...(random(4) === 0 && { after: [...steps(2), 'save' as const] }),
    status: random(6) === 0 ? 500 : 200,
    ...(random(10) === 0 && { fresh: true }),
    ...(random(4) === 0 && { later: true }),
  }))
  const faulty = random(3) === 0
  return {
    requests,
    concurrency: pick(['merge', 'merge', 'merge', 'overwrite', 'reject'] as const),
    sync: random(5) === 0,
    lazy: random(8) === 0,
    saveEveryRequest: random(3) === 0,
    flashed: random(4) === 0,
    faults: faulty ? 1 + random(2) : 0,
    kinds: faulty ? pick([['fail', 'lose'], ['lose'], ['late'], ['crash']] as FaultKind[][]) : [],
    jump: random(6) === 0 ? pick([61_000, 1_300_000_000]) : 0,
  }
}
