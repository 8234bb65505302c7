#!/usr/bin/env -S node --v8-pool-size=0
/**
 * The first file that the `jit86` command loads. It is written so that any Node with ES modules can parse it, and
 * loads the rest only after it has seen that this Node is new enough.
 *
 * The option leaves V8 as many threads as the host has cores beside this one. Where there are two, V8's usual four for
 * compiling and collecting would take turns with the guest.
 */
const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  process.stderr.write(`jit86 needs Node 24 or newer; this is Node ${process.versions.node}\n`);
  process.exitCode = 2;
} else {
  import('./commands.ts').then(
    (commands) => commands.main(process.argv.slice(2)),
    (error) => {
      process.stderr.write(`${error.stack}\n`);
      process.exitCode = 1;
    },
  );
}
