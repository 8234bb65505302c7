/*
 * An interpreter of a small stack machine's bytecode, dispatching through a jump table: indirect jumps.
 *
 * Its program sums the primes below a limit by trial division.
 */
#include "workload.h"

enum opcode {
  op_push,      /* push the operand */
  op_load,      /* push the variable that the operand names */
  op_store,     /* pop into the variable that the operand names */
  op_duplicate, /* push the topmost value once more */
  op_add,       /* these four pop b, pop a, and push a + b, a * b, a % b and a < b */
  op_multiply,
  op_modulo,
  op_less,
  op_jump,         /* to the instruction that the operand names */
  op_jump_if_zero, /* pop, and jump if the value was 0 */
  op_halt,         /* pop the result */
};

struct instruction {
  uint8_t opcode;
  uint16_t operand;
};

enum { n, divisor, sum, variables };
enum { next_number = 4, next_divisor = 10, divide = 21, advance = 30, end = 35, limit = 48000 };

static const struct instruction program[] = {
    {op_push, 0},           {op_store, sum},          {op_push, 2},       {op_store, n},
    [next_number] = {op_load, n}, {op_push, limit},   {op_less, 0},       {op_jump_if_zero, end}, {op_push, 2}, {op_store, divisor},
    /* n is prime when the divisor's square exceeds it. */
    [next_divisor] = {op_load, n}, {op_load, divisor}, {op_duplicate, 0}, {op_multiply, 0}, {op_less, 0}, {op_jump_if_zero, divide},
    {op_load, sum},         {op_load, n},             {op_add, 0},        {op_store, sum},  {op_jump, advance},
    [divide] = {op_load, n}, {op_load, divisor},      {op_modulo, 0},     {op_jump_if_zero, advance},
    {op_load, divisor},     {op_push, 1},             {op_add, 0},        {op_store, divisor}, {op_jump, next_divisor},
    [advance] = {op_load, n}, {op_push, 1},           {op_add, 0},        {op_store, n},    {op_jump, next_number},
    [end] = {op_load, sum}, {op_halt, 0},
};

static uint32_t interpret(const struct instruction *code) {
  uint32_t stack[16], memory[variables], *top = stack;
  for (const struct instruction *at = code;; at++) {
    switch ((enum opcode)at->opcode) {
      case op_push: *top++ = at->operand; break;
      case op_load: *top++ = memory[at->operand]; break;
      case op_store: memory[at->operand] = *--top; break;
      case op_duplicate: *top = top[-1], top++; break;
      case op_add: top--, top[-1] += top[0]; break;
      case op_multiply: top--, top[-1] *= top[0]; break;
      case op_modulo: top--, top[-1] %= top[0]; break;
      case op_less: top--, top[-1] = top[-1] < top[0]; break;
      case op_jump: at = code + at->operand - 1; break;
      case op_jump_if_zero:
        if (!*--top) at = code + at->operand - 1;
        break;
      case op_halt: return *--top;
    }
  }
}

static uint32_t pass(void) { return interpret(program); }

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
