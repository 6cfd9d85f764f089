// Faults put back into core, one by one: each is a cause that once broke a promise, and the explorer must find it.

/** A small change to one file of a package that breaks a promise. */
export interface Mutation {
  /** What is wrong then. */
  readonly what: string
  readonly file: string
  /** Occurs exactly once in the file. */
  readonly find: string
  readonly replace: string
}

export const mutations: readonly Mutation[] = [
  {
    what: 'a save() does not wait for the write under way',
    file: 'sessions.ts',
    find: 'const running = state.line ? state.line.then(task) : task()',
    replace: 'const running = task()',
  },
  {
    what: 'a renewal moves any end',
    file: 'writer.ts',
    find: 'store.touch(key, content.expiresAt, from)',
    replace: 'store.touch(key, content.expiresAt)',
  },
  {
    what: 'a save overwrites whatever is there',
    file: 'save.ts',
    find: 'store.save(key, record, newest.stored)',
    replace: 'store.save(key, record)',
  },
  {
    what: 'a logout deletes without a look',
    file: 'end.ts',
    find: 'yield* wait(store.save(one.key, replaced ? retired(options) : ENDED, expected))',
    replace: 'yield* wait(store.delete(one.key))',
  },
  {
    what: 'a login retires the old key whatever it holds by then',
    file: 'move.ts',
    find: 'store.save(from, retirement, expected)',
    replace: 'store.save(from, retirement)',
  },
  {
    what: 'a login leaves the old key as it is',
    file: 'move.ts',
    find: 'yield* wait(store.save(from, retirement, expected))',
    replace: '',
  },
  {
    what: 'a login whose answer is lost takes its new record away',
    file: 'move.ts',
    find: 'lost++\n      moving.doubt = true',
    replace: 'lost++',
  },
  {
    what: 'a login whose old key was retired by another fails',
    file: 'plan.ts',
    find: "if (begins && cycled) return { to: 'create' }",
    replace: '',
  },
  {
    what: 'a late request with a retired key is answered as if it had written',
    file: 'plan.ts',
    find: "return modified || tookUnknown ? { to: 'refuse', error: new SessionGoneError() } : LEAVE",
    replace: 'return LEAVE',
  },
  {
    what: 'a key that must die is forgotten before it is dead',
    file: 'writer.ts',
    find: 'for (const one of condemned) {',
    replace: 'state.condemned = NONE\n  for (const one of condemned) {',
  },
  {
    what: 'a flush during a save leaves what the save has stored',
    file: 'turn.ts',
    find: 'condemnKey(state, key, kept.stored)',
    replace: '',
  },
  {
    what: 'a flush does not end the session',
    file: 'standing.ts',
    find: 'condemnKey(state, standing.key, draft.base!.stored, standing.since, moving?.ends)',
    replace: '',
  },
  {
    what: 'a response of 500 tells no cookie',
    file: 'sessions.ts',
    find: 'const headers = headersOf(manager, state, info)',
    replace:
      'const headers = ((info as ResponseInfo).status ?? 200) >= 500 ? { vary: true } : headersOf(manager, state, info)',
  },
  {
    what: 'a write in doubt takes the same text of another request for its own',
    file: 'writer.ts',
    find: 'if (isSame && (isRepeatable || (endsAt(expiresAt) && !endStays))) return true',
    replace: 'if (isSame) return true',
  },
  {
    what: 'a cookie is told before the old key is dead',
    file: 'turn.ts',
    find: 'state.owed = { key, expiresAt, browserLength }',
    replace: 'state.owed = undefined',
  },
  {
    what: 'requests that wait for one another are written as the last one has it',
    file: 'content.ts',
    find: 'for (const { snapshot } of all) data',
    replace: 'for (const { snapshot } of all.slice(-1)) data',
  },
  {
    what: 'a merge takes the whole of this request',
    file: 'content.ts',
    find: "(options.concurrency === 'overwrite' && newest)",
    replace: 'newest',
  },
  {
    what: 'what is emptied goes together with what others write',
    file: 'writer.ts',
    find: " && turn.plan.to !== 'end'",
    replace: '',
  },
  {
    what: 'what was found of a lost save() is acknowledged after the headers, though the client has no key',
    file: 'turn.ts',
    find: "if (sent && typeof owed === 'object' && owed.key !== clientKey) throw headersSent()",
    replace: '',
  },
  {
    what: 'a request that saw a flash, and changed something in place, counts as one that only looked',
    file: 'snapshot.ts',
    find: 'return isOfItsOwn && this.#changedInPlace(this.#codec.decode(this.text)).length === 0',
    replace: 'return isOfItsOwn',
  },
  {
    what: 'what a login in doubt has stored is taken away while its retirement may still arrive',
    file: 'load.ts',
    find: `yield* wait(store.save(to, old, made.data))
      yield* wait(store.save(from, retired(options), old.data))
      return judgeTold(options, to, old)`,
    replace: `const mustDie = { key: to, stored: made.data, since: now(), isAsked: true }
      return { ...judgeTold(options, from, old), mustDie }`,
  },
  {
    what: 'of one key the later request takes the whole',
    file: 'changes.ts',
    find: '(isUnseen && !merging.strategies.has(key))',
    replace: "(change !== 'in place' && !merging.strategies.has(key))",
  },
  {
    what: 'what was changed in place is taken whole',
    file: 'changes.ts',
    find: '(isUnseen && !merging.strategies.has(key))',
    replace: "((isUnseen || change === 'in place') && !merging.strategies.has(key))",
  },
  {
    what: 'a user is merged from two requests',
    file: 'strategies.ts',
    find: '[...Object.entries(IDENTITY), ...declared]',
    replace: 'declared',
  },
  {
    what: 'what was set from an older look takes away what was merged since',
    file: 'draft.ts',
    find: 'return this.#known?.has(key) ? { value: this.#known.get(key) } : undefined',
    replace: 'return undefined',
  },
  {
    what: 'what was merged of a held object is merged once more',
    file: 'draft.ts',
    find: 'this.#hold(key, to).was = this.#encodeOne(key, to)',
    replace: 'this.#hold(key, to)',
  },
  {
    what: 'a push whose save got no answer is made again on top of itself',
    file: 'changes.ts',
    find: 'if (!isNumberSet && isAdditive(before, after)) return false',
    replace: 'if (!isNumberSet && isAdditive(before, after)) return true',
  },
  {
    what: 'a sum counts from nothing',
    file: 'strategies.ts',
    find: 'return (by + to - from) as T',
    replace: 'return mine',
  },
]

