// A client's store as the suite's other processes open it: named, with its place, by this module's own query.
import { subjectAt } from './subjects.ts'

const query = new URL(import.meta.url).searchParams
export default subjectAt(query.get('client')!, query.get('place')!)
