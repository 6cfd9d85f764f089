// Every SQL client that sqlStore is proven over: how it is opened at a place, by the recipe of the docs.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import type { SqlAnswer, SqlDialect, SqlRun } from '@coatcheck/db/sql'

/** A client that was opened. */
export interface OpenedClient {
  readonly run: SqlRun
  close(): unknown
}

/** How a client is opened. */
export interface Client {
  readonly dialect: SqlDialect
  /** The server that it needs, by the name in services.ts; a file where left out. */
  readonly needs?: 'postgres' | 'mariadb'
  /** It keeps its database within the process. */
  readonly isInProcess?: boolean
  /** @param place The server's URL, or the file's path. */
  open(place: string): OpenedClient | Promise<OpenedClient>
}

/** An error of a connection that breaks is the call's, and not the process's. */
const ignore = () => {}

/** Runs statements where D1 is: in a worker. */
const WORKER = `
import { runByD1 } from './d1.js'
export default {
  async fetch(request, { DB }) {
    const { sql, parameters } = await request.json()
    try {
      return Response.json(await runByD1(DB)(sql, parameters))
    } catch (error) {
      return new Response(error.message, { status: 500 })
    }
  },
}`

/** Kept for the process, as its database is. */
const kept = (make: () => Promise<OpenedClient>) => {
  let opened: Promise<OpenedClient> | undefined
  return async () => ({ ...(await (opened ??= make())), close: ignore })
}

/** So long, in ms, a file's client waits for a lock. */
const timeout = 2000

export const clients: Record<string, Client> = {
  'node:sqlite': {
    dialect: 'sqlite',
    async open(file) {
      const { DatabaseSync } = await import('node:sqlite')
      const { runBySqlite } = await import('./recipes/sqlite.ts')
      const database = new DatabaseSync(file, { timeout })
      database.exec('PRAGMA journal_mode = WAL')
      return { run: runBySqlite(database), close: () => database.close() }
    },
  },
  libSQL: {
    dialect: 'sqlite',
    async open(file) {
      const { createClient } = await import('@libsql/client')
      const { runByLibsql } = await import('./recipes/libsql.ts')
      const client = createClient({ url: `file:${file}`, timeout })
      await client.execute('PRAGMA journal_mode = WAL')
      return { run: runByLibsql(client), close: () => client.close() }
    },
  },
  'Cloudflare D1': {
    dialect: 'sqlite',
    isInProcess: true,
    open: kept(async () => {
      const { Miniflare } = await import('miniflare')
      const recipe = readFileSync(join(import.meta.dirname, 'recipes/d1.ts'), 'utf8')
      const miniflare = new Miniflare({
        modules: [
          { type: 'ESModule', path: 'worker.js', contents: WORKER },
          { type: 'ESModule', path: 'd1.js', contents: stripTypeScriptTypes(recipe) },
        ],
        d1Databases: ['DB'],
      })
      const run: SqlRun = async (sql, parameters) => {
        const body = JSON.stringify({ sql, parameters })
        const response = await miniflare.dispatchFetch('http://d1', { method: 'POST', body })
        if (response.ok) return (await response.json()) as SqlAnswer
        throw new Error(await response.text())
      }
      return { run, close: () => miniflare.dispose() }
    }),
  },
  'postgres.js': {
    dialect: 'postgres',
    needs: 'postgres',
    async open(url) {
      const { default: postgres } = await import('postgres')
      const { runByPostgresJs } = await import('./recipes/postgres-js.ts')
      const client = postgres(url, { onnotice: ignore })
      return { run: runByPostgresJs(client), close: () => client.end({ timeout: 1 }) }
    },
  },
  PGlite: {
    dialect: 'postgres',
    isInProcess: true,
    open: kept(async () => {
      const { PGlite } = await import('@electric-sql/pglite')
      const { runByPglite } = await import('./recipes/pglite.ts')
      const database = await PGlite.create()
      return { run: runByPglite(database), close: () => database.close() }
    }),
  },
  'Knex (pg)': {
    dialect: 'postgres',
    needs: 'postgres',
    open: (connection) => openKnex({ client: 'pg', connection }),
  },
  'Knex (mysql2)': {
    dialect: 'mysql',
    needs: 'mariadb',
    open: (connection) => openKnex({ client: 'mysql2', connection }),
  },
  'Knex (mysql2 that counts changed rows)': {
    dialect: 'mysql',
    needs: 'mariadb',
    open: (url) => openKnex({ client: 'mysql2', connection: `${url}?flags=-FOUND_ROWS` }),
  },
  'Knex (better-sqlite3)': {
    dialect: 'sqlite',
    open: (filename) =>
      openKnex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true }),
  },
  'Kysely (pg)': {
    dialect: 'postgres',
    needs: 'postgres',
    async open(url) {
      const { PostgresDialect } = await import('kysely')
      return openKysely(new PostgresDialect({ pool: await pgPool(url) }))
    },
  },
  'Kysely (mysql2)': {
    dialect: 'mysql',
    needs: 'mariadb',
    async open(url) {
      const { MysqlDialect } = await import('kysely')
      const { createPool } = await import('mysql2')
      return openKysely(new MysqlDialect({ pool: createPool(url) as never }))
    },
  },
  'Kysely (better-sqlite3)': {
    dialect: 'sqlite',
    async open(file) {
      const { SqliteDialect } = await import('kysely')
      return openKysely(new SqliteDialect({ database: await betterSqlite(file) }))
    },
  },
  'Drizzle (pg)': {
    dialect: 'postgres',
    needs: 'postgres',
    async open(url) {
      const { drizzle } = await import('drizzle-orm/node-postgres')
      const { pgTable, text } = await import('drizzle-orm/pg-core')
      const { runByDrizzlePostgres } = await import('./recipes/drizzle.ts')
      const pool = await pgPool(url)
      const schema = { users: pgTable('users', { name: text() }) }
      return { run: runByDrizzlePostgres(drizzle(pool, { schema })), close: () => pool.end() }
    },
  },
  'Drizzle (mysql2)': {
    dialect: 'mysql',
    needs: 'mariadb',
    async open(url) {
      const { drizzle } = await import('drizzle-orm/mysql2')
      const { mysqlTable, text } = await import('drizzle-orm/mysql-core')
      const { createPool } = await import('mysql2/promise')
      const { runByDrizzleMysql } = await import('./recipes/drizzle.ts')
      const pool = createPool(url)
      const schema = { users: mysqlTable('users', { name: text() }) }
      const database = drizzle(pool, { schema, mode: 'default' })
      return { run: runByDrizzleMysql(database), close: () => pool.end() }
    },
  },
  'Drizzle (better-sqlite3)': {
    dialect: 'sqlite',
    async open(file) {
      const { drizzle } = await import('drizzle-orm/better-sqlite3')
      const { sqliteTable, text } = await import('drizzle-orm/sqlite-core')
      const { runByDrizzleSqlite } = await import('./recipes/drizzle.ts')
      const database = await betterSqlite(file)
      const schema = { users: sqliteTable('users', { name: text() }) }
      return {
        run: runByDrizzleSqlite(drizzle(database, { schema })),
        close: () => database.close(),
      }
    },
  },
  'Prisma (pg)': {
    dialect: 'postgres',
    needs: 'postgres',
    async open(connectionString) {
      const { PrismaPg } = await import('@prisma/adapter-pg')
      return openPrisma('postgresql', new PrismaPg({ connectionString }))
    },
  },
  'Prisma (better-sqlite3)': {
    dialect: 'sqlite',
    async open(file) {
      const { PrismaBetterSqlite3 } = await import('@prisma/adapter-better-sqlite3')
      return openPrisma('sqlite', new PrismaBetterSqlite3({ url: `file:${file}`, timeout }))
    },
  },
  'TypeORM (pg)': {
    dialect: 'postgres',
    needs: 'postgres',
    async open(url) {
      const { DataSource } = await import('typeorm')
      const { runByTypeorm } = await import('./recipes/typeorm.ts')
      const source = await new DataSource({ type: 'postgres', url }).initialize()
      return { run: runByTypeorm(source), close: () => source.destroy() }
    },
  },
  'Sequelize (pg)': {
    dialect: 'postgres',
    needs: 'postgres',
    async open(url) {
      const { Sequelize } = await import('sequelize')
      const { runBySequelize } = await import('./recipes/sequelize.ts')
      const sequelize = new Sequelize(url, { logging: false })
      return { run: runBySequelize(sequelize), close: () => sequelize.close() }
    },
  },
}

