// A network of an application's own, so that packets can be lost in silence: a Linux network namespace, where the machine makes one.
import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'

/** Where an application runs, and how it reaches its servers. */
export interface Network {
  /** Stands before the command that starts the application. */
  readonly prefix: readonly string[]
  /** A link of its own to one server. */
  link(): Link
  close(): void
}

export interface Link {
  /** The address at which the application finds what is on this side. */
  readonly host: string
  /** Loses every packet, and says so to nobody; or lets them through again. Undefined where that is not possible. */
  readonly lose: ((lost: boolean) => void) | undefined
}

const ip = (...args: string[]) => spawnSync('ip', args, { encoding: 'utf8' })
function must(...args: string[]): void {
  const { status, stderr } = ip(...args)
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`)
}

/** What half-open connections need. */
export const HOW_TO_LOSE = 'Linux, as root, with iproute2'

/** Why there are none on this machine, in words for whoever reads the table. */
export const NO_NAMESPACES = `This machine makes no network namespaces. To try half-open connections: ${HOW_TO_LOSE}`

/** A port for a proxy: one that the system gives to no outgoing connection while the proxy is away. */
export const proxyPort = (): number => randomInt(20_000, 32_000)

/** Opens a network: a namespace of its own, or this machine's where none can be made. */
export function openNetwork(): Network {
  const name = `coatcheck-${process.pid}-${randomInt(2 ** 32)}`
  const close = () => void ip('netns', 'del', name)
  const canLink =
    ip('netns', 'add', name).status === 0 &&
    ip('-n', name, 'link', 'add', 'probe', 'type', 'veth').status === 0
  if (!canLink) {
    close()
    return { prefix: [], link: () => ({ host: '127.0.0.1', lose: undefined }), close() {} }
  }
  // Also where a run ends by an error.
  process.once('exit', close)
  must('-n', name, 'link', 'set', 'lo', 'up')
  return {
    prefix: ['ip', 'netns', 'exec', name],
    link() {
      const [ours, theirs] = [name, name].map(() => `cc${randomInt(2 ** 40).toString(36)}`)
      // Four addresses of those that are nobody's outside: a network of two.
      const net = `10.${randomInt(200, 255)}.${randomInt(256)}`
      const last = randomInt(64) * 4
      const [host, guest] = [`${net}.${last + 1}`, `${net}.${last + 2}`]
      must('link', 'add', ours!, 'type', 'veth', 'peer', 'name', theirs!, 'netns', name)
      must('addr', 'add', `${host}/30`, 'dev', ours!)
      must('link', 'set', ours!, 'up')
      must('-n', name, 'addr', 'add', `${guest}/30`, 'dev', theirs!)
      must('-n', name, 'link', 'set', theirs!, 'up')
      const lose = (lost: boolean) =>
        must('route', lost ? 'add' : 'del', 'blackhole', `${guest}/32`)
      return { host, lose }
    },
    close() {
      process.off('exit', close)
      close()
    },
  }
}
