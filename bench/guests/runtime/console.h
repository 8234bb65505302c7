/*
 * What a guest can say to the machine: text on the first serial port, marks on the debug port, and its own end.
 */
#pragma once
#include <stdint.h>

/* Writes text to the serial port at 0x3F8, waiting for the transmitter before each byte. */
void print(const char *text);

/* Writes an unsigned number in decimal. */
void print_decimal(uint32_t value);

/* Writes "0x" and a number in hexadecimal with that many digits. */
void print_hex(uintptr_t value, uint32_t digits);

/* Writes four bytes to the debug port 0xE9: the letter and the number's last three decimal digits, as in "S007". */
void mark(char letter, uint32_t number);

/* Leaves through port 0xF4: a machine with QEMU's isa-debug-exit convention ends with status code * 2 + 1. */
_Noreturn void leave(uint8_t code);

/* What the start-up code calls once the machine is set up; what it returns goes to leave(). 0 is success. */
uint8_t guest_main(const char *command_line);
