#!/bin/bash
# dump.tmp.sh variant guest rip [out]
export PATH=/work/main/node_modules/.bin:$PATH
O=${4:-/tmp/fast-dump}
node dump.tmp.ts $1 $2 $3 $O || exit 1
node --no-liftoff --no-wasm-lazy-compilation --print-wasm-code -e "new WebAssembly.Module(require('fs').readFileSync('$O.wasm'))" > $O.raw 2>&1
python3 - $O <<'P'
import re,sys
o=sys.argv[1]
s=open(o+'.raw').read()
best=None
for f in s.split('--- WebAssembly code ---'):
    if 'compiler: TurboFan' in f and (best is None or len(f)>len(best)): best=f
out=[]
for l in best.split('\n'):
    m=re.match(r'^0x[0-9a-f]+ +([0-9a-f]+)  [0-9a-f]+ +(.*)',l)
    if m: out.append(m.group(1)+'  '+m.group(2)[:70])
open(o+'.asm','w').write('\n'.join(out))
print(len(out),'instructions')
P
node --input-type=module -e "import b from '/work/main/node_modules/binaryen/index.js'; import fs from 'fs'; const m=b.readBinary(fs.readFileSync('$O.wasm')); fs.writeFileSync('$O.wat', m.emitStackIR());"
