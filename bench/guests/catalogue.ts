/**
 * The guests: what there is, what each stresses, and the checksum that every build of it must compute.
 *
 * This table is what the build, the tests and the bench go by. A source lies in `workloads/`, a built guest in
 * `built/<variant>/<name>.elf`; how a guest is run and what it prints is in `runtime/main.c`.
 */

/** The machines that every guest is built for. */
export const guestVariants = ['i386-x87', 'i386-sse2', 'x86_64'] as const;

/** One of {@link guestVariants}. */
export type GuestVariant = (typeof guestVariants)[number];

/**
 * What bounds a workload: `integer` arithmetic and branches, `double` arithmetic, `memory` beyond the caches, `string`
 * instructions, `control` flow (calls and indirect jumps). A `greeting` computes nothing.
 */
export type GuestKind = 'integer' | 'double' | 'memory' | 'string' | 'control' | 'greeting';

/** One row of the {@link catalogue}. */
export interface Guest {
  readonly name: string;
  /** The source's name in `bench/guests/workloads`. */
  readonly file: string;
  readonly kind: GuestKind;
  readonly variants: readonly GuestVariant[];
  /** What `workload(scale)` returns at every scale; null for a guest that is no workload and exists as an ELF only. */
  readonly checksum: number | null;
  /** One line. */
  readonly description: string;
}

function guest(file: string, kind: GuestKind, checksum: number | null, description: string): Guest {
  return { name: file.replace(/\.[cS]$/, ''), file, kind, variants: guestVariants, checksum, description };
}

/** Every guest, workloads first. */
export const catalogue: readonly Guest[] = [
  guest('sieve.c', 'memory', 0x001f7d49, 'Sieve of Eratosthenes over 16 MiB'),
  guest('sha256.c', 'integer', 0x317e1bee, 'SHA-256 over a chain of 64 KiB messages'),
  guest('aes.c', 'integer', 0x4005085f, 'AES-128 in CBC mode, by tables'),
  guest('crc32.c', 'integer', 0x1eee6126, 'CRC-32, a table look-up per byte'),
  guest('lz-compress.c', 'integer', 0xd5b2260d, 'LZ77 compression with hash chains, and decompression'),
  guest('huffman.c', 'integer', 0x1f447211, 'Huffman coding and decoding of text'),
  guest('quicksort.c', 'integer', 0x5771ffe6, 'Quicksort of 450,000 integers'),
  guest('mergesort.c', 'integer', 0x286041c7, 'Stable merge sort of 300,000 records'),
  guest('matrix-int.c', 'integer', 0x7f05b139, 'Products of 256 x 256 integer matrices'),
  guest('bigint-multiply.c', 'integer', 0x44432cd4, 'Products of integers of 32,000 bits'),
  guest('collatz.S', 'integer', 0x17622cfb, 'Longest Collatz chain below 150,000, in assembly'),
  guest('adc-fibonacci.S', 'integer', 0x496178ea, 'The 80,000th Fibonacci number by ADC chains, in assembly'),
  guest('fibonacci.c', 'control', 0x008cccc9, 'Fibonacci numbers by naive recursion'),
  guest('bytecode.c', 'control', 0x06aaa10b, 'Bytecode interpreter with a jump table'),
  guest('regex.c', 'control', 0x5a9d4132, 'Regular expressions by backtracking'),
  guest('strings.c', 'string', 0x53496845, 'Work on words by the REP string instructions'),
  guest('pointer-chase.c', 'memory', 0x113e2f74, 'Pointer chasing over 32 MiB'),
  guest('random-access.c', 'memory', 0x59baff53, 'Random reads and writes over 32 MiB'),
  guest('matrix-double.c', 'double', 0x5a4e818e, 'Product of 432 x 432 matrices of doubles'),
  guest('n-body.c', 'double', 0x000123dc, 'Five bodies under gravity, by the leapfrog method'),
  guest('mandelbrot.c', 'double', 0x00001a28, 'Mandelbrot set on a grid of 220 x 160'),
  guest('linpack.c', 'double', 0x6bb2a1e7, 'Gaussian elimination of a dense system of 540 equations'),
  guest('hello.c', 'greeting', null, 'A greeting on the serial port'),
];

/** The guests that have a `workload()`, and so native and wasm builds too. */
export const workloads: readonly Guest[] = catalogue.filter(({ checksum }) => checksum !== null);
