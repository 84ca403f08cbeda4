/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block formats of ggml (ggml-common.h, dequantize_row_*() in ggml-quants.c). A block has one or
 * two float16 factors and small integers. In the formats _K, each 16 or 32 values have a further
 * factor. The comments state the layout of a block in the order of its bytes, and the value; d, m
 * and dmin are float16 factors, q is an integer. */
#include "engine/formats/gguf-dequant.h"

#include "engine/base/tensor.h"

static float
half (const guint8 *in)
{
  float out;

  avatar_dtype_to_f32 (&out, in, AVATAR_F16, 1);
  return out;
}

/* Q8_0: d, 32 x int8; d q */
static void
expand_q8_0 (float *out, const guint8 *in)
{
  float d = half (in);

  for (guint i = 0; i < 32; i++)
    out[i] = (gint8) in[2 + i] * d;
}

/* Q4_0: d, 32 x 4 bits, values 0 to 15 in the lower halves of bytes; d (q - 8) */
static void
expand_q4_0 (float *out, const guint8 *in)
{
  float d = half (in);

  for (guint i = 0; i < 16; i++) {
    out[i] = ((in[2 + i] & 15) - 8) * d;
    out[16 + i] = ((in[2 + i] >> 4) - 8) * d;
  }
}

/* Q4_1: d, m, 32 x 4 bits; d q + m */
static void
expand_q4_1 (float *out, const guint8 *in)
{
  float d = half (in), m = half (in + 2);

  for (guint i = 0; i < 16; i++) {
    out[i] = d * (in[4 + i] & 15) + m;
    out[16 + i] = d * (in[4 + i] >> 4) + m;
  }
}

/* Returns value @i of 32 x 5 bits: 32 high bits, then the low bits as in Q4_0. */
static guint
five_bits (const guint8 *in, guint i)
{
  guint low = in[4 + i % 16] >> i / 16 * 4 & 15;

  return low | (in[i / 8] >> i % 8 & 1) << 4;
}

/* Q5_0: d, 32 x 5 bits; d (q - 16) */
static void
expand_q5_0 (float *out, const guint8 *in)
{
  float d = half (in);

  for (guint i = 0; i < 32; i++)
    out[i] = ((gint) five_bits (in + 2, i) - 16) * d;
}

/* Q5_1: d, m, 32 x 5 bits; d q + m */
static void
expand_q5_1 (float *out, const guint8 *in)
{
  float d = half (in), m = half (in + 2);

  for (guint i = 0; i < 32; i++)
    out[i] = d * five_bits (in + 4, i) + m;
}

/* Q2_K: 16 pairs of a factor and an offset of 4 bits each, 256 x 2 bits, d, dmin */
static void
expand_q2_k (float *out, const guint8 *in)
{
  float d = half (in + 80), min = half (in + 82);

  for (guint j = 0; j < 16; j++) { /* 16 values at a time */
    const guint8 *q = in + 16 + j / 8 * 32 + j % 2 * 16;
    float factor = d * (in[j] & 15), offset = min * (in[j] >> 4);

    for (guint i = 0; i < 16; i++)
      *out++ = factor * (q[i] >> j % 8 / 2 * 2 & 3) - offset;
  }
}

/* Returns factor @j of 16 x 6 bits: the 4 low bits of all, then the 2 high bits. */
static gint
six_bits (const guint8 *in, guint j)
{
  guint low = in[j % 8] >> j / 8 * 4 & 15, high = in[8 + j % 4] >> j / 4 * 2 & 3;

  return (gint) (low | high << 4) - 32;
}

/* Q3_K: 256 high bits, 256 x 2 low bits, factors, d. 4 is subtracted where the high bit is 0. */
static void
expand_q3_k (float *out, const guint8 *in)
{
  float d = half (in + 108);

  for (guint j = 0; j < 16; j++) {
    const guint8 *low = in + 32 + j / 8 * 32 + j % 2 * 16, *third = in + j % 2 * 16;
    float factor = d * six_bits (in + 96, j);

    for (guint i = 0; i < 16; i++)
      *out++ = factor * ((low[i] >> j % 8 / 2 * 2 & 3) - (third[i] >> j / 2 & 1 ? 0 : 4));
  }
}

/* Unpacks factor and offset, 6 bits each, of group @j of 32 values; 12 bytes hold 8 pairs. */
static void
unpack_pair (const guint8 *in, guint j, guint *factor, guint *offset)
{
  if (j < 4) {
    *factor = in[j] & 63;
    *offset = in[j + 4] & 63;
  } else {
    *factor = (in[j + 4] & 15) | in[j - 4] >> 6 << 4;
    *offset = in[j + 4] >> 4 | in[j] >> 6 << 4;
  }
}

/* Q4_K: d, dmin, 8 pairs, 256 x 4 bits; d factor q - dmin offset */
static void
expand_q4_k (float *out, const guint8 *in)
{
  float d = half (in), min = half (in + 2);

  for (guint j = 0; j < 8; j++) {
    const guint8 *q = in + 16 + j / 2 * 32;
    guint factor, offset;

    unpack_pair (in + 4, j, &factor, &offset);
    for (guint i = 0; i < 32; i++)
      *out++ = d * factor * (j % 2 ? q[i] >> 4 : q[i] & 15) - min * offset;
  }
}

/* Q5_K: like Q4_K, with 256 high bits after the pairs */
static void
expand_q5_k (float *out, const guint8 *in)
{
  float d = half (in), min = half (in + 2);

  for (guint j = 0; j < 8; j++) {
    const guint8 *fifth = in + 16, *q = in + 48 + j / 2 * 32;
    guint factor, offset;

    unpack_pair (in + 4, j, &factor, &offset);
    for (guint i = 0; i < 32; i++) {
      guint value = (j % 2 ? q[i] >> 4 : q[i] & 15) | (fifth[i] >> j & 1) << 4;

      *out++ = d * factor * value - min * offset;
    }
  }
}

/* Q6_K: 256 x 4 low bits, 256 x 2 high bits, 16 x int8 factors, d */
static void
expand_q6_k (float *out, const guint8 *in)
{
  float d = half (in + 208);

  for (guint j = 0; j < 8; j++) { /* 32 values at a time */
    const guint8 *low = in + j / 4 * 64 + j % 2 * 32, *high = in + 128 + j / 4 * 32;
    const gint8 *factors = (const gint8 *) in + 192 + 2 * j;

    for (guint i = 0; i < 32; i++) {
      gint q = (j % 4 < 2 ? low[i] & 15 : low[i] >> 4) | (high[i] >> j % 4 * 2 & 3) << 4;

      *out++ = d * factors[i / 16] * (q - 32);
    }
  }
}

const AvatarGgufBlock *
avatar_gguf_block (guint type)
{
  static const AvatarGgufBlock known[] = {
    { 2, "Q4_0", 32, 18, expand_q4_0 },
    { 3, "Q4_1", 32, 20, expand_q4_1 },
    { 6, "Q5_0", 32, 22, expand_q5_0 },
    { 7, "Q5_1", 32, 24, expand_q5_1 },
    { 8, "Q8_0", 32, 34, expand_q8_0 },
    { 10, "Q2_K", 256, 84, expand_q2_k },
    { 11, "Q3_K", 256, 110, expand_q3_k },
    { 12, "Q4_K", 256, 144, expand_q4_k },
    { 13, "Q5_K", 256, 176, expand_q5_k },
    { 14, "Q6_K", 256, 210, expand_q6_k },
  };

  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (known[i].type == type)
      return &known[i];
  return NULL;
}
