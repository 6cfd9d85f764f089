// Long histories: four processes work on an engine while its servers, or they themselves, are killed, stopped and cut off; the checker judges.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkHistory, type Operation } from '@coatcheck/conformance'
import { createKey } from '@coatcheck/core/store'
import { PROCESSES } from '../../tests-conformance/src/turmoil.ts'
import { isRefused, isUnknown } from '../../tests-conformance/src/operation.ts'
import { proxyTo, type Proxy } from '../proxy.ts'
import { kinds, startAgain, type Kind, type Service } from '../services.ts'
import { needsOf, subjectAt, type Places } from '../subjects.ts'
import type { WorkerOptions } from './worker.ts'

/** The engines that `pnpm histories` goes through. */
export const ENGINES = [
  'postgres',
  'mysql',
  'redis',
  'sqlite',
  'file',
  'cached-db (redis over postgres)',
] as const

/** How to make histories. */
export interface HistoriesOptions {
  readonly engine: string
  /** How long faults are injected in all. */
  readonly seconds: number
  /** It goes on for longer until so many writes are acknowledged. Default 0. */
  readonly enough?: number
  /** How long each fault may take, in ms. Default 3000; some are longer than any time-out, so that what was given up takes effect late. */
  readonly longest?: number
  /** The kinds of servers by their names, in place of the usual ones. */
  readonly servers?: Readonly<Record<string, Kind>>
  /** The only fault that there is. Default: all. */
  readonly only?: string
}

/** What came of it. */
export interface HistoriesReport {
  readonly histories: number
  readonly calls: number
  readonly acknowledgedWrites: number
  readonly unknownWrites: number
  /** How often each fault befell. */
  readonly faults: Readonly<Record<string, number>>
  /** What is wrong, in words; of each history that is not linearizable, or undecided. */
  readonly found: readonly string[]
}

/** One history: so many groups of keys, one after the other. */
const GROUPS = 8
const KEYS = 3
const GROUP_MS = 1200

/** A process and what stands between it and the servers. */
type Worker = Awaited<ReturnType<typeof openWorker>>

interface Fault {
  readonly what: string
  readonly begin: () => unknown
  readonly end: () => unknown
}

const nothing = () => {}
const oneOf = <T>(some: readonly T[]): T => some[Math.floor(Math.random() * some.length)]!
const between = (from: number, to: number) => from + Math.random() * (to - from)

