import { enableCompileCache } from "node:module"
import { fileURLToPath } from "node:url"

// Imported first by whatever a process or thread begins with; what it imports after that is found compiled. Half of a command's time is
// reading the program, and a fifth of a second of each thread's. Beside the program, not in /tmp: whoever can write there can change the
// program as well. Where nothing can be written, nothing is kept.
enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/postern", import.meta.url)))