async function pgPool(connectionString: string) {
  const { default: pg } = await import('pg')
  return new pg.Pool({ connectionString }).on('error', ignore)
}

async function betterSqlite(file: string) {
  const { default: Database } = await import('better-sqlite3')
  const database = new Database(file, { timeout })
  database.pragma('journal_mode = WAL')
  return database
}

async function openKnex(config: object): Promise<OpenedClient> {
  const { default: createKnex } = await import('knex')
  const { runByKnex } = await import('./recipes/knex.ts')
  const knex = createKnex(config)
  return { run: runByKnex(knex), close: () => knex.destroy() }
}

async function openKysely(dialect: import('kysely').Dialect): Promise<OpenedClient> {
  const { Kysely } = await import('kysely')
  const { runByKysely } = await import('./recipes/kysely.ts')
  const database = new Kysely<any>({ dialect })
  return { run: runByKysely(database), close: () => database.destroy() }
}

const generated = join(import.meta.dirname, 'node_modules', '.prisma')

/** Makes Prisma's client for a database, of a schema without models: it does so by a program of its own, and needs none of its engines. */
export function generatePrisma(provider: string): void {
  const output = join(generated, provider)
  mkdirSync(output, { recursive: true })
  const schema = join(generated, `${provider}.prisma`)
  writeFileSync(
    schema,
    `generator client {
  provider = "prisma-client-js"
  output   = "${output}"
}
datasource db {
  provider = "${provider}"
}
`,
  )
  execFileSync(
    process.execPath,
    [
      join(import.meta.dirname, 'node_modules/prisma/build/index.js'),
      'generate',
      `--schema=${schema}`,
    ],
    { env: { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath }, stdio: 'pipe' },
  )
}

async function openPrisma(provider: string, adapter: object): Promise<OpenedClient> {
  const { default: prisma } = await import(join(generated, provider, 'index.js'))
  const { runByPrisma } = await import('./recipes/prisma.ts')
  const client = new prisma.PrismaClient({ adapter })
  return { run: runByPrisma(client), close: () => client.$disconnect() }
}
