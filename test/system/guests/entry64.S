/*
 * Multiboot entry into 64-bit mode, exception stubs and the way into and out of a probe, for privileged64.c; with LA57
 * defined, into 5-level paging.
 */
.section .multiboot, "a"
.align 4
.long 0x1BADB002, 0, -0x1BADB002

.altmacro
.text
.code32
.globl _start
_start:
  mov %ebx, boot_info
  mov $boot_stack_end, %esp
  push $0
  popf
  /* The first 1 GiB where it lies, for everybody, in pages of 2 MiB. */
  movl $pdpt + 7, pml4
  movl $pd + 7, pdpt
  mov $pd, %edi
  mov $0x87, %eax
  mov $512, %ecx
1: mov %eax, (%edi)
  add $0x200000, %eax
  add $8, %edi
  loop 1b
#ifdef LA57
  movl $pml4 + 7, pml5
  mov $pml5, %eax
  mov %eax, %cr3
  mov $0x1020, %eax
#else
  mov $pml4, %eax
  mov %eax, %cr3
  mov $0x20, %eax
#endif
  mov %eax, %cr4
  mov $0xc0000080, %ecx
  rdmsr
  or $0x901, %eax
  wrmsr
  mov $0x80010031, %eax
  mov %eax, %cr0
  lgdt boot_gdt_pointer
  ljmp $8, $start64
.code64
start64:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $boot_stack_end, %rsp
  call main
  mov $0, %eax
  out %eax, $0xf4
  hlt

/* Calls a function in ring 0; an exception, of whatever ring, comes back here. */
.globl attempt
attempt:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, saved_rsp
  movl $-1, outcome
  call *%rdi
attempt_done:
  cld
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov saved_rsp, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret

.macro stub n
  .align 16
  .if !(\n == 8 || (\n >= 10 && \n <= 14) || \n == 17)
  push $0x5a5a
  .endif
  push $\n
  jmp common
.endm
.align 16
.globl stubs
stubs:
.set n, 0
.rept 64
  stub %n
  .set n, n + 1
.endr

common:
  push %rax
  push %rcx
  push %rdx
  push %rbx
  push %r11
  mov %ss, %eax
  mov %eax, handler_ss
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %rsp, %rdi
  mov $record_stack_end, %rsp
  call record
  jmp attempt_done

.globl landing
landing:
  int $0x30

.data
.align 16
boot_gdt: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
boot_gdt_pointer: .word 23
  .long boot_gdt

.bss
.globl saved_rsp, outcome, handler_ss, pml4, pdpt, pd
saved_rsp: .quad 0
outcome: .long 0
.globl boot_info
.align 8
boot_info: .quad 0 /* multiboot's */
handler_ss: .long 0
.align 4096
#ifdef LA57
.globl pml5
pml5: .skip 4096
#endif
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4096
.skip 16384
boot_stack_end:
.skip 8192
record_stack_end:
