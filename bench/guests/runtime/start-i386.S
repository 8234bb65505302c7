/*
 * Start-up code of the i386 guests: from multiboot's machine state to guest_main() in paged protected mode.
 *
 * Entered as the Multiboot Specification (0.6.96, section 3.2) says: flat 32-bit protected mode, paging off, EAX the
 * loader's magic number, EBX the information structure. Paging: Intel SDM volume 3, section 4.3 (32-bit paging, 4 KiB
 * pages); exceptions: sections 6.10 to 6.13; FPU and SSE: sections 9.2 and 9.6. Interrupts stay disabled.
 */
#include "layout.h"

#define PAGE_PRESENT 1
#define PAGE_WRITABLE 2
#define CR0_MP (1 << 1)
#define CR0_EM (1 << 2)
#define CR0_TS (1 << 3)
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_PG (1 << 31)
#define CR4_OSFXSR (1 << 9)
#define CR4_OSXMMEXCPT (1 << 10)
#define CODE_SELECTOR 8
#define DATA_SELECTOR 16
#define INTERRUPT_GATE 0x8E00

.section .multiboot, "a"
  .balign 4
  .long MULTIBOOT_HEADER_MAGIC, 0, -MULTIBOOT_HEADER_MAGIC

.section .boot, "awx"
.globl start
start:
  cmp $MULTIBOOT_LOADER_MAGIC, %eax
  je 1f
  mov $1, %al
  out %al, $0xF4
0:cli
  hlt
  jmp 0b

1:mov $boot_stack_top, %esp
  cld

  /* The command line, where the loader gives one (bit 2 of the flags), up to the buffer's size less a final zero. */
  testl $4, (%ebx)
  jz 2f
  mov 16(%ebx), %esi
  mov $command_line, %edi
  mov $(COMMAND_LINE_SIZE - 1), %ecx
1:lodsb
  test %al, %al
  jz 2f
  stosb
  loop 1b

  /* Page tables; see layout.h. */
2:movl $(identity_table + PAGE_PRESENT + PAGE_WRITABLE), page_directory
  movl $(image_table + PAGE_PRESENT + PAGE_WRITABLE), page_directory + (IMAGE_VIRTUAL >> 22) * 4
  mov $(arena_tables + PAGE_PRESENT + PAGE_WRITABLE), %eax
  mov $(page_directory + (ARENA_VIRTUAL >> 22) * 4), %edi
  mov $(ARENA_PAGES / 1024), %ecx
  call map_run

  mov $(boot_begin + PAGE_PRESENT + PAGE_WRITABLE), %eax
  mov $(identity_table + (BOOT_ADDRESS >> 12) * 4), %edi
  mov $boot_pages, %ecx
  call map_run
  mov $(image_physical + PAGE_PRESENT), %eax
  mov $image_table, %edi
  mov $text_pages, %ecx
  call map_run
  or $PAGE_WRITABLE, %eax
  mov $data_pages, %ecx
  call map_run

  xor %ecx, %ecx
  mov $FRAME_FIRST, %edx
3:mov %edx, %eax
  and $(ARENA_PAGES - 1), %eax
  shl $12, %eax
  add $(ARENA_PHYSICAL + PAGE_PRESENT + PAGE_WRITABLE), %eax
  mov %eax, arena_tables(,%ecx,4)
  add $FRAME_STRIDE, %edx
  inc %ecx
  cmp $ARENA_PAGES, %ecx
  jne 3b
  movl $0, arena_tables + STACK_GUARD_PAGE * 4

  /* Interrupt descriptors for the 32 exceptions; the stubs are 16 bytes apart. */
  mov $exception_stubs, %eax
  mov $interrupt_descriptors, %edi
  mov $32, %ecx
4:mov %eax, %edx
  and $0xFFFF, %edx
  or $(CODE_SELECTOR << 16), %edx
  mov %edx, (%edi)
  mov %eax, %edx
  and $0xFFFF0000, %edx
  or $INTERRUPT_GATE, %edx
  mov %edx, 4(%edi)
  add $16, %eax
  add $8, %edi
  loop 4b

  mov $page_directory, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  and $~(CR0_EM | CR0_TS), %eax
  or $(CR0_PG | CR0_WP | CR0_NE | CR0_MP), %eax
  mov %eax, %cr0
  lgdt descriptor_table_pointer
  lidt interrupt_table_pointer
  ljmp $CODE_SELECTOR, $5f
5:mov $DATA_SELECTOR, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  mov %eax, %gs
  mov %eax, %ss
  mov $STACK_TOP, %esp
  xor %ebp, %ebp
  fninit
#ifdef __SSE2__
  mov %cr4, %eax
  or $(CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
  mov %eax, %cr4
#endif

  /* The ABI wants the stack aligned to 16 at the call. */
  sub $12, %esp
  push $command_line
  call guest_main
  push %eax
  call leave

/* Writes ECX entries at EDI: EAX, EAX + 4096, and so on. */
map_run:
  jecxz 2f
1:stosl
  add $4096, %eax
  loop 1b
2:ret

  .balign 8
global_descriptors:
  .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
descriptor_table_pointer:
  .word . - global_descriptors - 1
  .long global_descriptors
interrupt_table_pointer:
  .word 32 * 8 - 1
  .long interrupt_descriptors

/* The linker script lets this begin on a page, without asking the file to be so aligned. */
.section .boot.bss, "aw", @nobits
page_directory:
  .skip 4096
identity_table:
  .skip 4096
image_table:
  .skip 4096
arena_tables:
  .skip ARENA_PAGES * 4
interrupt_descriptors:
  .skip 32 * 8
command_line:
  .skip COMMAND_LINE_SIZE
  .balign 16
  .skip 1024
boot_stack_top:

.text
  .balign 16
exception_stubs:
  .set vector, 0
  .rept 32
    .balign 16
    /* Double fault, 10 to 14, 17, 21, 29 and 30 push an error code. */
    .if !((0x60227D00 >> vector) & 1)
      push $0
    .endif
    push $vector
    jmp exception
    .set vector, vector + 1
  .endr
exception:
  mov %esp, %eax
  and $-16, %esp
  sub $12, %esp
  push %eax
  call unexpected_exception

.section .note.GNU-stack, "", @progbits