/** Faults put into cached-db: found by the explorer over copies. */
export const cachedMutations: readonly Mutation[] = [
  {
    what: 'an end is acknowledged though the cache could not be told',
    file: 'copies.ts',
    find: 'await wait(TRY_EVERY)',
    replace: 'break',
  },
  {
    what: 'a copy is believed as long as the session lives',
    file: 'copies.ts',
    find: 'Math.min(expiresAt, since + freshFor)',
    replace: 'expiresAt',
  },
  {
    what: 'a copy gets into the cache without its reservation',
    file: 'copies.ts',
    find: 'toEntry(copy, freshFor), reservation)',
    replace: 'toEntry(copy, freshFor), void reservation)',
  },
  {
    what: 'nothing is reserved before a change',
    file: 'copies.ts',
    find: "const reserved = await reserveFor(key, record, 'any')",
    replace: 'const reserved = undefined',
  },
  {
    what: 'what could not be put in its place leaves the old copy',
    file: 'copies.ts',
    find: "if (!(await remove(key, 'if quick'))) untold = now()",
    replace: 'untold = now()',
  },
  {
    what: 'what has to be certain is answered from the cache',
    file: 'copies.ts',
    find: 'if (latest) return loadLatest(key)',
    replace: '',
  },
  {
    what: 'an end that is found done is acknowledged at once',
    file: 'copies.ts',
    find: 'if (isDead) await (dead.get(key)?.outlasted ?? settle(key, true))',
    replace: 'if (isDead) return record',
  },
  {
    what: 'a logout of what another process has just ended is acknowledged at once',
    file: 'copies.ts',
    find: 'if (latest) return loadLatest(key)',
    replace: 'if (latest) return db.load(key, true)',
  },
]
