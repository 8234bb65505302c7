/* A map declared the old way, without type information. */
struct bpf_map_def {
  unsigned int type, key_size, value_size, max_entries, map_flags;
};
__attribute__((section("maps"), used)) struct bpf_map_def first = {2, 4, 8, 3, 0};
__attribute__((section("maps"), used)) struct bpf_map_def second = {2, 4, 8, 3, 0x80};
static void *(*const lookup)(void *, const void *) = (void *)1;

__attribute__((section("device/legacy"), used)) unsigned long long legacy(void *context) {
  unsigned int key = 2;
  unsigned long long *one = lookup(&first, &key), *two = lookup(&second, &key);
  if (!one || !two) return 9;
  *one += 1;
  return *two;
}
