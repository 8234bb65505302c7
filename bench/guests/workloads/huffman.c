/*
 * Huffman coding: counting, building the tree with a binary heap, packing bits, and unpacking them by walking the tree.
 */
#include "text.h"

enum { length = 3 << 19, symbols = 256, nodes = 2 * symbols - 1, none = -1 };

static uint8_t text[length], restored[length];
static uint32_t bits[length / 4];
static uint32_t frequency[nodes], code[symbols], code_length[symbols];
static int32_t left[nodes], right[nodes];
static int32_t heap[symbols];
static uint32_t heap_size;

static int lighter(int32_t a, int32_t b) { return frequency[a] < frequency[b] || (frequency[a] == frequency[b] && a < b); }

static void sift_down(uint32_t at) {
  int32_t node = heap[at];
  for (uint32_t child; (child = 2 * at + 1) < heap_size; at = child) {
    if (child + 1 < heap_size && lighter(heap[child + 1], heap[child])) child++;
    if (!lighter(heap[child], node)) break;
    heap[at] = heap[child];
  }
  heap[at] = node;
}

static int32_t take_lightest(void) {
  int32_t lightest = heap[0];
  heap[0] = heap[--heap_size];
  if (heap_size) sift_down(0);
  return lightest;
}

static int32_t build_tree(void) {
  heap_size = 0;
  for (int32_t symbol = 0; symbol < symbols; symbol++) {
    left[symbol] = right[symbol] = none;
    if (frequency[symbol]) heap[heap_size++] = symbol;
  }
  for (uint32_t at = heap_size / 2; at--;) sift_down(at);
  int32_t node = symbols;
  for (; heap_size > 1; node++) {
    left[node] = take_lightest();
    right[node] = heap[0];
    frequency[node] = frequency[left[node]] + frequency[right[node]];
    heap[0] = node;
    sift_down(0);
  }
  return heap[0];
}

/* The first bit of a code is its lowest one. A text of 1.5 million symbols has no code longer than 32 bits. */
static void assign_codes(int32_t node, uint32_t prefix, uint32_t depth) {
  if (left[node] == none) {
    code[node] = prefix;
    code_length[node] = depth;
    return;
  }
  assign_codes(left[node], prefix, depth + 1);
  assign_codes(right[node], prefix | 1u << depth, depth + 1);
}

static uint32_t encode(void) {
  uint32_t position = 0;
  bits[0] = 0;
  for (uint32_t i = 0; i < length; i++) {
    uint32_t symbol = text[i], shift = position % 32;
    bits[position / 32] |= code[symbol] << shift;
    if (shift + code_length[symbol] >= 32) bits[position / 32 + 1] = shift ? code[symbol] >> (32 - shift) : 0;
    position += code_length[symbol];
  }
  return position;
}

static uint32_t decode(int32_t root) {
  uint32_t position = 0;
  for (uint32_t i = 0; i < length; i++) {
    int32_t node = root;
    while (left[node] != none) {
      node = bits[position / 32] >> position % 32 & 1 ? right[node] : left[node];
      position++;
    }
    restored[i] = (uint8_t)node;
  }
  return position;
}

static uint32_t pass(void) {
  fill_text(text, length, 5);
  for (uint32_t i = 0; i < nodes; i++) frequency[i] = 0;
  for (uint32_t i = 0; i < length; i++) frequency[text[i]]++;
  int32_t root = build_tree();
  assign_codes(root, 0, 0);
  uint32_t bit_count = encode();
  if (decode(root) != bit_count || memcmp(text, restored, length)) return 0;
  uint32_t checksum = fold(FOLD_START, bit_count);
  for (uint32_t i = 0; i < bit_count / 32; i++) checksum = fold(checksum, bits[i]);
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
