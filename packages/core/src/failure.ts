// What a failed save is answered with, in every adapter: nothing of the dropped answer, and what the site says on every page.
import { withoutPage } from './error-page.ts'
import { SessionError } from './errors.ts'

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
 * The answer where the application has none: an error's own status and, if it is a session's and the client's to mend, its message. What
 * a server's fault says (an address, a table's name) is for whoever runs it.
 */
export function plainAnswer(error: unknown): { status: number; body: string } {
  const { status } = error as { status?: unknown }
  const isStatus = Number.isInteger(status) && (status as number) >= 400 && (status as number) < 600
  const answered = isStatus ? (status as number) : 500
  return {
    status: answered,
    body:
      error instanceof SessionError && answered < 500
        ? withoutPage(error.message)
        : answered === 503
          ? 'Service Unavailable'
          : 'Internal Server Error',
  }
}
