// All ways in which a handler may answer, by what they run on: Node's response, a framework's own means.
import { servers } from './servers.ts'
import type { Answer, Way } from './visit.ts'
import { waysOfChains, waysOfExpress } from './ways-of-express.ts'
import { waysOfFastify } from './ways-of-fastify.ts'
import { waysOfKoa } from './ways-of-koa.ts'
import { waysOfNode } from './ways-of-node.ts'
import { waysOfHono, waysOfResponses } from './ways-of-standards.ts'

const groups: Readonly<Record<string, Readonly<Record<string, Answer | Way>>>> = {
  Node: { ...waysOfNode, ...waysOfChains },
  Express: waysOfExpress,
  Koa: waysOfKoa,
  Fastify: waysOfFastify,
  Hono: waysOfHono,
  Response: waysOfResponses,
}

/** The ways that can be tried on a framework, by name. */
export function waysOn(framework: string): Map<string, Way> {
  const ways = new Map<string, Way>()
  for (const group of servers[framework]!.groups) {
    for (const [name, given] of Object.entries(groups[group] ?? {})) {
      const way = typeof given === 'function' ? { answer: given } : given
      if (way.on?.test(framework) ?? true) ways.set(name, way)
    }
  }
  return ways
}
