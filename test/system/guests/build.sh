#!/usr/bin/env bash
# Builds the guests of test/system/privileged.test.ts beside their sources; needs gcc with -m32.
set -euo pipefail
cd "$(dirname "$0")"
common=(-O1 -std=gnu11 -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-ident -mgeneral-regs-only -Wall
  -nostdlib -static -Wl,-T,guest.ld -Wl,--build-id=none -Wl,-z,noexecstack -s)
gcc -m32 "${common[@]}" -o privileged32.elf entry32.S privileged32.c
gcc -m64 -mno-red-zone "${common[@]}" -o privileged64.elf64 entry64.S privileged64.c
objcopy -O elf32-i386 privileged64.elf64 privileged64.elf # what multiboot loaders take
rm privileged64.elf64
