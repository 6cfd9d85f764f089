// Private database servers for tests: started from the machine's own binaries on a free port, in a temporary folder.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { findProgram } from './needs.ts'
import { openProxy, proxiesByUrl } from './proxy.ts'

/** A server that this process started. */
export interface Service {
  /** The URL that a client connects to. */
  readonly url: string
  /** Stops the server, as an operator would, or with SIGKILL as a crash. Its data stays. */
  stop(signal?: NodeJS.Signals): Promise<void>
  /** Stops its clock, so that it neither answers nor hangs up; or lets it go on. */
  freeze(frozen: boolean): void
  /** Starts it again, on the same port and data. */
  start(): Promise<void>
  /** Stops it for good and removes its data. */
  [Symbol.asyncDispose](): Promise<void>
}

/** What of a kind of server is there; undefined if it is missing on this machine. */
export interface Kind {
  readonly name: string
  /** How a user gets it. */
  readonly how: string
  /** The environment's variable with the URL of one to use instead. */
  readonly variable?: string
  /** Starts one; undefined if the program is not on this machine. */
  readonly launch: (() => Promise<Service>) | undefined
}

const LOCALHOST = '127.0.0.1'

/** A server is up within this time, in ms, even on a machine that is busy with other tests. */
const START_TIMEOUT = 60_000

/** A port that nobody listens at, below those that outgoing connections are given: one of them could take it before a server does. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 20_000)
    const server = createServer().listen(port, LOCALHOST)
    try {
      await once(server, 'listening')
    } catch {
      continue
    }
    server.close()
    await once(server, 'close')
    return port
  }
}

interface Plan {
  url: string
  program: string
  args: string[]
  /** Runs the program as this user, where this process is root and the program refuses to be. */
  user?: { uid: number; gid: number } | undefined
  /** Whether the server answers. */
  ready(): boolean | Promise<boolean>
}

/** Starts what a plan says, and keeps its data in a folder that goes when it is disposed of. */
export async function service(folder: string, plan: Plan): Promise<Service> {
  let child: ChildProcess | undefined
  let output = ''
  const self: Service = {
    url: plan.url,
    async start() {
      const started = spawn(plan.program, plan.args, {
        ...plan.user,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      child = started
      for (const stream of [started.stdout, started.stderr]) {
        stream.on('data', (chunk) => (output = `${output}${String(chunk)}`.slice(-4000)))
      }
      const end = Date.now() + START_TIMEOUT
      while (!(await plan.ready())) {
        if (started.exitCode !== null || Date.now() > end) {
          throw new Error(`${plan.program} did not start:\n${output}`)
        }
        await setTimeout(20)
      }
    },
    async stop(signal = 'SIGTERM') {
      const stopping = child
      if (!stopping || stopping.exitCode !== null || stopping.signalCode !== null) return
      stopping.kill(signal)
      await once(stopping, 'exit')
    },
    freeze(frozen) {
      if (!child?.pid) return
      const signal = frozen ? 'SIGSTOP' : 'SIGCONT'
      child.kill(signal)
      // PostgreSQL answers by children of its own; one that has just ended needs no signal.
      const children = childrenOf(child.pid)
      for (const pid of children) spawnSync('kill', [`-${signal}`, `${pid}`])
      if (frozen) for (const pid of [child.pid, ...children]) waitUntilStopped(pid)
    },
    async [Symbol.asyncDispose]() {
      await self.stop('SIGKILL')
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
  try {
    await self.start()
  } catch (error) {
    await self[Symbol.asyncDispose]()
    throw error
  }
  return self
}

/** After a crash PostgreSQL refuses to start until the last of its children has noticed. */
export async function startAgain({ start }: Service): Promise<void> {
  for (let n = 0; n < 50; n++) {
    try {
      return await start()
    } catch {
      await setTimeout(100)
    }
  }
  await start()
}

/** A thread may answer once more after the signal was sent; this waits until none does, where the system tells. */
function waitUntilStopped(pid: number): void {
  const end = Date.now() + 5000
  while (threadStatesOf(pid).some((state) => !'TtZX'.includes(state)) && Date.now() < end) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
  }
}

/** What each thread of a process does, by the letter of `proc(5)`: `T` is stopped. */
function threadStatesOf(pid: number): string[] {
  return globSync(`/proc/${pid}/task/*/stat`).flatMap((path) => {
    try {
      return [
        readFileSync(path, 'utf8')
          .replace(/^.*\) /s, '')
          .slice(0, 1),
      ]
    } catch {
      return []
    }
  })
}

/** A process's children, where the system tells. */
function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .split(' ')
      .map(Number)
      .filter(Boolean)
  } catch {
    return []
  }
}

