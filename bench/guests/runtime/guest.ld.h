/*
 * The linker script of every guest, run through the C preprocessor first (hence its name); see layout.h for the map.
 * The arena belongs to no segment: the file does not carry it and a loader does not see it. It holds what the machine's
 * RAM holds at power-on, so that a workload initialises what it reads.
 */
#include "layout.h"

ENTRY(start)

PHDRS {
  boot PT_LOAD FLAGS(7);
  image PT_LOAD FLAGS(7);
}

SECTIONS {
  /* Named first, so that the workload's bss goes here and not to .bss below. */
  .arena ARENA_VIRTUAL (NOLOAD) : { *workload.o(.bss .bss.* COMMON) } :NONE
  ASSERT(SIZEOF(.arena) <= STACK_GUARD_PAGE * 4096, "the workload's bss does not fit the arena")

  . = BOOT_ADDRESS;
  boot_begin = .;
  .boot : { *(.multiboot) *(.boot) } :boot
  . = ALIGN(4096);
  .boot.bss (NOLOAD) : { *(.boot.bss) . = ALIGN(4096); } :boot
  boot_end = .;
  boot_pages = (boot_end - boot_begin) / 4096;

  /* One segment, since QEMU's loader does not take an empty one; what is writable begins on a page of its own. */
  . = IMAGE_VIRTUAL;
  image_physical = boot_end;
  .text : AT(image_physical) { *(.text .text.*) *(.rodata .rodata.*) } :image
  . = ALIGN(4096);
  text_pages = (. - IMAGE_VIRTUAL) / 4096;
  data_begin = .;
  .data : AT(image_physical + text_pages * 4096) { *(.data .data.*) } :image
  .bss (NOLOAD) : { *(.bss .bss.* COMMON) . = ALIGN(4096); } :image
  data_pages = (. - data_begin) / 4096;

  /DISCARD/ : { *(.comment) *(.note*) *(.eh_frame*) }
}
