/*
 * The longest Collatz chain that starts below 150,000: carries out of shifts, LEA, and unpredictable branches.
 *
 * The checksum is the chain's first number in the lower 20 bits and its steps above them. Passes that disagree give 0.
 */
#define LIMIT 150000

#ifdef __x86_64__
#define PUSH(name) push %r##name
#define POP(name) pop %r##name
#define TRIPLE_PLUS_ONE lea 1(%rax,%rax,2), %eax
#define LOAD_SCALE mov %edi, %ebp
#else
#define PUSH(name) push %e##name
#define POP(name) pop %e##name
#define TRIPLE_PLUS_ONE lea 1(%eax,%eax,2), %eax
#define LOAD_SCALE mov 20(%esp), %ebp
#endif

/* uint32_t workload(uint32_t scale): EBP counts passes, EDI holds the result of the one before. */
.text
.globl workload
workload:
  PUSH(bx)
  PUSH(bp)
  PUSH(si)
  PUSH(di)
  LOAD_SCALE
  xor %edi, %edi

next_pass:
  xor %esi, %esi /* steps of the longest chain */
  xor %edx, %edx /* its first number */
  mov $1, %ebx
next_start:
  mov %ebx, %eax
  xor %ecx, %ecx
next_step:
  cmp $1, %eax
  je chain_done
  inc %ecx
  shr $1, %eax
  jnc next_step
  /* It was 2 * EAX + 1; three times that and one more is even, so that half of it comes next: 3 * EAX + 2. */
  TRIPLE_PLUS_ONE
  inc %eax
  inc %ecx
  jmp next_step
chain_done:
  cmp %esi, %ecx
  cmova %ecx, %esi
  cmova %ebx, %edx
  inc %ebx
  cmp $LIMIT, %ebx
  jne next_start

  mov %esi, %eax
  shl $20, %eax
  or %edx, %eax
  test %edi, %edi
  cmovz %eax, %edi
  cmp %edi, %eax
  jne disagree
  sub $1, %ebp
  ja next_pass
  jmp done
disagree:
  xor %eax, %eax
done:
  POP(di)
  POP(si)
  POP(bp)
  POP(bx)
  ret

.section .note.GNU-stack, "", @progbits
