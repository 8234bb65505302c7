/* Multiboot entry, exception stubs and the way into and out of a probe, for privileged32.c. */
.code32
.section .multiboot, "a"
.align 4
.long 0x1BADB002, 0, -0x1BADB002

.altmacro
.text
.globl _start
_start:
  mov %ebx, boot_info
  mov $boot_stack_end, %esp
  push $0
  popf
  call main
  mov $0, %eax
  out %eax, $0xf4
  hlt

/* Calls a function in ring 0; an exception, of whatever ring, comes back here. int attempt(void (*f)(void)) */
.globl attempt
attempt:
  push %ebp
  push %ebx
  push %esi
  push %edi
  mov %esp, saved_esp
  movl $-1, outcome
  mov 20(%esp), %eax
  call *%eax
.globl attempt_done
attempt_done:
  cld
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov saved_esp, %esp
  pop %edi
  pop %esi
  pop %ebx
  pop %ebp
  ret

/* Every vector: push an error code where the processor pushes none, then the vector. */
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
  pusha
  mov %ds, %eax
  push %eax
  mov %es, %eax
  push %eax
  mov %fs, %eax
  push %eax
  mov %gs, %eax
  push %eax
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %esp, frame_pointer
  mov %ss, %eax
  mov %eax, handler_ss
  mov $0x10, %eax
  mov %eax, %ss
  mov $record_stack_end, %esp /* the frame may lie right below saved_esp */
  call record
  jmp attempt_done

.globl landing
landing:
  int $0x30

.bss
.globl saved_esp, frame_pointer, outcome, handler_ss
saved_esp: .long 0
frame_pointer: .long 0
outcome: .long 0
.globl boot_info
.align 8
boot_info: .quad 0 /* multiboot's */
handler_ss: .long 0
.align 16
.skip 16384
boot_stack_end:
.skip 4096
record_stack_end:
