/*
 * Regular expressions, compiled to a small program and matched by backtracking: many short, unpredictable jumps.
 *
 * A pattern knows characters, '.', classes such as [a-z_] and [^0-9], groups, alternatives and the suffixes * + ?.
 */
#include "text.h"

enum opcode { op_character, op_any, op_class, op_split, op_jump, op_match };

/* A split tries `first` and, when that fails, `second`; a jump goes to `first`. */
struct instruction {
  uint8_t opcode, character;
  uint16_t first, second;
};

enum { text_length = 60 << 10, most_instructions = 128, most_classes = 8, stack_depth = 1024 };

static uint8_t text[text_length + 1];
static struct instruction program[most_instructions];
static uint32_t classes[most_classes][8];
static uint32_t program_length, class_count;
static const char *pattern;

static void emit(uint8_t opcode, uint8_t character) {
  program[program_length++] = (struct instruction){.opcode = opcode, .character = character};
}

/* Makes room for one instruction in front of the piece that begins at `at`; the piece's own targets move with it. */
static void insert_split(uint32_t at) {
  for (uint32_t i = program_length++; i > at; i--) {
    program[i] = program[i - 1];
    if (program[i].opcode == op_split || program[i].opcode == op_jump) program[i].first++, program[i].second++;
  }
  program[at] = (struct instruction){.opcode = op_split, .first = (uint16_t)(at + 1), .second = (uint16_t)program_length};
}

static void compile_class(void) {
  uint32_t *members = classes[class_count];
  uint32_t inverted = *pattern == '^' ? ~0u : 0;
  if (inverted) pattern++;
  for (int i = 0; i < 8; i++) members[i] = 0;
  while (*pattern != ']') {
    uint32_t from = (uint8_t)*pattern++, to = from;
    if (pattern[0] == '-' && pattern[1] != ']') to = (uint8_t)pattern[1], pattern += 2;
    for (; from <= to; from++) members[from / 32] |= 1u << from % 32;
  }
  pattern++;
  for (int i = 0; i < 8; i++) members[i] ^= inverted;
  members[0] &= ~(1u << '\n' | 1u);
  emit(op_class, (uint8_t)class_count++);
}

static void compile_alternatives(void);

static void compile_piece(void) {
  uint32_t start = program_length;
  char character = *pattern++;
  if (character == '(') {
    compile_alternatives();
    pattern++;
  } else if (character == '[') {
    compile_class();
  } else if (character == '.') {
    emit(op_any, 0);
  } else {
    emit(op_character, (uint8_t)character);
  }
  if (*pattern == '*') {
    insert_split(start);
    emit(op_jump, 0);
    program[program_length - 1].first = (uint16_t)start;
    program[start].second = (uint16_t)program_length;
  } else if (*pattern == '+') {
    emit(op_split, 0);
    program[program_length - 1].first = (uint16_t)start;
    program[program_length - 1].second = (uint16_t)program_length;
  } else if (*pattern == '?') {
    insert_split(start);
  } else {
    return;
  }
  pattern++;
}

static void compile_alternatives(void) {
  uint32_t start = program_length;
  while (*pattern && *pattern != '|' && *pattern != ')') compile_piece();
  if (*pattern != '|') return;
  pattern++;
  insert_split(start);
  uint32_t jump = program_length;
  emit(op_jump, 0);
  program[start].second = (uint16_t)program_length;
  compile_alternatives();
  program[jump].first = (uint16_t)program_length;
}

static void compile(const char *source) {
  pattern = source;
  program_length = class_count = 0;
  compile_alternatives();
  emit(op_match, 0);
}

/* The end of the match that begins at `begin`, or null. Line ends match nothing, the text's final zero neither. */
static const uint8_t *match(const uint8_t *begin) {
  static struct {
    const struct instruction *instruction;
    const uint8_t *at;
  } pending[stack_depth];
  uint32_t depth = 0;
  const struct instruction *instruction = program;
  const uint8_t *at = begin;
  for (;;) {
    int accepted = 0;
    switch ((enum opcode)instruction->opcode) {
      case op_character: accepted = *at == instruction->character; break;
      case op_any: accepted = *at != '\n' && *at; break;
      case op_class: accepted = classes[instruction->character][*at / 32] >> *at % 32 & 1; break;
      case op_split:
        pending[depth].instruction = program + instruction->second;
        pending[depth++].at = at;
        instruction = program + instruction->first;
        continue;
      case op_jump: instruction = program + instruction->first; continue;
      case op_match: return at;
    }
    if (accepted) {
      instruction++;
      at++;
    } else {
      if (!depth) return 0;
      instruction = pending[--depth].instruction;
      at = pending[depth].at;
    }
  }
}

static uint32_t count_matches(const char *source, uint32_t checksum) {
  compile(source);
  for (const uint8_t *at = text; at < text + text_length; at++) {
    const uint8_t *match_end = match(at);
    if (match_end) checksum = fold(checksum, (uint32_t)(at - text) << 8 ^ (uint32_t)(match_end - at));
  }
  return checksum;
}

static uint32_t pass(void) {
  static const char *const patterns[] = {
      "(ta|ne|so)+[a-z]*( |r)", "[a-z]+ [^aeiou]+a.* t", ".*(si|lo)x?.*[0-9].*e", "(([a-e]|[n-t])+ )+", "[0-9][a-z]?[0-9]", "t(e|a)*(n|r)+ .",
  };
  fill_text(text, text_length, 10);
  text[text_length] = 0;
  compile("x(ab|c+)*[^0-9]d?.");
  if (match((const uint8_t *)"xabccabd7") == 0 || match((const uint8_t *)"x1bd") != 0) return 0;
  uint32_t checksum = FOLD_START;
  for (uint32_t i = 0; i < sizeof patterns / sizeof *patterns; i++) checksum = count_matches(patterns[i], checksum);
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