/** A new folder for a server's data, which is its user's alone. */
export function folderFor(name: string, user?: { uid: number; gid: number }): string {
  const folder = mkdtempSync(join(tmpdir(), `coatcheck-${name}-`))
  if (user) chownSync(folder, user.uid, user.gid)
  else chmodSync(folder, 0o700)
  return folder
}

function succeeds(program: string, args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore', timeout: 5000 }).status === 0
}

function check(program: string, args: string[], options: object = {}): void {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', ...options })
  if (status !== 0) throw new Error(`${program} failed:\n${stdout}${stderr}`)
}

const redisServer = findProgram('redis-server')
const redisCli = findProgram('redis-cli')

/** A Redis that keeps what it has acknowledged: append-only file, fsync on every write. */
export const redis: Kind = {
  name: 'Redis',
  how: 'apt-get install redis-server, or set REDIS_URL',
  variable: 'REDIS_URL',
  launch: redisServer && redisCli ? () => launchRedis(redisServer, redisCli) : undefined,
}

async function launchRedis(server: string, cli: string, more: string[] = []): Promise<Service> {
  const folder = folderFor('redis')
  const port = await freePort()
  return service(folder, {
    url: `redis://${LOCALHOST}:${port}`,
    program: server,
    args: [
      ...`--port ${port} --bind ${LOCALHOST} --dir ${folder} --appendonly yes`.split(' '),
      ...`--appendfsync always --save`.split(' '),
      '',
      ...more,
    ],
    ready: () => succeeds(cli, ['-p', `${port}`, 'ping']),
  })
}

/** A Redis that comes back, after a crash, as it was when it was last told to save. */
export const forgetfulRedis: Kind = {
  name: redis.name,
  how: redis.how,
  launch:
    redisServer && redisCli
      ? () => launchRedis(redisServer, redisCli, ['--appendonly', 'no'])
      : undefined,
}

/**
 * A Redis Cluster of three masters, each behind a proxy whose port it announces as its own: a node sends clients on to the
 * others, so that no proxy could be put in front of it later. Its URL is those of the proxies, with commas between.
 */
export const redisCluster: Kind = {
  name: 'Redis Cluster',
  how: 'apt-get install redis-server',
  launch:
    redisServer && redisCli
      ? async () => {
          const more = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000']
          const nodes = await Promise.all(
            [1, 2, 3].map(() => launchRedis(redisServer, redisCli, more)),
          )
          const hosts = nodes.map(({ url }) => new URL(url).host)
          check(redisCli, ['--cluster', 'create', ...hosts, '--cluster-yes'])
          const end = Date.now() + START_TIMEOUT
          const ask = ({ url }: Service, ...args: string[]) =>
            spawnSync(redisCli, ['-p', new URL(url).port, ...args], { encoding: 'utf8' }).stdout
          const proxies = await Promise.all(
            nodes.map(({ url }) => openProxy(LOCALHOST, Number(new URL(url).port))),
          )
          for (const [at, node] of nodes.entries()) {
            const bus = Number(new URL(node.url).port) + 10_000
            ask(node, 'config', 'set', 'cluster-announce-bus-port', `${bus}`)
            ask(node, 'config', 'set', 'cluster-announce-port', `${proxies[at]!.port}`)
          }
          // Every node has to know where all the slots are, or it sends clients to and fro.
          const knowsAll = (node: Service) => {
            const slots = ask(node, 'cluster', 'slots')
            const announced = proxies.every(({ port }) => slots.includes(String(port)))
            return announced && /cluster_slots_ok:16384/.test(ask(node, 'cluster', 'info'))
          }
          while (!nodes.every(knowsAll)) {
            if (Date.now() > end) throw new Error('The Redis Cluster did not form')
            await setTimeout(50)
          }
          const url = proxies.map(({ host, port }) => `redis://${host}:${port}`).join(',')
          proxiesByUrl.set(url, proxies)
          return {
            ...nodes[0]!,
            url,
            async [Symbol.asyncDispose]() {
              for (const proxy of proxies) proxy.cut()
              await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()))
            },
          }
        }
      : undefined,
}

