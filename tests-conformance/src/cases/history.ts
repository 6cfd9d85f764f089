// Section "history": whatever fails meanwhile, what several processes were answered can be put into one order.
import { strict as assert } from 'node:assert'
import { section, type Counterpart } from '../case.ts'
import type { Context } from '../context.ts'
import { checkHistory, type Copies } from '../history.ts'
import { isRefused, isUnknown, type Operation } from '../operation.ts'
import { alone } from './failure.ts'

/** Some thousand calls; three keys at a time, so that the processes meet, and twelve so that what is unknown of each stays little. */
const GROUPS = 4
const KEYS = 3
const GROUP_MS = 550

/** So many acknowledged writes there must be: a store that is away all the time proves nothing. */
const FEWEST = 20

/** On a busy machine it takes longer. */
const GROUP_MS_IF_BUSY = 2200

async function makeHistory(context: Context): Promise<Operation[]> {
  const first = await tryHistory(context, GROUP_MS)
  const { operations, problem } = first.problem
    ? await tryHistory(context, GROUP_MS_IF_BUSY)
    : first
  assert.ok(!problem, problem)
  return operations
}

/** A history, and why it proves nothing if it does not. */
async function tryHistory({ key, history }: Context, ms: number) {
  const keys = Array.from({ length: GROUPS }, () => Array.from({ length: KEYS }, key))
  const operations = await history(keys, ms)
  const writes = operations.filter((one) => one.call !== 'load')
  const done = writes.filter((one) => !isUnknown(one) && !isRefused(one)).length
  let problem = ''
  if (done < FEWEST) problem = `only ${done} of ${writes.length} writes were acknowledged`
  else if (!operations.some(isUnknown)) problem = 'the outages went unnoticed: no call failed'
  return { operations, problem }
}

function judge({ store, clock }: Context, operations: Operation[], copies?: Copies): void {
  const { removesRetired = false, evicts = false } = store.traits ?? {}
  const { is, explanation } = checkHistory(operations, {
    grain: clock.grain,
    removesRetired,
    evicts,
    ...(copies && { copies }),
  })
  assert.equal(is, 'linearizable', explanation)
}

const inOneProcess: Counterpart = {
  trait: 'exclusive',
  title:
    'four at once in one process that work on a few keys while the backend goes and comes back: what they were answered can be put into one order',
  run: async (context) => judge(context, await makeHistory(context)),
}

const seenLate: Counterpart = {
  trait: 'unshared',
  title:
    'with four processes, while the backend goes and comes back: what decides is in one order, and a load may tell a copy',
  async run(context) {
    const { freshFor = Infinity } = context
    judge(context, await makeHistory(context), { ofChanged: freshFor, ofEnded: freshFor })
  },
}

const changesSeenLate: Counterpart = {
  trait: 'freshFor',
  title:
    'with four processes, while the backend goes and comes back: what decides is in one order; a load may tell a copy of what was changed a moment ago, and none of what has ended',
  async run(context) {
    judge(context, await makeHistory(context), { ofChanged: context.freshFor!, ofEnded: 0 })
  },
}

const lastSaveWins: Counterpart = {
  trait: 'nonAtomic',
  title:
    'with four processes, while the backend goes and comes back: the last save wins, and no load tells what nobody wrote',
  async run(context) {
    const any = (await makeHistory(context)).flatMap((one): Operation[] => {
      if (one.call === 'load') return [{ ...one, latest: false }]
      return isRefused(one) ? [] : [{ ...one, end: undefined }]
    })
    judge(context, any, { ofChanged: Infinity, ofEnded: Infinity })
  },
}

export const history = section('history', (add) => {
  add(
    'outages',
    'four processes that work on a few keys while the backend goes and comes back: what they were answered can be put into one order',
    'What was saved would be lost, what was ended would come back, or a write would be made twice, whenever a connection breaks.',
    async (context) => judge(context, await makeHistory(context)),
    ...alone,
    inOneProcess,
    lastSaveWins,
    seenLate,
    changesSeenLate,
  )
})
