/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks as ggml has them (ggml-common.h, dequantize_row_*() of ggml-quants.c): a float16 factor, or two,
 * and small whole numbers; in those called _K, 16 or 32 values share a smaller factor of their own. */
#include "engine/weights/gguf-blocks.h"

#include "engine/base/tensor.h"

static float
half (const guint8 *in)
{
  float out;

  avatar_dtype_to_f32 (&out, in, AVATAR_F16, 1);
  return out;
}

/* d, 32 int8 */
static void
expand_q8_0 (float *out, const guint8 *in)
{
  float d = half (in);

  for (guint i = 0; i < 32; i++)
    out[i] = (gint8) in[2 + i] * d;
}

/* d, 32 of 4 bits less 8: the lower ones first */
static void
expand_q4_0 (float *out, const guint8 *in)
{
  float d = half (in);

  for (guint i = 0; i < 16; i++) {
    out[i] = ((in[2 + i] & 15) - 8) * d;
    out[16 + i] = ((in[2 + i] >> 4) - 8) * d;
  }
}

/* The factor and the offset, of 6 bits each, of the 32 values @j; 12 bytes hold eight pairs. */
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

/* d, dmin, pairs, 256 of 4 bits: d factor q - dmin offset */
static void
expand_q4_k (float *out, const guint8 *in)
{
  float d = half (in), least = half (in + 2);

  for (guint j = 0; j < 8; j++) {
    const guint8 *q = in + 16 + j / 2 * 32;
    guint factor, offset;

    unpack_pair (in + 4, j, &factor, &offset);
    for (guint i = 0; i < 32; i++)
      *out++ = d * factor * (j % 2 ? q[i] >> 4 : q[i] & 15) - least * offset;
  }
}

/* 256 of 4 low bits, their 2 high bits, 16 int8 factors, d */
static void
expand_q6_k (float *out, const guint8 *in)
{
  float d = half (in + 208);

  for (guint j = 0; j < 8; j++) { /* 32 values each */
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
    { 3, "Q4_1", 32, 20, NULL },
    { 6, "Q5_0", 32, 22, NULL },
    { 7, "Q5_1", 32, 24, NULL },
    { 8, "Q8_0", 32, 34, expand_q8_0 },
    { 10, "Q2_K", 256, 84, NULL },
    { 11, "Q3_K", 256, 110, NULL },
    { 12, "Q4_K", 256, 144, expand_q4_k },
    { 13, "Q5_K", 256, 176, NULL },
    { 14, "Q6_K", 256, 210, expand_q6_k },
  };

  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (known[i].type == type)
      return &known[i];
  return NULL;
}
