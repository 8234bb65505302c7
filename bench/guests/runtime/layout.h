/*
 * The memory layout of a guest, shared by the linker script and the start-up code.
 *
 *   physical                          virtual
 *   0x00100000  boot segment          the same (identity): multiboot header, 32-bit start-up code, GDT, IDT, page tables
 *   behind it   image (text, data)    0x08000000: read-only text, then writable data and the runtime's bss
 *   0x01000000  arena, 64 MiB         0x40000000: the workload's bss, and the stack at its end; its 4 KiB frames are permuted
 *
 * Everything else, page 0 included, is not mapped. With 64 MiB of arena above 16 MiB a guest fits a machine of 128 MiB.
 */
#define BOOT_ADDRESS 0x00100000
#define IMAGE_VIRTUAL 0x08000000
#define ARENA_VIRTUAL 0x40000000
#define ARENA_PHYSICAL 0x01000000
#define ARENA_PAGES 16384
#define ARENA_SIZE (ARENA_PAGES * 4096)
#define STACK_SIZE 0x00100000
#define STACK_TOP (ARENA_VIRTUAL + ARENA_SIZE)
#define STACK_GUARD_PAGE (ARENA_PAGES - STACK_SIZE / 4096 - 1)

/* Arena page i lies in frame (i * FRAME_STRIDE + FRAME_FIRST) mod ARENA_PAGES; an odd stride makes that a permutation. */
#define FRAME_STRIDE 10007
#define FRAME_FIRST 4711

#define COMMAND_LINE_SIZE 256

/* The multiboot 1 header's and loader's magic numbers (Multiboot Specification 0.6.96, sections 3.1 and 3.2). */
#define MULTIBOOT_HEADER_MAGIC 0x1BADB002
#define MULTIBOOT_LOADER_MAGIC 0x2BADB002
