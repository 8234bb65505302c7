/* What the guests of the privileged tests begin with: types, output on the debug console, descriptors, and what they were told. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long word; /* of a general register */
#ifdef __x86_64__
typedef unsigned long u64;
#else
typedef unsigned long long u64;
#endif

extern u8 stubs[], landing[];
extern u32 outcome, handler_ss; /* vector of the last event, -1 = none */

static void put(char c) { __asm__ volatile("outb %0, $0xe9" ::"a"(c)); }
static void print(const char *s) { while (*s) put(*s++); }
static void hex(word v) {
  int started = 0;
  for (int i = 8 * sizeof v - 4; i >= 0; i -= 4) {
    u32 d = (v >> i) & 15;
    if (d || started || i == 0) { put(d < 10 ? '0' + d : 'a' + d - 10); started = 1; }
  }
}

/* Of a code, data or small system segment. */
static u64 descriptor(u32 base, u32 limit, u32 access, u32 flags) {
  return (limit & 0xffff) | ((u64)(base & 0xffffff) << 16) | ((u64)access << 40) | ((u64)(limit >> 16 & 15) << 48) | ((u64)flags << 52) | ((u64)(base >> 24) << 56);
}
