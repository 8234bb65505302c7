/*
 * What protects pages in IA-32e mode: SMEP, SMAP with its implicit accesses, STAC and CLAC, WP, NX, pages of 2 MiB and 1 GiB
 * with their reserved bits, accessed and dirty flags; what must be seen after INVLPG, INVPCID, MOV to CR3 and CR4; alignment
 * checks. The system's own pages are the supervisor's here. SDM volume 3, chapter 5; section 7.15, #AC.
 */
#include "cases64.h"

enum { SMEP = 1 << 20, SMAP = 1 << 21, AC = 1 << 18, PGE = 0x80 };
#define USER_2M 0x40400000ul
#define RESERVED_2M 0x40600000ul
#define RESERVED_1G 0xc0000000ul
static u64 kernel_pages; /* 0: the first 1 GiB is the supervisor's */
static void extend(void) {
  for (u32 i = 0; i < 512; i++) pd[i] = (pd[i] & ~4ul) | kernel_pages;
  directory1[2] = 0x200000 | 0x87;
  directory1[3] = 0x200000 | 0x2087; /* bit 13 */
  pdpt[3] = 0x87 | 1ul << 20;
  flush();
}
u64 place, ac_flags;
CASE(read_place, "mov place, %%rbx; push ac_flags; popf", "mov (%%rbx), %%eax")
CASE(write_place, "mov place, %%rbx; push ac_flags; popf", "mov %%eax, (%%rbx)")
CASE(modify_place, "mov place, %%rbx; push ac_flags; popf", "lock incl (%%rbx)")
CASE(push_place, "mov %%rsp, %%rcx; mov place, %%rsp; add $8, %%rsp", "push %%rax; mov %%rcx, %%rsp")
CASE(stac_read, "mov place, %%rbx; stac", "mov (%%rbx), %%eax; clac")
CASE(clac_read, "mov place, %%rbx; push $0x40002; popf; clac", "mov (%%rbx), %%eax")
CASE(stac, "", "stac")
CASE(descriptor_there, "mov $0x70, %%eax; lldt %%ax; push ac_flags; popf; mov $0x14, %%eax", "mov %%eax, %%fs")
static void jump_place(void) { ((void (*)(void))place)(); }

static void at_page(u64 linear) { place = linear + 8; *(volatile u8 *)(linear % (1 << 26) % 0x40000000 + 8) = 0xc3; }
static void faults(const char *name, void (*f)(void), u8 *at, u64 features, u64 flags, int code) {
  ac_flags = 2 | flags;
  cr4(CR4 | features);
  expect_at(name, f, 0, code < 0 ? NONE : 14, code, at ? (u64)at : place, FAULT, place, 0);
}
static void supervisor_cases(void) {
  at_page(PAGE(USER)); faults("SMEP off", jump_place, 0, 0, 0, -1);
  at_page(PAGE(USER)); faults("SMEP: a user's page", jump_place, 0, SMEP, 0, 0x11);
  at_page(PAGE(USER)); faults("SMEP: a user's page, AC", jump_place, 0, SMEP, AC, 0x11);
  at_page(PAGE(SYSTEM)); faults("SMEP: a supervisor's page", jump_place, 0, SMEP, 0, -1);
  at_page(PAGE(USER)); faults("SMEP: data", read_place, read_place_at, SMEP, 0, -1);
  place = PAGE(ABSENT); faults("SMEP: an absent page", jump_place, 0, SMEP, 0, 0x10);
  place = USER_2M; faults("SMEP: a large page", jump_place, 0, SMEP, 0, 0x11);
  place = PAGE(USER); faults("SMAP: read", read_place, read_place_at, SMAP, 0, 1);
  place = PAGE(USER); faults("SMAP: write", write_place, write_place_at, SMAP, 0, 3);
  place = PAGE(USER); faults("SMAP: modify", modify_place, modify_place_at, SMAP, 0, 3);
  place = PAGE(USER); faults("SMAP: push", push_place, push_place_at, SMAP, 0, 3);
  place = PAGE(USER); faults("SMAP: read, AC", read_place, read_place_at, SMAP, AC, -1);
  place = PAGE(USER); faults("SMAP: write, AC", write_place, write_place_at, SMAP, AC, -1);
  place = PAGE(READ_ONLY); faults("SMAP: write to a read-only page, AC", write_place, write_place_at, SMAP, AC, 3);
  place = PAGE(SYSTEM); faults("SMAP: a supervisor's page", write_place, write_place_at, SMAP, 0, -1);
  place = PAGE(ABSENT); faults("SMAP: an absent page", read_place, read_place_at, SMAP, 0, 0);
  place = USER_2M; faults("SMAP: a large page", read_place, read_place_at, SMAP, 0, 1);
  at_page(PAGE(USER)); faults("SMAP: fetch", jump_place, 0, SMAP, 0, -1);
  place = PAGE(USER); faults("STAC", stac_read, stac_read_at, SMAP, 0, -1);
  place = PAGE(USER); faults("CLAC", clac_read, clac_read_at, SMAP, 0, 1);
  kernel_pages = 4; reset();
  EXPECT(stac, 3, 6, NO_CODE, at, FAULT);
  kernel_pages = 0; reset();
  /* A local descriptor table in a user's page: the processor's own accesses never pass, AC or not. */
  for (u32 ac = 0; ac < 3; ac++) {
    memcpy((void *)(PAGE(USER) % (1 << 26)), gdt, 64);
    gdt[OWN / 8] = descriptor(PAGE(USER), 0x3f, 0x82, 0); gdt[OWN / 8 + 1] = 0;
    ac_flags = 2 | (ac ? AC : 0);
    cr4(CR4 | (ac < 2 ? SMAP : 0));
    expect_at("SMAP: a descriptor", descriptor_there, 0, ac < 2 ? 14 : NONE, 1, (u64)descriptor_there_at, FAULT, PAGE(USER) + 0x10, 0);
  }
}

