// Every error the library throws: one base class, a stable code each, and the HTTP status it stands for.
import { withPage } from './error-page.ts'

/** What {@link SessionError} takes besides its message. */
export interface SessionErrorOptions {
  /** A stable, greppable name such as `ERR_SESSION_GONE`. */
  code: string
  /** The HTTP status an adapter answers with; 500 unless said otherwise. */
  status?: number
  /** What the backend failed with. */
  cause?: unknown
}

/**
 * The base class of every error that Coatcheck throws. `code` is stable across releases; `status` follows
 * the convention of http-errors, so Express, Koa and Fastify answer with it by themselves.
 */
export class SessionError extends Error {
  readonly code: string
  readonly status: number

  /**
   * @param message What happened, to what, and what to do. It never holds a key, a secret or session data. Where docs/errors.md
   * explains the code, its address is added as a last line.
   */
  constructor(message: string, options: SessionErrorOptions) {
    super(
      withPage(message, options.code),
      'cause' in options ? { cause: options.cause } : undefined,
    )
    this.name = new.target.name
    this.code = options.code
    this.status = options.status ?? 500
  }
}

/** The session was deleted or expired while a request was using it; it is never brought back. Status 400. */
export class SessionGoneError extends SessionError {
  constructor(
    message = 'The session ended while this request was using it (logged out or expired elsewhere), so its changes were not saved. Repeat the request with the current cookie.',
  ) {
    super(message, { code: 'ERR_SESSION_GONE', status: 400 })
  }
}

/** Another request changed the session first, and the change could not be merged. Status 409. */
export class SessionConflictError extends SessionError {
  /** The session's key that both have changed, where it was declared that then the later request fails. */
  readonly key: string | undefined

  constructor(
    message = "Another request changed the session first, so this request's changes were not saved. Repeat the request.",
    key?: string,
  ) {
    super(message, { code: 'ERR_SESSION_CONFLICT', status: 409 })
    this.key = key
  }
}

/** `create` was given a key that a live record already has. */
export class KeyExistsError extends SessionError {
  constructor(message = 'A live session already has this key. Create it under a new one.') {
    super(message, { code: 'ERR_SESSION_KEY_EXISTS' })
  }
}

/** The session does not fit its limit; what was stored before is unchanged. */
export class SessionTooLargeError extends SessionError {
  /** How large the refused thing is, in bytes. */
  readonly bytes: number
  /** How large it may be, in bytes; in characters, where a column of a database counts those. */
  readonly limit: number

  /**
   * @param what What was measured, as the message's first words: "The session's data", for one.
   * @param bytes Its size in bytes.
   * @param limit The limit in bytes, or in characters.
   * @param advice What to do about it, a sentence.
   * @param characters Its size in characters, where the limit is one of those.
   */
  constructor(what: string, bytes: number, limit: number, advice: string, characters?: number) {
    const size = characters === undefined ? `${bytes} bytes` : `${characters} characters`
    super(`${what} takes ${size} and the limit is ${limit}. ${advice}`, {
      code: 'ERR_SESSION_TOO_LARGE',
    })
    this.bytes = bytes
    this.limit = limit
  }
}

/** A value cannot be stored and read back as it is. */
export class SessionEncodeError extends SessionError {
  /** The session's key that holds the value. */
  readonly key: string

  constructor(key: string, message: string, cause?: unknown) {
    super(message, { code: 'ERR_SESSION_ENCODE', ...(cause === undefined ? {} : { cause }) })
    this.key = key
  }
}

/** The backend failed; its own error is the `cause`. Status 503. */
export class SessionStoreError extends SessionError {
  constructor(message: string, cause?: unknown) {
    super(message, {
      code: 'ERR_SESSION_STORE',
      status: 503,
      ...(cause === undefined ? {} : { cause }),
    })
  }
}

/** The store was asked for something after `close()`. */
export class StoreClosedError extends SessionStoreError {
  constructor() {
    super('The store is closed. Make another one.')
  }
}

/** Whether a store says that it has not done what it was asked. Any other error leaves open whether it has. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof SessionGoneError ||
    error instanceof SessionConflictError ||
    error instanceof KeyExistsError ||
    error instanceof SessionTooLargeError ||
    error instanceof SessionEncodeError ||
    error instanceof SessionUsageError
  )
}

/** A save came too late for the cookie that it needs. */
export function headersSent(): SessionUsageError {
  return new SessionUsageError(
    "The response's headers are out, so the client cannot be given the cookie that this save needs. Save a new session, or a new key, before the response starts.",
    'ERR_SESSION_HEADERS_SENT',
  )
}

/** The library was called in a way that cannot work: a wrong option, or a method at a wrong moment. */
export class SessionUsageError extends SessionError {
  constructor(message: string, code = 'ERR_SESSION_USAGE') {
    super(message, { code })
  }
}