/** A Redis Cluster of one master and its replica. Its URL is the master's; what stops and freezes is the replica. */
export const redisClusterWithReplica: Kind = {
  name: redisCluster.name,
  how: redisCluster.how,
  launch:
    redisServer && redisCli
      ? async () => {
          const more = ['--cluster-enabled', 'yes']
          const master = await launchRedis(redisServer, redisCli, more)
          const replica = await launchRedis(redisServer, redisCli, more)
          const ask = ({ url }: Service, ...args: string[]) =>
            spawnSync(redisCli, ['-p', new URL(url).port, ...args], { encoding: 'utf8' }).stdout
          const until = async (is: () => boolean) => {
            const end = Date.now() + START_TIMEOUT
            while (!is()) {
              if (Date.now() > end) throw new Error('The Redis Cluster did not form')
              await setTimeout(50)
            }
          }
          ask(master, 'cluster', 'addslotsrange', '0', '16383')
          ask(replica, 'cluster', 'meet', LOCALHOST, new URL(master.url).port)
          const id = ask(master, 'cluster', 'myid').trim()
          await until(() => ask(replica, 'cluster', 'replicate', id).startsWith('OK'))
          const knowsReplica = (node: Service) =>
            ask(node, 'cluster', 'slots').includes(new URL(replica.url).port)
          await until(
            () =>
              /slave0:.*state=online/.test(ask(master, 'info', 'replication')) &&
              [master, replica].every(knowsReplica),
          )
          return {
            ...replica,
            url: master.url,
            async [Symbol.asyncDispose]() {
              for (const one of [replica, master]) await one[Symbol.asyncDispose]()
            },
          }
        }
      : undefined,
}

/** A Redis master, a replica of it, and a Sentinel that watches them as `sessions`. Its URL is that of the Sentinel. */
export const redisSentinel: Kind = {
  name: 'Redis Sentinel',
  how: 'apt-get install redis-server',
  launch:
    redisServer && redisCli
      ? async () => {
          const master = await launchRedis(redisServer, redisCli)
          const { hostname, port } = new URL(master.url)
          const replica = await launchRedis(redisServer, redisCli, ['--replicaof', hostname, port])
          const folder = folderFor('sentinel')
          const own = await freePort()
          const config = join(folder, 'sentinel.conf')
          writeFileSync(
            config,
            [
              `port ${own}`,
              `bind ${LOCALHOST}`,
              `dir ${folder}`,
              `sentinel monitor sessions ${hostname} ${port} 1`,
              'sentinel down-after-milliseconds sessions 500',
              'sentinel failover-timeout sessions 5000',
              '',
            ].join('\n'),
          )
          const ask = (...args: string[]) =>
            spawnSync(redisCli, ['-p', `${own}`, ...args], { encoding: 'utf8' }).stdout
          const sentinel = await service(folder, {
            url: `redis://${LOCALHOST}:${own}`,
            program: redisServer,
            args: [config, '--sentinel'],
            // It can take over once it knows the replica.
            ready: () =>
              /slave0:.*state=online/.test(
                spawnSync(redisCli, ['-p', port, 'info', 'replication'], { encoding: 'utf8' })
                  .stdout,
              ) && ask('sentinel', 'replicas', 'sessions').includes(new URL(replica.url).port),
          })
          return {
            ...sentinel,
            // What goes down is the master.
            stop: (signal) => master.stop(signal),
            start: () => master.start(),
            freeze: (frozen) => master.freeze(frozen),
            async [Symbol.asyncDispose]() {
              for (const one of [sentinel, replica, master]) await one[Symbol.asyncDispose]()
            },
          }
        }
      : undefined,
}

/** PostgreSQL's own program, the newest that is there. */
export const postgresBinary =
  globSync('/usr/lib/postgresql/*/bin/postgres').toSorted().at(-1) ?? findProgram('postgres')

export const postgres: Kind = {
  name: 'PostgreSQL',
  how: 'apt-get install postgresql, or set POSTGRES_URL',
  variable: 'POSTGRES_URL',
  launch: postgresBinary
    ? async () => {
        const bin = (program: string) => join(dirname(postgresBinary), program)
        // PostgreSQL refuses to run as root; its Debian package brings a user for it.
        const user = userInfo().uid === 0 ? systemUser('postgres') : undefined
        const folder = folderFor('postgres', user)
        const data = join(folder, 'data')
        const port = await freePort()
        check(
          bin('initdb'),
          ['-D', data, '-U', 'test', '-A', 'trust', '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8'],
          { ...user, cwd: folder },
        )
        return service(folder, {
          url: `postgres://test@${LOCALHOST}:${port}/postgres`,
          program: postgresBinary,
          args: ['-D', data, '-p', `${port}`, '-h', LOCALHOST, '-k', folder],
          user,
          ready: () => succeeds(bin('pg_isready'), ['-h', LOCALHOST, '-p', `${port}`, '-q']),
        })
      }
    : undefined,
}

