/*
 * Runs a workload as the command line says and compares its checksum with the expected one.
 *
 *   scale=N   N times the work per call (default 1)
 *   repeat=N  N calls (default 1)
 *   marks=1   "S000" on the debug port before the first call and "E000" after it, "S001" before the second, and so on
 *
 * GUEST_NAME and EXPECTED_CHECKSUM come from the catalogue, by way of the build.
 */
#include "console.h"
#include "workload.h"

/* The value of "name=digits" in the command line, where name starts the line or follows a space. */
static uint32_t option(const char *line, const char *name, uint32_t fallback) {
  for (const char *word = line; *word; word++) {
    if (word != line && word[-1] != ' ') continue;
    const char *at = word, *expected = name;
    while (*expected && *at == *expected) at++, expected++;
    if (*expected || *at != '=') continue;
    uint32_t value = 0;
    for (at++; *at >= '0' && *at <= '9'; at++) value = value * 10 + (uint32_t)(*at - '0');
    return value;
  }
  return fallback;
}

uint8_t guest_main(const char *command_line) {
  uint32_t scale = option(command_line, "scale", 1);
  uint32_t repeat = option(command_line, "repeat", 1);
  uint32_t marks = option(command_line, "marks", 0);
  uint32_t checksum = EXPECTED_CHECKSUM;
  for (uint32_t call = 0; call < repeat && checksum == EXPECTED_CHECKSUM; call++) {
    if (marks) mark('S', call);
    checksum = workload(scale);
    if (marks) mark('E', call);
  }
  print(GUEST_NAME " scale=");
  print_decimal(scale);
  print(" repeat=");
  print_decimal(repeat);
  print(" checksum=");
  print_hex(checksum, 8);
  print(checksum == EXPECTED_CHECKSUM ? " ok\n" : " WRONG\n");
  return checksum != EXPECTED_CHECKSUM;
}
