#!/usr/bin/env bash
# Builds the guests of test/system/exceptions.test.ts and five-levels.test.ts beside their sources, all or those that are named; needs gcc with -m32.
set -euo pipefail
cd "$(dirname "$0")"
entry=../system/guests
common=(-O1 -std=gnu11 -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-ident -mgeneral-regs-only -Wall -Wno-unused-function
  -fno-reorder-functions -fno-toplevel-reorder
  -nostdlib -static -Wl,-T,$entry/guest.ld -Wl,--build-id=none -Wl,-z,noexecstack -s)
for source in ${@:-*32.c *64.c}; do
  name=${source%.c}
  case $name in
    *32) gcc -m32 "${common[@]}" -o "$name.elf" $entry/entry32.S "$name.c" ;;
    *64)
      paging=()
      if [ "$name" = five-levels64 ]; then paging=(-DLA57); fi
      gcc -m64 -mno-red-zone "${common[@]}" "${paging[@]}" -o "$name.elf64" $entry/entry64.S "$name.c"
      objcopy -O elf32-i386 "$name.elf64" "$name.elf" # what multiboot loaders take
      rm "$name.elf64"
      ;;
  esac
done
