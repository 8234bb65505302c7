/*
 * Start-up code of the x86_64 guests: from multiboot's machine state to guest_main() in long mode.
 *
 * Entered as the Multiboot Specification (0.6.96, section 3.2) says: flat 32-bit protected mode, paging off, EAX the
 * loader's magic number, EBX the information structure. The file is an ELF32 wrapper, as multiboot loaders want it. Long
 * mode: Intel SDM volume 3, section 9.8.5; paging: section 4.5 (4-level, 4 KiB pages, NX); exceptions: section 6.14.
 * Interrupts stay disabled.
 */
#include "layout.h"

#define PAGE_PRESENT 1
#define PAGE_WRITABLE 2
#define PAGE_NO_EXECUTE_HIGH 0x80000000
#define CR0_MP (1 << 1)
#define CR0_EM (1 << 2)
#define CR0_TS (1 << 3)
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_PG (1 << 31)
#define CR4_PAE (1 << 5)
#define CR4_OSFXSR (1 << 9)
#define CR4_OSXMMEXCPT (1 << 10)
#define EFER 0xC0000080
#define EFER_LME (1 << 8)
#define EFER_NXE (1 << 11)
#define CODE_SELECTOR 8
#define DATA_SELECTOR 16
#define INTERRUPT_GATE 0x8E00

.section .multiboot, "a"
  .balign 4
  .long MULTIBOOT_HEADER_MAGIC, 0, -MULTIBOOT_HEADER_MAGIC

.section .boot, "awx"
.code32
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

  /* Page tables; see layout.h. Data is not executable: EBX holds the upper half of the entries that map_run writes. */
2:movl $(page_directory_pointers + PAGE_PRESENT + PAGE_WRITABLE), page_map
  movl $(low_directory + PAGE_PRESENT + PAGE_WRITABLE), page_directory_pointers
  movl $(arena_directory + PAGE_PRESENT + PAGE_WRITABLE), page_directory_pointers + (ARENA_VIRTUAL >> 30) * 8
  movl $(identity_table + PAGE_PRESENT + PAGE_WRITABLE), low_directory
  movl $(image_table + PAGE_PRESENT + PAGE_WRITABLE), low_directory + (IMAGE_VIRTUAL >> 21) * 8
  xor %ebx, %ebx
  mov $(arena_tables + PAGE_PRESENT + PAGE_WRITABLE), %eax
  mov $(arena_directory + ((ARENA_VIRTUAL >> 21) & 511) * 8), %edi
  mov $(ARENA_PAGES / 512), %ecx
  call map_run

  mov $(boot_begin + PAGE_PRESENT + PAGE_WRITABLE), %eax
  mov $(identity_table + (BOOT_ADDRESS >> 12) * 8), %edi
  mov $boot_pages, %ecx
  call map_run
  mov $(image_physical + PAGE_PRESENT), %eax
  mov $image_table, %edi
  mov $text_pages, %ecx
  call map_run
  or $PAGE_WRITABLE, %eax
  mov $PAGE_NO_EXECUTE_HIGH, %ebx
  mov $data_pages, %ecx
  call map_run

  xor %ecx, %ecx
  mov $FRAME_FIRST, %edx
3:mov %edx, %eax
  and $(ARENA_PAGES - 1), %eax
  shl $12, %eax
  add $(ARENA_PHYSICAL + PAGE_PRESENT + PAGE_WRITABLE), %eax
  mov %eax, arena_tables(,%ecx,8)
  mov %ebx, arena_tables + 4(,%ecx,8)
  add $FRAME_STRIDE, %edx
  inc %ecx
  cmp $ARENA_PAGES, %ecx
  jne 3b
  movl $0, arena_tables + STACK_GUARD_PAGE * 8

  mov %cr4, %eax
  or $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
  mov %eax, %cr4
  mov $page_map, %eax
  mov %eax, %cr3
  mov $EFER, %ecx
  rdmsr
  or $(EFER_LME | EFER_NXE), %eax
  wrmsr
  mov %cr0, %eax
  and $~(CR0_EM | CR0_TS), %eax
  or $(CR0_PG | CR0_WP | CR0_NE | CR0_MP), %eax
  mov %eax, %cr0
  lgdt descriptor_table_pointer
  ljmp $CODE_SELECTOR, $enter_64

/* Writes ECX entries at EDI with EBX as their upper half: EAX, EAX + 4096, and so on. */
map_run:
  jecxz 2f
1:stosl
  mov %ebx, (%edi)
  add $4, %edi
  add $4096, %eax
  loop 1b
2:ret

.code64
enter_64:
  mov $DATA_SELECTOR, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  mov %eax, %gs
  mov %eax, %ss
  mov $STACK_TOP, %esp
  xor %ebp, %ebp

  /* Interrupt descriptors for the 32 exceptions; the stubs are 16 bytes apart, all below 4 GiB. */
  mov $exception_stubs, %eax
  mov $interrupt_descriptors, %edi
  mov $32, %ecx
4:mov %eax, %edx
  and $0xFFFF, %edx
  or $(CODE_SELECTOR << 16), %edx
  mov %edx, (%rdi)
  mov %eax, %edx
  and $0xFFFF0000, %edx
  or $INTERRUPT_GATE, %edx
  mov %edx, 4(%rdi)
  add $16, %eax
  add $16, %edi
  loop 4b
  lidt interrupt_table_pointer

  fninit
  mov $command_line, %edi
  call guest_main
  mov %eax, %edi
  call leave

  .balign 8
global_descriptors:
  .quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
descriptor_table_pointer:
  .word . - global_descriptors - 1
  .quad global_descriptors
interrupt_table_pointer:
  .word 32 * 16 - 1
  .quad interrupt_descriptors

/* The linker script lets this begin on a page, without asking the file to be so aligned. */
.section .boot.bss, "aw", @nobits
page_map:
  .skip 4096
page_directory_pointers:
  .skip 4096
low_directory:
  .skip 4096
arena_directory:
  .skip 4096
identity_table:
  .skip 4096
image_table:
  .skip 4096
arena_tables:
  .skip ARENA_PAGES * 8
interrupt_descriptors:
  .skip 32 * 16
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
  mov %rsp, %rdi
  and $-16, %rsp
  call unexpected_exception

.section .note.GNU-stack, "", @progbits
