/*
 * The 80,000th Fibonacci number, 55,537 bits of it, by chains of ADC: the carry lives across LEA and DEC.
 *
 * Limbs are as wide as the machine's registers. The checksum folds the number's 32-bit halves with XOR and a rotation, so
 * that it does not depend on the limb's width. Passes that disagree give 0.
 */
#define INDEX 80000
#define BYTES 6944

#ifdef __x86_64__
#define REGISTER(name) %r##name
#define LIMB 8
#else
#define REGISTER(name) %e##name
#define LIMB 4
#endif
#define LIMBS (BYTES / LIMB)
#define AX REGISTER(ax)
#define BX REGISTER(bx)
#define CX REGISTER(cx)
#define DX REGISTER(dx)
#define SI REGISTER(si)
#define DI REGISTER(di)
#define BP REGISTER(bp)
#define SP REGISTER(sp)

.bss
  .balign 64
numbers:
  .skip 2 * BYTES
previous_checksum:
  .skip 4
passes_left:
  .skip 4

/* uint32_t workload(uint32_t scale) */
.text
.globl workload
workload:
  push BX
  push BP
  push SI
  push DI
#ifdef __x86_64__
  mov %edi, passes_left
#else
  mov 20(%esp), %eax
  mov %eax, passes_left
#endif
  movl $0, previous_checksum

next_pass:
  cld
  xor %eax, %eax
  mov $numbers, %edi
  mov $(2 * BYTES / 4), %ecx
  rep stosl
  movl $1, numbers + BYTES

  /* SI and DI are F(n) and F(n + 1), from n = 0 on: F(n) += F(n + 1), and the two change places. */
  mov $numbers, %esi
  mov $(numbers + BYTES), %edi
  mov $INDEX, %ebp
next_number:
  xor %edx, %edx
  mov $(LIMBS / 2), %ecx
next_limbs:
  mov (DI,DX,LIMB), AX
  adc AX, (SI,DX,LIMB)
  mov LIMB(DI,DX,LIMB), BX
  adc BX, LIMB(SI,DX,LIMB)
  lea 2(DX), DX
  dec %ecx
  jnz next_limbs
  xchg SI, DI
  dec %ebp
  jnz next_number

  mov $2166136261, %eax
  xor %ecx, %ecx
fold_next:
  rol $5, %eax
  xor (SI,CX,4), %eax
  inc %ecx
  cmp $(BYTES / 4), %ecx
  jb fold_next

  mov previous_checksum, %edx
  test %edx, %edx
  cmovz %eax, %edx
  mov %edx, previous_checksum
  cmp %edx, %eax
  jne disagree
  subl $1, passes_left
  ja next_pass
  jmp done
disagree:
  xor %eax, %eax
done:
  pop DI
  pop SI
  pop BP
  pop BX
  ret

.section .note.GNU-stack, "", @progbits
