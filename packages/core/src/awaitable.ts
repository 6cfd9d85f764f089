// Synchronous stores are never made to wait for a promise: these continue at once where the value is there.

/** A value, or a promise of it: a store answers in whichever way is natural for its backend. */
export type Awaitable<T> = T | Promise<T>

export function isPromise<T>(value: Awaitable<T>): value is Promise<T> {
  return typeof (value as Promise<T> | undefined)?.then === 'function'
}

/** `next(value)`, now or when the value arrives. */
export function after<T, R>(value: Awaitable<T>, next: (value: T) => Awaitable<R>): Awaitable<R> {
  return isPromise(value) ? Promise.resolve(value).then(next) : next(value)
}

/** What `done` makes of the result of `task`, or `failed` of what it throws: now, or when it has ended. */
export function conclude<T, R>(
  task: () => Awaitable<T>,
  done: (result: T) => Awaitable<R>,
  failed: (error: unknown) => Awaitable<R>,
): Awaitable<R> {
  let result
  try {
    result = task()
  } catch (error) {
    return failed(error)
  }
  return isPromise(result) ? Promise.resolve(result).then(done, failed) : done(result)
}

/** The result of `task`; if it fails, now or later, that of `recover`. */
export function attempt<T>(
  task: () => Awaitable<T>,
  recover: (error: unknown) => Awaitable<T>,
): Awaitable<T> {
  return conclude(task, same, recover)
}

const same = <T>(value: T): T => value

/** A piece of work in steps, each of which may have to wait: `const record = yield* wait(store.load(key))`. */
export type Steps<T> = Generator<Awaitable<unknown>, T, any>

/** Waits for a value, or has it at once. */
export function* wait<T>(value: Awaitable<T>): Steps<T> {
  return isPromise(value) ? yield value : value
}

/** Does the work: in this very turn as far as nothing has to be waited for. */
export function run<T>(steps: Steps<T>): Awaitable<T> {
  return goOn(steps, steps.next())
}

function goOn<T>(steps: Steps<T>, step: IteratorResult<Awaitable<unknown>, T>): Awaitable<T> {
  while (!step.done) {
    const { value } = step
    if (isPromise(value)) {
      return Promise.resolve(value).then(
        (result) => goOn(steps, steps.next(result)),
        (error) => goOn(steps, steps.throw(error)),
      )
    }
    step = steps.next(value)
  }
  return step.value
}
