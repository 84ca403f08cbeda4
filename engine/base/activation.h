/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Activation functions, applied element by element to the result of an operation. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_ACT_NONE,
  AVATAR_ACT_SILU,
  AVATAR_ACT_RELU,
  AVATAR_ACT_GELU,       /* exact, by erf */
  AVATAR_ACT_GELU_TANH,  /* approximated by tanh */
  AVATAR_ACT_QUICK_GELU, /* x sigmoid (1.702 x) */
} AvatarAct;

#define AVATAR_N_ACTS (AVATAR_ACT_QUICK_GELU + 1)

G_END_DECLS
