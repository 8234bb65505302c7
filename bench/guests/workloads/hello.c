/*
 * The smallest guest: a greeting on the serial port.
 */
#include "console.h"

uint8_t guest_main(const char *command_line) {
  (void)command_line;
  print("Hello from a guest built for " GUEST_MACHINE ".\n");
  return 0;
}
