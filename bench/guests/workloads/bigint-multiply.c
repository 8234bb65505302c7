/*
 * Products of large integers by the schoolbook method, 32-bit limbs with 64-bit partial products: MUL, ADD and ADC.
 *
 * Each product is checked modulo 65521 against the product of the operands' residues.
 */
#include "workload.h"

enum { limbs = 1000, products = 20, modulus = 65521 };

static uint32_t a[limbs], b[limbs], product[2 * limbs];

static void multiply(void) {
  for (int i = 0; i < 2 * limbs; i++) product[i] = 0;
  for (int i = 0; i < limbs; i++) {
    uint64_t carry = 0;
    for (int j = 0; j < limbs; j++) {
      carry += (uint64_t)a[i] * b[j] + product[i + j];
      product[i + j] = (uint32_t)carry;
      carry >>= 32;
    }
    product[i + limbs] = (uint32_t)carry;
  }
}

static uint32_t residue(const uint32_t *number, int length) {
  uint32_t rest = 0;
  for (int i = length - 1; i >= 0; i--) {
    rest = (rest << 16 | number[i] >> 16) % modulus;
    rest = (rest << 16 | (number[i] & 0xffff)) % modulus;
  }
  return rest;
}

static uint32_t pass(void) {
  uint32_t seed = 13, checksum = FOLD_START;
  for (int i = 0; i < limbs; i++) a[i] = next_random(&seed), b[i] = next_random(&seed);
  for (int turn = 0; turn < products; turn++) {
    multiply();
    if (residue(product, 2 * limbs) != residue(a, limbs) * residue(b, limbs) % modulus) return 0;
    for (int i = 0; i < limbs; i++) a[i] = product[i + limbs], checksum = fold(checksum, product[i]);
    a[0] |= 1, a[limbs - 1] |= 0x80000000;
  }
  return checksum;
}

uint32_t workload(uint32_t scale) { return repeat_pass(pass, scale); }
