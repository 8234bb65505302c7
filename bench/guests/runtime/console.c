/*
 * Serial port, debug port and exit port, and the report of an exception that no guest expects.
 */
#include "console.h"
#include "port.h"

enum {
  serial_data = 0x3F8,
  serial_line_status = 0x3FD,
  transmitter_empty = 1 << 5,
  debug_port = 0xE9,
  exit_port = 0xF4,
};

static void print_character(char character) {
  while (!(port_read(serial_line_status) & transmitter_empty)) {
  }
  port_write(serial_data, (uint8_t)character);
}

void print(const char *text) {
  while (*text) print_character(*text++);
}

void print_decimal(uint32_t value) {
  if (value >= 10) print_decimal(value / 10);
  print_character((char)('0' + value % 10));
}

void print_hex(uintptr_t value, uint32_t digits) {
  print("0x");
  while (digits--) print_character("0123456789abcdef"[value >> 4 * digits & 15]);
}

void mark(char letter, uint32_t number) {
  port_write(debug_port, (uint8_t)letter);
  for (uint32_t unit = 100; unit; unit /= 10) port_write(debug_port, (uint8_t)('0' + number / unit % 10));
}

_Noreturn void leave(uint8_t code) {
  port_write(exit_port, code);
  for (;;) __asm__ volatile("cli; hlt");
}

/* The exception frame as the stubs leave it: vector, error code (0 where there is none), then what the CPU pushed. */
struct exception_frame {
  uintptr_t vector, error_code, instruction_pointer;
};

/* Called by the exception stubs of the start-up code. */
_Noreturn void unexpected_exception(const struct exception_frame *frame) {
  uintptr_t fault_address;
  __asm__("mov %%cr2, %0" : "=r"(fault_address));
  print("unexpected exception ");
  print_decimal((uint32_t)frame->vector);
  print(", error code ");
  print_hex(frame->error_code, 2 * sizeof(uintptr_t));
  print(", at ");
  print_hex(frame->instruction_pointer, 2 * sizeof(uintptr_t));
  print(", CR2 ");
  print_hex(fault_address, 2 * sizeof(uintptr_t));
  print("\n");
  leave(1);
}
