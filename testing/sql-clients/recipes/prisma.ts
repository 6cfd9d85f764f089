import type { SqlRun } from '@coatcheck/db/sql'

/** Of the client that Prisma generates. */
interface PrismaClient {
  $queryRawUnsafe(sql: string, ...parameters: unknown[]): Promise<any>
  $executeRawUnsafe(sql: string, ...parameters: unknown[]): Promise<number>
}

export const runByPrisma =
  (prisma: PrismaClient): SqlRun =>
  async (sql, parameters) =>
    sql.startsWith('SELECT')
      ? { rows: await prisma.$queryRawUnsafe(sql, ...parameters) }
      : { changes: await prisma.$executeRawUnsafe(sql, ...parameters) }
