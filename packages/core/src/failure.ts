// What a failed save is answered with, in every adapter: nothing of the dropped answer, and what the site says on every page.
import { SessionConflictError, SessionError, SessionGoneError } from './errors.ts'

/**
 * Headers that say something about the site or the connection, whatever the answer: without those of CORS the page that asked
 * could not even see that it failed.
 */
const SITE_WIDE =
  /^(?:access-control-|cross-origin-|content-security-policy|permissions-policy|referrer-policy|strict-transport-security|origin-agent-cluster|report|nel$|x-(?:content-type-options|frame-options|xss-protection|dns-prefetch-control|download-options|permitted-cross-domain-policies|powered-by|request-id|correlation-id)$|vary$|date$|server$|via$|connection$|keep-alive$|alt-svc$|ratelimit|x-ratelimit|retry-after$)/i

/**
 * Whether a header belongs to the answer that is dropped when its session could not be saved: its body's type and length, where
 * it leads, how it may be cached, its cookies. Whatever is not known to be about the site as a whole does.
 */
export function isOfAnswer(header: string): boolean {
  return !SITE_WIDE.test(header)
}

/**
 * The answer where the application has none: an error's own status, and words for a visitor. What the error says (an address, a table's
 * name, advice) is for whoever runs the server.
 */
export function plainAnswer(error: unknown): { status: number; body: string } {
  const { status } = error as { status?: unknown }
  const isStatus = Number.isInteger(status) && (status as number) >= 400 && (status as number) < 600
  const answered = isStatus ? (status as number) : 500
  return {
    status: answered,
    body: wordsFor(error, answered),
  }
}

function wordsFor(error: unknown, status: number): string {
  if (error instanceof SessionGoneError) {
    return 'Your session has ended. Load the page again, and log in if it asks you to.'
  }
  if (error instanceof SessionConflictError) {
    return 'Something else was saved at the same moment, so this was not. Try again.'
  }
  if (status === 503) return 'Service Unavailable'
  return status < 500 ? 'Bad Request' : 'Internal Server Error'
}

/** Errors whose message is for visitors by now: one may fail several requests. */
const turned = new WeakSet<SessionError>()

/**
 * Turns an error into one that can be shown, for a framework that answers with an error's message: it keeps its class, `code` and `status`,
 * and its stack; what it said to whoever runs the server is in its `cause`, which has the backend's error for its own.
 */
export function tellVisitor(error: SessionError): void {
  if (turned.has(error)) return
  turned.add(error)
  const { message, code, status, name, stack } = error
  const original = new SessionError(message, {
    code,
    status,
    ...('cause' in error && { cause: error.cause }),
  })
  Object.defineProperties(original, { name: { value: name }, stack: { value: stack } })
  const hidden = { configurable: true, writable: true }
  Object.defineProperties(error, {
    message: { value: plainAnswer(error).body, ...hidden },
    cause: { value: original, ...hidden },
  })
}
