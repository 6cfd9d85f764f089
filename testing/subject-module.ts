// An engine as the suite's other processes open it: named, with its places, by this module's own query.
import { subjectAt, type Places } from './subjects.ts'

const { engine, ...places } = Object.fromEntries(new URL(import.meta.url).searchParams)
export default subjectAt(engine!, places as Places)
