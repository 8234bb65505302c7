import { buildCore } from './jit/build-core.ts';
import { recordKinds } from './src/execute/records.ts';
console.log(recordKinds.length); const t=performance.now();
try { buildCore('/tmp/core.wasm'); } catch(e) { console.log(e); process.exit(1) }
console.log(performance.now()-t);
import { readFileSync } from 'node:fs';
const b=readFileSync('/tmp/core.wasm'); console.log(b.length); new WebAssembly.Module(b); console.log('ok');