export async function makeHistories(options: HistoriesOptions): Promise<HistoriesReport> {
  const { engine, seconds, enough = 0, longest = 3000, servers = kinds, only } = options
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-histories-'))
  const services = new Map<string, Service>()
  const workers: Worker[] = []
  try {
    for (const need of needsOf(engine)) services.set(need, await servers[need]!.launch!())
    const direct: Places = {
      folder,
      ...Object.fromEntries(Array.from(services, ([need, { url }]) => [need, url])),
    }
    const name = 'histories'
    // Makes the table, before several do.
    const subject = subjectAt(engine, direct)
    await (await subject.open({ name, now: Date.now })).close?.()
    const opening = Array.from({ length: PROCESSES }, () => openWorker(engine, name, direct))
    workers.push(...(await Promise.all(opening)))
    const { outage } = subject
    const opened = { name, now: Date.now }
    const ofServers = Array.from(services, ([need, service]) =>
      faultsOfServer(need, service),
    ).flat()
    if (outage) {
      ofServers.push({
        what: 'the table or folder away',
        begin: () => outage.begin(opened),
        end: () => outage.end(opened),
      })
    }
    // One of the servers and one of the processes at a time; a process that starts needs a backend that is there.
    const ofProcesses = workers.flatMap((one) => faultsOfProcess(one, services.size === 0))
    const faults = (outage ? [[...ofServers, ...ofProcesses]] : [ofServers, ofProcesses])
      .map((some) => some.filter(({ what }) => what === (only ?? what)))
      .filter((some) => some.length > 0)
    const report = {
      histories: 0,
      calls: 0,
      acknowledgedWrites: 0,
      unknownWrites: 0,
      faults: {} as Record<string, number>,
      found: [] as string[],
    }
    const end = performance.now() + seconds * 1000
    do {
      const ms = Math.min(GROUP_MS, (seconds * 1000) / GROUPS)
      const operations = await makeHistory(workers, faults, ms, longest, report.faults)
      const { freshFor } = subject
      const { is, explanation } = checkHistory(operations, {
        ...(freshFor && { copies: { ofChanged: freshFor, ofEnded: 0 } }),
      })
      if (is !== 'linearizable') report.found.push(explanation)
      const writes = operations.filter((one) => one.call !== 'load')
      report.histories++
      report.calls += operations.length
      report.acknowledgedWrites += writes.filter((one) => !isUnknown(one) && !isRefused(one)).length
      report.unknownWrites += writes.filter(isUnknown).length
    } while (performance.now() < end || report.acknowledgedWrites < enough)
    return report
  } finally {
    for (const worker of workers) await worker.dispose()
    for (const service of services.values()) await service[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function makeHistory(
  workers: readonly Worker[],
  faults: readonly (readonly Fault[])[],
  ms: number,
  longest: number,
  counts: Record<string, number>,
): Promise<Operation[]> {
  const keys = Array.from({ length: GROUPS }, () => Array.from({ length: KEYS }, createKey))
  const working = Promise.all(workers.map((worker, at) => worker.work(keys, ms, at)))
  const end = performance.now() + GROUPS * ms
  async function inject(all: readonly Fault[]): Promise<void> {
    const names = [...new Set(all.map(({ what }) => what))]
    while (performance.now() < end) {
      await sleep(between(20, 200))
      const what = oneOf(names)
      const fault = oneOf(all.filter((one) => one.what === what))
      await fault.begin()
      // Most are short, so that there are many.
      await sleep(Math.random() ** 3 * longest)
      await fault.end()
      counts[what] = (counts[what] ?? 0) + 1
    }
  }
  const [operations] = await Promise.all([working, ...faults.map(inject)])
  return operations.flat()
}

async function openWorker(engine: string, name: string, direct: Places) {
  const proxies: Proxy[] = []
  const places: Places = { ...direct }
  for (const need of needsOf(engine)) {
    const { url, proxy } = await proxyTo(direct[need]!)
    places[need] = url
    proxies.push(proxy)
  }
  const options: WorkerOptions = { engine, places, name }
  let child: ChildProcess
  let onMessage: (message: any) => void = nothing
  const worker = {
    proxies,
    async start() {
      child = fork(`${import.meta.dirname}/worker.ts`, [JSON.stringify(options)])
      child.on('message', (message) => onMessage(message))
      const died = once(child, 'exit').then(() => {
        throw new Error('A process died as it started')
      })
      await Promise.race([once(child, 'message'), died])
      died.catch(nothing)
      worker.onStart()
    },
    onStart: nothing,
    async kill() {
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    },
    freeze: (frozen: boolean) => child.kill(frozen ? 'SIGSTOP' : 'SIGCONT'),
    /** Works on the keys to their end, through deaths; resolves to the calls of all its lives. */
    async work(keys: readonly string[][], ms: number, number: number): Promise<Operation[]> {
      const begin = performance.now()
      const operations = new Map<string, Operation>()
      let lives = 0
      await new Promise<void>((resolve, reject) => {
        onMessage = ({ operation, done, error }) => {
          if (operation) operations.set(`${operation.process} ${operation.start}`, operation)
          if (error) reject(new Error(error))
          else if (done) resolve()
        }
        worker.onStart = () => {
          const past = Math.min(Math.floor((performance.now() - begin) / ms), keys.length - 1)
          child.send({ keys: keys.slice(past), ms, process: number + PROCESSES * lives++ })
        }
        worker.onStart()
      })
      worker.onStart = nothing
      return [...operations.values()]
    },
    async dispose() {
      await worker.kill()
      for (const proxy of proxies) proxy.cut()
    },
  }
  await worker.start()
  return worker
}

function faultsOfServer(name: string, service: Service): Fault[] {
  return [
    {
      what: `${name} killed`,
      begin: () => service.stop('SIGKILL'),
      end: () => startAgain(service),
    },
    {
      what: `${name} stopped`,
      begin: () => service.freeze(true),
      end: () => service.freeze(false),
    },
  ]
}

/** @param isAlone The process has no server: what can die is the process itself. */
function faultsOfProcess(worker: Worker, isAlone: boolean): Fault[] {
  const deaths = [
    { what: 'a process killed', begin: worker.kill, end: worker.start },
    {
      what: 'a process stopped',
      begin: () => worker.freeze(true),
      end: () => worker.freeze(false),
    },
  ]
  const cuts = worker.proxies.flatMap((proxy) => [
    { what: 'a connection cut', begin: proxy.cut, end: proxy.restore },
    {
      what: 'a connection silent',
      begin: () => proxy.freeze(true),
      end: () => proxy.freeze(false),
    },
  ])
  // A kill costs the time of a start.
  return isAlone ? deaths : [...cuts, ...deaths.slice(1)]
}

/** What `pnpm histories` prints of an engine. */
export function describeHistories(engine: string, report: HistoriesReport): string {
  const { histories, calls, acknowledgedWrites, unknownWrites, faults, found } = report
  return [
    `${engine}: ${histories} histories of ${calls} calls, ${acknowledgedWrites} acknowledged writes, ${unknownWrites} of an unknown outcome`,
    `faults ${JSON.stringify(faults)}`,
    ...found.slice(0, 3),
    `not linearizable, or undecided: ${found.length}`,
  ].join('\n')
}