const pgbouncerProgram = findProgram('pgbouncer')

/** How PgBouncer lends connections: for as long as a client stays, for a transaction, or for a statement. */
export type PoolMode = 'session' | 'transaction' | 'statement'

/**
 * A PgBouncer in front of the PostgreSQL at `url`. Stopping it leaves PostgreSQL alone.
 * @param url Undefined if there is no PostgreSQL.
 * @param mode Default `transaction`.
 * @param size How many connections it keeps to PostgreSQL. Default 3.
 */
export function pgbouncer(
  url: string | undefined,
  { mode = 'transaction', size = 3 }: { mode?: PoolMode; size?: number } = {},
): Kind {
  return {
    name: 'PgBouncer',
    how: 'apt-get install pgbouncer postgresql',
    launch:
      pgbouncerProgram && url !== undefined
        ? () => launchPgbouncer(pgbouncerProgram, url, mode, size)
        : undefined,
  }
}

async function launchPgbouncer(
  program: string,
  url: string,
  mode: PoolMode,
  size: number,
): Promise<Service> {
  const { hostname, port: upstream, username, pathname } = new URL(url)
  // PgBouncer refuses to run as root, as PostgreSQL does.
  const user = userInfo().uid === 0 ? systemUser('postgres') : undefined
  const folder = folderFor('pgbouncer', user)
  const port = await freePort()
  const config = join(folder, 'pgbouncer.ini')
  writeFileSync(
    config,
    [
      '[databases]',
      `* = host=${hostname} port=${upstream} user=${username}`,
      '[pgbouncer]',
      `listen_addr = ${LOCALHOST}`,
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = any',
      `pool_mode = ${mode}`,
      `default_pool_size = ${size}`,
      'max_client_conn = 500',
      // So many seconds later it asks a server again that was away; its default is 15.
      'server_login_retry = 1',
      // Hands connections out in turn, so that one after the other is seen.
      'server_round_robin = 1',
      '',
    ].join('\n'),
  )
  const own = new URL(`postgres://${LOCALHOST}:${port}${pathname}`)
  own.username = username
  return service(folder, {
    url: own.href,
    program,
    args: [config],
    user,
    ready: () => accepts(port),
  })
}

/** Whether somebody listens. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, LOCALHOST)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

const mariadbServer = findProgram('mariadbd', 'mysqld')
const mariadbInstall = findProgram('mariadb-install-db', 'mysql_install_db')
const mariadbAdmin = findProgram('mariadb-admin', 'mysqladmin')

export const mariadb: Kind = {
  name: 'MariaDB',
  how: 'apt-get install mariadb-server, or set MYSQL_URL',
  variable: 'MYSQL_URL',
  launch:
    mariadbServer && mariadbInstall && mariadbAdmin
      ? async () => {
          const folder = folderFor('mariadb')
          const socket = join(folder, 'socket')
          const port = await freePort()
          // A server that starts empties the folder of its temporary tables, which others must not have in common with it.
          const common = ['--no-defaults', `--datadir=${folder}/data`, `--tmpdir=${folder}`]
          const asUser = userInfo().uid === 0 ? ['--user=root'] : []
          check(mariadbInstall, [
            ...common,
            ...asUser,
            '--auth-root-authentication-method=normal',
            '--skip-test-db',
          ])
          return service(folder, {
            url: `mysql://root@${LOCALHOST}:${port}/mysql`,
            program: mariadbServer,
            args: [
              ...common,
              ...asUser,
              `--socket=${socket}`,
              `--port=${port}`,
              `--bind-address=${LOCALHOST}`,
            ],
            ready: () =>
              succeeds(mariadbAdmin, ['--no-defaults', `--socket=${socket}`, '-uroot', 'ping']),
          })
        }
      : undefined,
}

function systemUser(name: string): { uid: number; gid: number } {
  const id = (flag: string) => Number(spawnSync('id', [flag, name], { encoding: 'utf8' }).stdout)
  return { uid: id('-u'), gid: id('-g') }
}

/** Every kind of server that engines need, by the name that they need it by. */
export const kinds: Readonly<Record<string, Kind>> = { redis, redisCluster, postgres, mariadb }