/* --- sizes of pages */
static u64 *const entries[] = {&small[USER], &directory1[2], &pdpt[2]};
static void size_cases(void) {
  static const u64 places[] = {PAGE(USER) + 16, USER_2M + 16, HUGE + 0x200010};
  static const char *const names[] = {"4 KiB", "2 MiB", "1 GiB"};
  for (u32 i = 0; i < 3; i++) {
    *entries[i] &= ~0x60ul; flush(); place = places[i]; faults(names[i], read_place, read_place_at, 0, 0, -1);
  }
  for (u32 i = 0; i < 3; i++)
    if (begins(names[i])) {
      *entries[i] &= ~0x60ul; flush();
      place = places[i]; ac_flags = 2;
      attempt(read_place);
      compare(names[i], "flags after a read", *entries[i] & 0x60, 0x20);
      attempt(write_place);
      compare(names[i], "flags after a write", *entries[i] & 0x60, 0x60);
    }
  reset();
  place = RESERVED_2M; faults("a reserved bit of a page of 2 MiB", read_place, read_place_at, 0, 0, 9);
  place = RESERVED_1G; faults("a reserved bit of a page of 1 GiB", write_place, write_place_at, 0, 0, 11);
  place = 0x8000000000; pml4[1] = (u64)pdpt | 0x87; faults("a size in the highest table", read_place, read_place_at, 0, 0, 9); pml4[1] = 0;
  place = PAGE(NO_EXECUTE); write_msr(0xc0000080, 0x501); flush(); faults("NX without EFER.NXE", read_place, read_place_at, 0, 0, 9);
  directory1[2] |= 1ul << 63; place = USER_2M; faults("NX of 2 MiB: read", read_place, read_place_at, 0, 0, -1);
  directory1[2] |= 1ul << 63; flush(); directory1[2] |= 1ul << 63; place = USER_2M; cr4(CR4);
  expect_at("NX of 2 MiB: fetch", jump_place, 0, 14, 0x11, place, FAULT, place, 0);
  cr0(CR0 & ~0x10000ul); place = PAGE(READ_ONLY); faults("WP off", write_place, write_place_at, 0, 0, -1);
  place = PAGE(READ_ONLY); faults("WP", write_place, write_place_at, 0, 0, 3);
}

