#!/usr/bin/env bash
# Builds the guests of test/system/exceptions.test.ts beside their sources; needs gcc with -m32.
set -euo pipefail
cd "$(dirname "$0")"
entry=../system/guests
common=(-O1 -std=gnu11 -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-ident -mgeneral-regs-only -Wall
  -fno-reorder-functions -fno-toplevel-reorder
  -nostdlib -static -Wl,-T,$entry/guest.ld -Wl,--build-id=none -Wl,-z,noexecstack -s)
gcc -m32 "${common[@]}" -o exceptions32.elf $entry/entry32.S exceptions32.c
gcc -m64 -mno-red-zone "${common[@]}" -o exceptions64.elf64 $entry/entry64.S exceptions64.c
objcopy -O elf32-i386 exceptions64.elf64 exceptions64.elf # what multiboot loaders take
rm exceptions64.elf64
