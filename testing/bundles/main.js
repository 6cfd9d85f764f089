// A program that ends when it has said how its engines are.
import { report } from './application.js'

report(process.argv[2]).then((said) => {
  console.log(JSON.stringify(said))
  process.exit()
})