/* --- a page goes, and who must notice: read, entry cleared, flushed in some way, read again */
struct { u64 identifier, linear; } __attribute__((aligned(16))) invalidation;
static void invpcid(u64 type) { __asm__ volatile("invpcid invalidation, %0" ::"r"(type) : "memory"); }
static void flush_cases(void) {
  static const char *const names[] = {"INVLPG", "INVLPG of a global page", "MOV to CR3", "CR4.PGE off", "CR4.PGE off, a global page", "INVPCID 0", "INVPCID 1", "INVPCID 2, a global page", "INVPCID 3", "CR0.PG, CR4 written"};
  for (u32 i = 0; i < 10; i++) {
    int global = i == 1 || i == 4 || i == 7;
    if (begins(names[i])) {
      if (i >= 5 && i < 9) cr4(CR4 | PCIDE);
      small[USER] = (PAGE(USER) % (1 << 26)) | 7 | (global ? 0x100 : 0);
      __asm__ volatile("invlpg (%0)" ::"r"(PAGE(USER)) : "memory");
      place = PAGE(USER); ac_flags = 2;
      attempt(read_place);
      compare(names[i], "vector before", outcome, (u32)NONE);
      small[USER] = 0;
      invalidation.identifier = 0; invalidation.linear = PAGE(USER);
      switch (i) {
        case 0: case 1: __asm__ volatile("invlpg (%0)" ::"r"(PAGE(USER) + 0x123) : "memory"); break;
        case 2: cr3((u64)pml4); break;
        case 3: case 4: cr4(CR4 & ~PGE); break;
        case 9: cr4(CR4 | SMEP); cr4(CR4); break;
        default: invpcid(i - 5);
      }
      attempt(read_place);
      compare(names[i], "vector", outcome, 14);
      compare(names[i], "error code", seen.error, 0);
      compare(names[i], "CR2", seen_cr2, PAGE(USER));
    }
    reset();
  }
}

/* --- #AC */
CASE(word_read, "mov $variable+1, %%ebx", "mov (%%rbx), %%ax")
CASE(quad_write, "mov $variable+4, %%ebx", "mov %%rax, (%%rbx)")
CASE(byte_read, "mov $variable+1, %%ebx", "mov (%%rbx), %%al")
CASE(push_odd, "sub $4, %%rsp", "push %%rax")
CASE(call_odd, "sub $2, %%rsp", "call call_odd_end")
CASE(exchange_sixteen, "mov $variable+8, %%ebx", "cmpxchg16b (%%rbx)")
CASE(locked, "mov $variable+2, %%ebx", "lock incl (%%rbx)")
static void alignment_cases(void) {
  static const struct { const char *name; void (*f)(void); u8 *at; int vector; } rows[] = {
    {"word", word_read, word_read_at, 17}, {"quadword", quad_write, quad_write_at, 17}, {"byte", byte_read, byte_read_at, DONE}, {"push", push_odd, push_odd_at, 17}, {"call", call_odd, call_odd_at, 17},
    {"CMPXCHG16B", exchange_sixteen, exchange_sixteen_at, 13}, {"LOCK", locked, locked_at, 17},
  };
  kernel_pages = 4; reset();
  for (u32 i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int on = 0; on < 3; on++) {
      cr0(CR0 | (on ? 0x40000 : 0)); user_flags = 2 | (on == 2 ? AC : 0);
      int vector = rows[i].vector == 13 ? 13 : on == 2 ? rows[i].vector : DONE;
      if (vector == DONE && rows[i].f == call_odd) { user_flags = 2; reset(); continue; }
      if (vector == DONE && rows[i].f == push_odd) { user_flags = 2; reset(); continue; }
      expect_at(rows[i].name, rows[i].f, 3, vector, 0, (u64)rows[i].at, FAULT, 0, 0);
    }
  kernel_pages = 0; reset();
}

int main(void) {
  read_command_line();
  reset();
  supervisor_cases();
  size_cases();
  flush_cases();
  alignment_cases();
  u32 status = finish();
  __asm__ volatile("out %0, $0xf4" ::"a"(status));
  return 0;
}
