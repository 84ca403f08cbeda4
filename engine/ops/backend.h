/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a back-end implements. ops.c has checked the operands and found the workspace; `ws` is
 * memory of the size that the matching `_workspace` function gave, which depends on shapes only:
 * that is why a plan is exact. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

struct _AvatarBackend
{
  const char *name;
  char *(*describe) (void);          /* free with g_free() */
  void *(*memory_new) (gsize bytes); /* 64-byte aligned or %NULL */
  void (*memory_free) (void *memory, gsize bytes);

  gsize (*linear_add_workspace) (gint64 m, gint64 n);
  gsize (*attention_workspace) (gint64 lq, gint64 lk, gint64 heads, gint64 d);

  void (*linear) (AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b, AvatarAct act);
  void (*linear_add) (AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
      AvatarTensor gate, AvatarTensor row_scale, void *ws);
  void (*layer_norm) (AvatarTensor y, AvatarTensor x, AvatarTensor scale, AvatarTensor shift,
      gboolean plus_one, double eps);
  void (*rms_norm_rope) (AvatarTensor x, AvatarTensor w, AvatarTensor cos, AvatarTensor sin,
      double eps);
  void (*attention) (AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v, double scale,
      gint64 causal_block, gint64 q_start, AvatarTensor valid, void *ws, const gint *cancelled);
  void (*frame_attention) (AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v,
      double scale);
  void (*act) (AvatarTensor x, AvatarAct act);
  void (*axpby) (AvatarTensor y, double a, AvatarTensor x, double b);
  void (*copy) (AvatarTensor y, AvatarTensor x);
  void (*mean_rows) (AvatarTensor y, AvatarTensor x, AvatarTensor weight);
  void (*patchify) (AvatarTensor y, AvatarTensor x, const guint patch[3], gboolean back);
  void (*unfold) (AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride, gint64 pad);
  void (*power) (AvatarTensor y, AvatarTensor x);
};

extern const AvatarBackend avatar_backend_cpu;

G_END_DECLS
